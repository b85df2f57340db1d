"""The errors a user can meet, each with the exit code of the command-line contract.

Every message says which tensor, layer or file, what was found, what was expected and what to do.
"""

from collections.abc import Iterator
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
