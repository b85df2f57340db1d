"""The errors a user can meet, each with the exit code of the command-line contract.

Every message says which tensor, layer or file, what was found, what was expected and what to do.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


class DybitqError(Exception):
    """Base of all errors that reach a user without a traceback."""

    exit_code = 1


class ConfigError(DybitqError):
    """A recipe, plan, data spec, machine or command line that contradicts itself or the model."""

    exit_code = 2


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Put the file or the part of a request that a mistake stands in before its message."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


class ModelError(DybitqError):
    """A model that cannot be read, converted or run."""


class DataError(DybitqError):
    """Samples that cannot be read, or that do not fit the model."""


class StatisticsError(DybitqError):
    """A statistics file that is damaged, incomplete, or of another model."""


class UnsupportedError(DybitqError):
    """A request that is well-formed but that this version cannot carry out."""


class OutputError(DybitqError):
    """An output that exists already or cannot be written."""


class GateMissed(DybitqError):
    """The work is done, but a gate such as ``--max-drop`` was missed, or a proof found a difference."""

    exit_code = 3


_SHORTEST_RUN = 3  # of names that differ in a number behind them


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Suggest the nearest known name in a sentence that begins with a space; empty if none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f" Did you mean {close[0]!r}?" if close else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """Make the error for an unknown name, with the nearest known one and all of them."""
    known = list(known)
    return ConfigError(f"unknown {kind} {name!r}.{did_you_mean(name, known)} Known: {listed(known)}.")


def listed(names: Iterable[str]) -> str:
    """Names in their order, three and more that count up as ``dybit2 to dybit8``."""
    runs: list[list[str]] = []
    for name in names:
        if runs and _follows(runs[-1][-1], name):
            runs[-1].append(name)
        else:
            runs.append([name])
    return ", ".join(
        f"{run[0]} to {run[-1]}" if len(run) >= _SHORTEST_RUN else ", ".join(run) for run in runs
    )


def counted(count: int, noun: str) -> str:
    """Write a number with its noun: ``1 layer``, ``2 layers``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def first_of(names: Sequence[str], shown: int, separator: str = ", ") -> str:
    """List the first names and the number of others: ``a, b and 3 more``."""
    rest = len(names) - shown
    return separator.join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")


def _follows(name: str, other: str) -> bool:
    first, second = (re.fullmatch(r"(.*?)(\d+)", each) for each in (name, other))
    if first is None or second is None:
        return False
    return first[1] == second[1] and int(second[2]) == int(first[2]) + 1
