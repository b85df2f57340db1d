"""Readers of samples, one per file; each opens a split of a data spec."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dybitq.data.source import Opened
from dybitq.errors import ConfigError
from dybitq.records.layers import TensorInfo
from dybitq.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """One split of a data spec, with paths made absolute.

    ``arrays``, ``function`` and ``args`` belong to single readers; None where the spec does not name them.
    """

    where: str
    path: Path
    labels: str | None = None
    folder: Path = Path()  # base of relative paths
    arrays: tuple[tuple[str, str], ...] | None = None
    function: str | None = None
    args: tuple[tuple[str, object], ...] | None = None


Reader = Callable[[Split, tuple[TensorInfo, ...], str | None], Opened]
"""Opens a split for a model's inputs; the third argument is the spec's ``input``."""

READERS: Registry[Reader] = Registry("reader", "dybitq.data.readers")


def refuse_fields(split: Split, reader: str, *names: str) -> None:
    """Raise ConfigError if the split sets a field that ``reader`` does not use."""
    for name in names:
        if getattr(split, name) is not None:
            raise ConfigError(f"{split.where}: the reader {reader!r} does not use {name!r}; remove it")


def single_input(split: Split, inputs: tuple[TensorInfo, ...], named: str | None) -> str:
    """Return the model input that a reader of one value per sample fills."""
    if named is not None:
        return named
    if len(inputs) != 1:
        names = ", ".join(i.name for i in inputs)
        raise ConfigError(f"{split.where}: the model has several inputs ({names}); name one with 'input:'")
    return inputs[0].name
