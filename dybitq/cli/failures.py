"""Exceptions to one line on stderr and an exit code.

| code | meaning |
|---|---|
| 1 | failed: a bad model, something unsupported, input or output |
| 2 | usage or configuration |
| 3 | finished, but a gate was missed |
| 130 | interrupted |
"""

import contextlib
import os
import sys
import traceback

import click

from dybitq.cli import console
from dybitq.errors import DybitqError

FAILED = 1
INTERRUPTED = 130


def report(error: Exception) -> int:
    """Print the error on stderr, with ``--debug`` also the traceback; return the exit code."""
    # click wraps Ctrl-C, but also a stray EOFError, in an Abort.
    cause = error.__cause__ if isinstance(error, click.Abort) and error.__cause__ else error
    if isinstance(cause, BrokenPipeError):
        _silence_stdout()
        return FAILED
    if console.debugging():
        traceback.print_exception(cause)
    if isinstance(cause, KeyboardInterrupt | click.Abort):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    if isinstance(cause, click.ClickException):
        cause.show(file=sys.stderr)
        return cause.exit_code
    click.echo(f"Error: {_message(cause)}", err=True)
    return cause.exit_code if isinstance(cause, DybitqError) else FAILED


def _message(error: BaseException) -> str:
    """One message for the user; unexpected exceptions say how to see the traceback."""
    if isinstance(error, DybitqError):
        return str(error)
    more = "" if console.debugging() else "; run with --debug for the traceback"
    if isinstance(error, MemoryError):
        return f"out of memory{more}"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}{more}"
    lines = str(error).strip().splitlines()
    what = f": {lines[0]}" if lines else ""
    return f"unexpected {type(error).__name__}{what}{more}"


def _silence_stdout() -> None:
    """Discard buffered output, so that the interpreter's last flush does not fail."""
    # Under test, stdout may not be a file of the operating system: then there is nothing to redirect.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
