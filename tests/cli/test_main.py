"""The frame of the command line: finding verbs, global options, exit codes, broken pipes."""

import json
import logging
import os
import pty
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import dybitq
from dybitq.cli import console
from dybitq.cli.main import FRAME, VerbGroup, group
from dybitq.errors import ConfigError, DybitqError, GateMissed, ModelError, OutputError
from dybitq.files import check_output

HEAVY = ("numpy", "onnx", "onnx_ir", "onnxruntime", "pydantic", "yaml", "rich", "highspy", "matplotlib")


def python(code: str, **options) -> subprocess.CompletedProcess:
    """Run a piece of Python the way the console script runs."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, **options
    )


def group_with(function) -> VerbGroup:
    """A group whose only verb, ``work``, calls ``function``."""

    class One(VerbGroup):
        def list_commands(self, ctx):
            return ["work"]

        def get_command(self, ctx, cmd_name):
            command = click.Command("work", callback=function)
            dybitq.cli.options.add_global_options(command)
            return command if cmd_name == "work" else None

    one = One("dybitq")
    dybitq.cli.options.add_global_options(one)
    return one


def run(function, *args: str):
    """Outcome of ``dybitq ARGS`` where the verb ``work`` calls ``function``."""
    return CliRunner().invoke(group_with(function), args or ("work",))


def raising(error: BaseException):
    """A function that raises ``error``."""

    def function() -> None:
        raise error

    return function


def test_version_is_printed_byte_for_byte():
    """``--version`` prints name and version, and nothing else."""
    result = CliRunner().invoke(group, ["--version"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"dybitq {dybitq.__version__}\n", "")


def test_every_file_in_cli_is_a_verb_with_help():
    """Each file of ``dybitq/cli`` outside the frame is found as a verb and carries help."""
    folder = Path(console.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - FRAME
    context = click.Context(group)
    verbs = set(group.list_commands(context))
    assert verbs == {name for name in files if not name.startswith("_")}
    for verb in verbs:
        command = group.get_command(context, verb)
        assert command is not None
        assert command.get_short_help_str()
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"dybitq {verb} {parameter.opts[0]} has no help"


def test_help_imports_nothing_heavy():
    """``dybitq --help`` and a verb's help load neither numpy nor a runtime."""
    code = (
        "import sys; from dybitq.cli.main import group\n"
        "for verb in [[], *[[v] for v in group.list_commands(None)]]: "
        "group([*verb, '--help'], standalone_mode=False)\n"
        f"print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert python(code).stdout.splitlines()[-1] == "loaded: []"


def test_help_is_fast():
    """``python -m dybitq --help`` takes less than 0.3 s of processor time."""
    seconds = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "dybitq", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.3


def test_misspelt_verb_gets_a_suggestion():
    """An unknown verb is a usage error that names the nearest one."""
    result = run(lambda: None, "wrok")
    assert result.exit_code == 2
    assert "No such command 'wrok'. Did you mean 'work'?" in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ModelError("m.onnx: is cut off"), 1, "Error: m.onnx: is cut off"),
        (ConfigError("r.yaml: no"), 2, "Error: r.yaml: no"),
        (GateMissed("drop 2.0 > 1.0"), 3, "Error: drop 2.0 > 1.0"),
        (click.UsageError("pick one"), 2, "Error: pick one"),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (MemoryError(), 1, "Error: out of memory; run with --debug for the traceback"),
        (
            ValueError("bad\nworse"),
            1,
            "Error: unexpected ValueError: bad; run with --debug for the traceback",
        ),
        (EOFError(), 1, "Error: unexpected EOFError; run with --debug for the traceback"),
        (
            PermissionError(13, "Permission denied", "x.npz"),
            1,
            "Error: x.npz: Permission denied; run with --debug for the traceback",
        ),
    ],
)
def test_failures_become_one_line_and_an_exit_code(error, code, line):
    """Each kind of failure ends in its exit code, one last line on stderr and nothing on stdout."""
    result = run(raising(error))
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.splitlines()[-1] == line
    assert "Traceback" not in result.stderr


def test_every_error_class_has_an_exit_code_of_the_contract():
    """Subclasses of DybitqError exit with 1, 2 or 3."""
    assert {error.exit_code for error in [DybitqError, *DybitqError.__subclasses__()]} == {1, 2, 3}


@pytest.mark.parametrize("args", [("--debug", "work"), ("work", "--debug")])
def test_debug_shows_the_traceback(args):
    """``--debug``, before or after the verb, prints the traceback and the same last line."""
    result = run(raising(ModelError("broken")), *args)
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-1] == "Error: broken"


@pytest.mark.parametrize(
    ("args", "seen"),
    [
        (("work",), ["Warning: w"]),
        (("-q", "work"), []),
        (("work", "-q"), []),
        (("work", "-v"), ["Warning: w", "Info: i"]),
        (("-v", "work", "--verbose"), ["Warning: w", "Info: i", "Debug: d"]),
    ],
)
def test_quiet_and_verbose_choose_what_is_logged(args, seen):
    """``-q`` and ``-v`` work before and after the verb and touch stderr only."""

    def work() -> None:
        log = logging.getLogger("dybitq.test")
        log.warning("w")
        log.info("i")
        log.debug("d")
        click.echo("result")

    result = run(work, *args)
    assert result.exit_code == 0
    assert result.stdout == "result\n"
    assert result.stderr.splitlines() == seen


def test_a_closed_pipe_ends_quietly():
    """A reader that goes away (``| head``) leaves no traceback."""
    code = (
        "import click; from dybitq.cli.main import VerbGroup\n"
        "group = VerbGroup('dybitq', invoke_without_command=True,\n"
        "    callback=lambda: [click.echo('x' * 999) for _ in range(999)])\n"
        "group(['--'])"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_under_stdout_is_an_error():
    """A result that cannot be written is a failure, with one line."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dybitq", "--version"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr.splitlines()[0]
    assert b"Traceback" not in done.stderr


def test_json_is_one_document_with_a_schema_version(capsys):
    """``show`` prints strict JSON: the schema version first, and null for NaN."""
    console.show("text", {"drop": float("nan"), "layers": [{"bits": 4}]}, as_json=True)
    out = capsys.readouterr().out
    assert out.startswith('{\n  "schema_version": 1,\n')
    assert json.loads(out) == {"schema_version": 1, "drop": None, "layers": [{"bits": 4}]}


def test_progress_is_silent_where_stderr_is_no_terminal():
    """Without a terminal there is no bar, and functions get no callback."""
    with console.progress() as progress:
        assert progress is None


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_progress_bar_honours_no_color(variables, coloured):
    """On a terminal the bar is drawn on stderr, without colours under NO_COLOR; stdout stays clean."""
    code = (
        "from dybitq.cli import console\n"
        "console.set_verbosity(0)\n"
        "with console.progress() as progress:\n"
        "    progress('calibrate', 1, 2)\n"
        "    progress('calibrate', 2, 2)\n"
    )
    terminal, side = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLORTERM")}
    environment |= {"TERM": "xterm-256color", **variables}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=side, env=environment, check=True
    )
    os.close(side)
    drawn = os.read(terminal, 65536).decode()
    os.close(terminal)
    assert done.stdout == b""
    assert "calibrate" in drawn
    assert ("\x1b[38;" in drawn) == coloured


def test_a_device_is_not_replaced():
    """Renaming a file over a device would take it from the whole system, so not even --force does it."""
    with pytest.raises(OutputError, match="/dev/null: is a device or pipe"):
        check_output(Path("/dev/null"), force=True)


def test_a_job_told_to_end_cleans_up(tmp_path):
    """SIGTERM ends the process with 143 and removes temporary files."""
    code = (
        "import os, signal; from pathlib import Path; from dybitq.cli import main\n"
        "from dybitq.files import atomic_output\n"
        "def work(**options):\n"
        "    with atomic_output(Path('out'), force=False):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "main.group = work; main.main()"
    )
    assert python(code, cwd=tmp_path).returncode == 143
    assert list(tmp_path.iterdir()) == []
