"""The ``dybitq`` command: a click group that finds its verbs by file name.

``dybitq/cli/<verb>.py`` holds a click command called ``command``. A verb is imported when it is asked
for, so a new verb is one new file, and one verb's imports never slow another down.
"""

import importlib
import logging
import pkgutil
import signal
import sys
from collections.abc import Sequence
from typing import Any

import click

import dybitq
import dybitq.cli
from dybitq.cli import console, failures, options
from dybitq.errors import did_you_mean

FRAME = frozenset({"main", "options", "console", "failures"})
"""Modules of ``dybitq.cli`` that are not verbs, besides names with a leading underscore."""


class VerbGroup(click.Group):
    """Finds commands by module name, and turns every outcome into a documented exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of the verbs, sorted; nothing is imported."""
        modules = (module.name for module in pkgutil.iter_modules(dybitq.cli.__path__))
        return sorted(name for name in modules if name not in FRAME and not name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb and give it the options that all commands have."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"dybitq.cli.{cmd_name}").command
        options.add_global_options(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a verb as click does, with a suggestion for a misspelt one."""
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}.{did_you_mean(args[0], known)}")
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, report any failure on stderr, and exit (or return the exit code)."""
        console.set_verbosity(0)
        try:
            # Without standalone mode click returns the exit code of --help and --version, and what
            # the command returned otherwise; commands return None.
            result = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
            code = result if isinstance(result, int) else 0
        except Exception as error:  # noqa: BLE001 - the one place where every failure ends
            code = failures.report(error)
        if standalone_mode:
            sys.exit(code)
        return code


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(dybitq.__version__, prog_name="dybitq", message="%(prog)s %(version)s")
def group() -> None:
    """Post-training quantization of ONNX networks.

    Every command prints its result on stdout and everything else on stderr. Exit codes: 0 done,
    1 failed, 2 usage or configuration, 3 finished but a gate was missed, 130 interrupted.
    """


options.add_global_options(group)


def main() -> None:
    """Entry point of the console script."""
    logging.captureWarnings(True)
    # A job that is told to end still removes its temporary files: SystemExit unwinds, a signal does not.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    group(prog_name="dybitq")
