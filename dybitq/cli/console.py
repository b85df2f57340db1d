"""Output to the terminal: results on stdout; logs and the progress bar on stderr."""

import contextlib
import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import click

from dybitq.records.progress import Progress

SCHEMA_VERSION = 1
"""Version of the layout of all ``--json`` documents; raised when a field is removed or changes in meaning."""

QUIET, NORMAL, VERBOSE, DEBUG = -1, 0, 1, 2
_LEVELS = {QUIET: logging.ERROR, NORMAL: logging.WARNING, VERBOSE: logging.INFO, DEBUG: logging.DEBUG}

_log = logging.getLogger("dybitq")


class _StderrHandler(logging.Handler):
    """Writes to the present ``sys.stderr``, which a progress bar may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"{record.levelname.capitalize()}: {record.getMessage()}", err=True)


def set_verbosity(verbosity: int) -> None:
    """Show log records on stderr: QUIET errors, NORMAL warnings too, VERBOSE and DEBUG more."""
    level = _LEVELS[max(QUIET, min(DEBUG, verbosity))]
    for name in ("dybitq", "py.warnings"):
        logger = logging.getLogger(name)
        logger.handlers = [_StderrHandler()]
        # Warnings of libraries are for programmers, so they are shown on request only.
        logger.setLevel(level if name == "dybitq" or level < logging.WARNING else logging.ERROR)
        logger.propagate = False


def debugging() -> bool:
    """Tell if ``--debug`` is on."""
    return _log.isEnabledFor(logging.DEBUG)


@contextlib.contextmanager
def progress() -> Iterator[Progress | None]:
    """Show a progress bar on stderr; yields the ``progress`` argument of the functions in ``dybitq.api``.

    Yields None under ``--quiet`` and where stderr is not a terminal. ``NO_COLOR`` and ``TERM=dumb``
    are honoured by rich.
    """
    if not _log.isEnabledFor(logging.WARNING) or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def update(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield update


class Result(Protocol):
    """A result that is text by ``str()``, and a document."""

    def document(self) -> dict[str, Any]:
        """Return the result as plain data."""


def show_result(result: Result, *, as_json: bool) -> None:
    """Print the result of a verb: its text, or its document as JSON."""
    show("" if as_json else str(result), result.document() if as_json else {}, as_json=as_json)


def show(text: str, document: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a text on stdout, or exactly one JSON document with ``schema_version`` in its place."""
    if as_json:
        whole = _finite({"schema_version": SCHEMA_VERSION, **document})
        text = json.dumps(whole, indent=2, allow_nan=False)
    click.echo(text.rstrip("\n"))


def _finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON lacks, by null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
