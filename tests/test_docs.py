"""The documentation cannot rot: commands exist, links lead somewhere, runnable pages run.

Every ``$ dybitq ...`` in a ``console`` block of README.md and docs/ has to name a verb and options that
exist. A page with the line ``<!-- run -->`` is executed from top to bottom in an empty folder, and
what it shows below a command has to be what the command prints, apart from numbers. A line ``...`` in a page
stands for any number of lines.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dybitq.cli.main import group

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
VERBS = group.list_commands(click.Context(group))
RUNNABLE = [page for page in PAGES if "\n<!-- run -->\n" in page.read_text()]


def page_name(page: Path) -> str:
    """Name of a page in the names of tests."""
    return str(page.relative_to(ROOT))


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """Commands of the console blocks of a page, each with the lines shown below it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif found:
                found[-1][1].append(line)
    return found


def without_numbers(line: str) -> str:
    """A line with every number as ``#`` and runs of spaces, dashes and blocks as one."""
    line = re.sub(r"[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?|\b(nan|inf)\b", "#", line)
    return re.sub(r"[ -]+", " ", line).strip()


def run(command: str) -> str:
    """What a command prints on stdout and stderr; it has to succeed. ``cd`` is ours."""
    words = shlex.split(command)
    if words[0] == "cd":
        os.chdir(words[1])
        return ""
    if words[0] == "dybitq" and not re.search(r"[|<>;&$*]", command):
        result = CliRunner().invoke(group, words[1:])
        code, output = result.exit_code, result.output
    else:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={**os.environ, "PATH": path},
        )
        code, output = done.returncode, done.stdout
    assert code == 0, f"$ {command}\n{output}"
    return output


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_page(verb):
    """docs/VERB.md exists, shows the command, and speaks of each of its options."""
    page = (DOCS / f"{verb}.md").read_text()
    assert f"$ dybitq {verb}" in page
    command = group.get_command(click.Context(group), verb)
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.expose_value and not parameter.hidden:
            names = [name for name in parameter.opts if name.startswith("--")]
            assert any(name in page for name in names), f"docs/{verb}.md does not mention {names}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_and_options_exist(page):
    """Every ``$ dybitq`` command of a page names a verb and options that exist."""
    for command, _ in commands(page):
        words = shlex.split(command.split("|")[0])
        if words[:1] != ["dybitq"] or words[1].startswith("-"):
            continue
        verb = group.get_command(click.Context(group), words[1])
        assert verb is not None, command
        known = {name for parameter in verb.params for name in (*parameter.opts, *parameter.secondary_opts)}
        used = {word.split("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
        assert used <= known | {"--help", "-h"}, command


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page):
    """Every relative link of a page leads to a file of the repository."""
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page_name(page)}: broken link {target}"


def test_every_page_is_in_the_index():
    """Each page of docs/ can be reached from docs/README.md or from the README.md of its own folder."""
    for page in PAGES[1:]:
        index = page.parent / "README.md"
        if not index.exists() or page == index:
            index = DOCS / "README.md"
        relative = os.path.relpath(page, index.parent)
        assert page == index or f"({relative}" in index.read_text(), f"{page_name(page)} is in no index"


@pytest.mark.parametrize("page", RUNNABLE, ids=page_name)
def test_runnable_pages_run(page, tmp_path, monkeypatch):
    """The commands of a runnable page succeed one after the other and print what the page shows."""
    monkeypatch.chdir(tmp_path)
    for command, shown in commands(page):
        printed = [without_numbers(line) for line in run(command).rstrip("\n").splitlines()]
        pattern = [".*" if line == "..." else re.escape(without_numbers(line)) for line in shown]
        expected = "\n".join(pattern).rstrip("\n")
        assert re.fullmatch(expected, "\n".join(printed), re.DOTALL), (
            f"$ {command}\nprints:\n" + "\n".join(printed) + "\n\nthe page shows:\n" + "\n".join(shown)
        )
