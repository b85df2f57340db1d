"""Samples that Python hands over: arrays by input name, iterables, and readers with ``get_next()``."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from dybitq.data.source import Opened, Sample
from dybitq.errors import ConfigError, DataError
from dybitq.records.layers import TensorInfo

WHERE = "the samples in memory"


class FeedReader(Protocol):
    """A reader as ``onnxruntime.quantization.CalibrationDataReader``: batches by input name, then None."""

    def get_next(self) -> Mapping[str, Any] | None:
        """Return the next feeds, axis 0 counting samples; None at the end."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """Samples in memory, which can be read as often as it takes.

    Attributes:
        read: starts a new pass over the items with these numbers, or over all of them, each with its number.
        size: number of items, None where only reading tells.
        batched: whether every item has a batch axis; None where its rank says so.
        title: of the items in messages, such as ``x``.
        labels: one for each sample, in order.
    """

    read: Callable[[Sequence[int] | None], Iterator[tuple[int, Any]]]
    size: int | None = None
    batched: bool | None = None
    title: str = ""
    labels: np.ndarray | None = None


Feeds: TypeAlias = Mapping[str, npt.ArrayLike]
DataLike: TypeAlias = (
    str
    | os.PathLike[str]
    | np.ndarray
    | Feeds
    | Iterable[Feeds]
    | Iterable[npt.ArrayLike]
    | FeedReader
    | Samples
)
"""Path of a data spec, .npz or folder; arrays by input name; an iterable of samples or batches; a reader."""


Data: TypeAlias = Path | Samples


def data_of(data: DataLike, labels: npt.ArrayLike | None = None) -> Data:
    """Return a path, or samples in memory; what can be read once only is kept as it is read.

    Raises:
        ConfigError: neither a path nor samples, or labels beside a path.
        DataError: arrays or labels that do not belong together.
    """
    if isinstance(data, Samples):
        return data
    if isinstance(data, str | os.PathLike):
        if labels is not None:
            raise ConfigError(f"{data}: labels are given beside a path; name them in the data spec")
        return Path(data)
    found = None if labels is None else _labels(labels)
    get_next = getattr(data, "get_next", None)
    if callable(get_next):
        return Samples(read=_numbered(_Kept(_drained(get_next))), batched=True, labels=found)
    if isinstance(data, Mapping):
        return _of_arrays({str(name): np.asarray(value) for name, value in data.items()}, found)
    if hasattr(data, "__array__"):
        array = np.asarray(data)
        return replace(_indexed(array, labels=found), batched=False)
    if isinstance(data, Sized) and hasattr(data, "__getitem__"):
        return _indexed(data, labels=found)
    if isinstance(data, Iterable):
        size = len(data) if isinstance(data, Sized) else None
        items = _Kept(data) if isinstance(data, Iterator) else data
        return Samples(read=_numbered(items), size=size, labels=found)
    raise ConfigError(
        f"the data are of the type {type(data).__name__}; expected a path, arrays by input name, an iterable "
        "of samples or batches, or a reader with get_next()"
    )


def data_name(data: Data) -> str:
    """Return the data as messages call them."""
    return str(data) if isinstance(data, Path) else WHERE


def _drained(get_next: Callable[[], Any]) -> Iterator[Any]:
    while (feeds := get_next()) is not None:
        yield feeds


def _numbered(items: Iterable[Any]) -> Callable[[Sequence[int] | None], Iterator[tuple[int, Any]]]:
    """Read items in their order, and leave out those that are not wanted."""

    def read(indices: Sequence[int] | None) -> Iterator[tuple[int, Any]]:
        wanted = None if indices is None else frozenset(indices)
        return (pair for pair in enumerate(items) if wanted is None or pair[0] in wanted)

    return read


def _indexed(items: Any, *, labels: np.ndarray | None, title: str = "") -> Samples:
    """Items that are taken by their numbers."""
    size = len(items)

    def read(indices: Sequence[int] | None) -> Iterator[tuple[int, Any]]:
        return ((index, items[index]) for index in (range(size) if indices is None else indices))

    return Samples(read=read, size=size, labels=labels, title=title)


def _of_arrays(arrays: Mapping[str, np.ndarray], labels: np.ndarray | None) -> Samples:
    lengths = {name: array.shape[0] if array.ndim else 0 for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items()) or "none"
        raise DataError(f"{WHERE}: arrays of different length ({found}); axis 0 must count samples")
    return replace(_indexed(_Rows(arrays), labels=labels, title=next(iter(arrays))), batched=False)


class _Rows:
    """Arrays of one length as a sequence of samples."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = arrays

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: array[index] for name, array in self._arrays.items()}


class _Kept:
    """Items of an iterator, kept as they are read, so that a second pass finds them again."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._kept: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        for index in count():
            if index == len(self._kept):
                try:
                    self._kept.append(next(self._items))
                except StopIteration:
                    return
            yield self._kept[index]


def open_samples(samples: Samples, inputs: tuple[TensorInfo, ...]) -> Opened:
    """Hand out samples in memory for a model with these inputs.

    Raises:
        DataError: there are none, or an item is no array or mapping of arrays, or does not fit the labels.
    """
    first = next(samples.read(None), None)
    if first is None:
        raise DataError(f"{WHERE}: no samples; expected at least one")
    batched = samples.batched
    if batched is None:
        batched = _has_batch_axis(_feeds(first[1], inputs, 0), inputs)
    size, labels = None if batched else samples.size, samples.labels
    if size is not None and labels is not None and len(labels) != size:
        raise DataError(
            f"{WHERE}: {size} samples and {len(labels)} labels; expected one label for each sample"
        )
    return Opened(
        count=size,
        labelled=samples.labels is not None,
        inputs=tuple(info.name for info in inputs),
        read=_batch_reader(samples, inputs) if batched else _sample_reader(samples, inputs),
        batches=batched,
    )


def _labels(labels: npt.ArrayLike) -> np.ndarray:
    found = np.asarray(labels)
    if found.ndim != 1 or found.dtype.kind not in "iuf":
        raise DataError(
            f"labels have the shape {list(found.shape)} and the type {found.dtype}; expected one number for "
            "each sample"
        )
    return found


def _feeds(item: Any, inputs: tuple[TensorInfo, ...], number: int) -> dict[str, np.ndarray]:
    if isinstance(item, Mapping):
        return {str(name): np.asarray(value) for name, value in item.items()}
    array = np.asarray(item) if len(inputs) == 1 else None
    if array is None or array.dtype.kind not in "biuf":
        expected = ", ".join(info.name for info in inputs)
        raise DataError(
            f"{WHERE}: item {number} is of the type {type(item).__name__}; expected arrays by input name "
            f"({expected})" + (", or an array" if len(inputs) == 1 else "")
        )
    return {inputs[0].name: array}


def _has_batch_axis(feeds: Mapping[str, np.ndarray], inputs: tuple[TensorInfo, ...]) -> bool:
    """Compare ranks: a sample has one axis less than the input of the model."""
    ranks = {info.name: len(info.shape) for info in inputs}
    return all(value.ndim >= ranks.get(name, value.ndim) for name, value in feeds.items())


def _sample_reader(
    samples: Samples, inputs: tuple[TensorInfo, ...]
) -> Callable[[Sequence[int] | None], Iterator[Sample]]:
    def read(indices: Sequence[int] | None) -> Iterator[Sample]:
        for index, item in samples.read(indices):
            label = None if samples.labels is None else _cut(samples.labels, index, 1)[0].item()
            name = f"{WHERE}, {samples.title or 'sample'}[{index}]"
            yield Sample(values=_feeds(item, inputs, index), label=label, name=name)

    return read


def _batch_reader(
    samples: Samples, inputs: tuple[TensorInfo, ...]
) -> Callable[[Sequence[int] | None], Iterator[Sample]]:
    def read(indices: Sequence[int] | None) -> Iterator[Sample]:
        start = 0
        for number, item in samples.read(None):
            name, values = f"{WHERE}, batch {number}", _feeds(item, inputs, number)
            lengths = {key: value.shape[0] if value.ndim else 0 for key, value in values.items()}
            if len(set(lengths.values())) != 1 or 0 in lengths.values():
                found = ", ".join(f"{key} {length}" for key, length in lengths.items()) or "nothing"
                raise DataError(f"{name}: axis 0 must count the samples of the batch, found {found}")
            extent = next(iter(lengths.values()))
            labels = None if samples.labels is None else _cut(samples.labels, start, extent)
            yield Sample(values=values, labels=labels, name=name)
            start += extent

    return read


def _cut(labels: np.ndarray, start: int, extent: int) -> np.ndarray:
    if start + extent > len(labels):
        raise DataError(f"{WHERE}: more samples than the {len(labels)} labels; expected one label for each")
    return labels[start : start + extent]
