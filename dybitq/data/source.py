"""Batches that fit a model, from samples: casts, checks, batching. Every error names its sample."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from dybitq.errors import DataError
from dybitq.records.layers import TensorInfo

Label = int | float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One sample, as a reader returns it.

    Attributes:
        values: by model input, without the batch axis; with it where the reader makes whole batches.
        label: integer class, number, or None.
        labels: one label for each sample, where the reader makes whole batches.
        name: of the sample in messages: its file, or the array and index.
    """

    values: Mapping[str, np.ndarray]
    name: str
    label: Label = None
    labels: np.ndarray | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """A split that a reader has opened.

    Attributes:
        count: number of samples, None where it is known only after reading them all.
        labelled: True where samples carry labels.
        batches: True where each "sample" is a whole batch, axis 0 counting samples.
        read: yields the samples with these indices in this order (all of them if None); can be called
            again for another pass.
        inputs: the model inputs it fills.
    """

    count: int | None
    labelled: bool
    inputs: tuple[str, ...]
    read: Callable[[Sequence[int] | None], Iterator[Sample]]
    batches: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Inputs of one run of the model.

    Attributes:
        feeds: by model input, ``[batch, ...]``, contiguous, in the input's dtype.
        count: number of samples in the batch; the rest repeats the last one, to fill a model whose batch
            extent is fixed, and is to be discarded.
        labels: ``[count]`` or None.
        names: of the samples, ``count`` of them.
    """

    feeds: Mapping[str, np.ndarray]
    count: int
    labels: np.ndarray | None
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataSource:
    """Batches of one split, checked against the inputs of a model; iterating again reads again.

    Attributes:
        opened: the split as its reader opened it.
        inputs: the model's inputs.
        batch_size: samples of one batch (the last one of a shape may be smaller).
        fixed_batch: the model accepts no other batch size.
        limit: number of samples to read, None for all.
        task: the task that evaluation measures, None if the spec names none.
        label_offset: column at which the class scores start.
        where: name of the split in messages.
    """

    opened: Opened
    inputs: tuple[TensorInfo, ...]
    batch_size: int
    fixed_batch: bool
    limit: int | None
    task: str | None
    label_offset: int
    where: str

    @property
    def samples(self) -> int | None:
        """Number of samples that iteration yields, None if it is known only after reading."""
        if self.opened.count is None:
            return None
        return self.opened.count if self.limit is None else min(self.limit, self.opened.count)

    @property
    def labelled(self) -> bool:
        """True where batches carry labels."""
        return self.opened.labelled

    def __iter__(self) -> Iterator[Batch]:
        count = 0
        for batch in self._whole_batches() if self.opened.batches else self._grouped():
            count += batch.count
            yield batch
        if count == 0:
            raise DataError(f"{self.where}: holds no samples; expected at least one")
        if self.limit is not None and count < self.limit:
            raise DataError(
                f"{self.where}: holds {count} samples, but {self.limit} were asked for; lower --samples"
            )

    def _grouped(self) -> Iterator[Batch]:
        """Group successive samples of one shape, up to ``batch_size`` at a time."""
        group: list[Sample] = []
        samples = self.opened.read(self._indices())
        if self.opened.count is None:
            samples = islice(samples, self.limit)
        for sample in samples:
            ready = self._fit(sample, batch_axis=False)
            if group and (len(group) == self.batch_size or _shapes(ready) != _shapes(group[0])):
                yield self._stack(group)
                group = []
            group.append(ready)
        if group:
            yield self._stack(group)

    def _indices(self) -> Sequence[int] | None:
        """Choose samples to read: all, or ``limit`` spread evenly (files are often sorted by class)."""
        count, limit = self.opened.count, self.limit
        if limit is None or count is None or limit >= count:
            return None
        return [i * count // limit for i in range(limit)]

    def _stack(self, group: Sequence[Sample]) -> Batch:
        filled = list(group)
        if self.fixed_batch:
            filled += [group[-1]] * (self.batch_size - len(group))
        feeds = {i.name: _stacked([s.values[i.name] for s in filled]) for i in self.inputs}
        labels = np.asarray([s.label for s in group]) if self.labelled else None
        return Batch(feeds=feeds, count=len(group), labels=labels, names=tuple(s.name for s in group))

    def _whole_batches(self) -> Iterator[Batch]:
        """Batches as the reader made them; only the last one is cut, to end at ``limit``."""
        left = self.limit
        for sample in self.opened.read(None):
            ready = self._fit(sample, batch_axis=True)
            count = min(_extent(v) for v in ready.values.values())
            feeds = {n: np.ascontiguousarray(v) for n, v in ready.values.items()}
            if left is not None and left < count and not self.fixed_batch:
                feeds = {n: v[:left] for n, v in feeds.items()}
            count = count if left is None else min(count, left)
            labels = None if sample.labels is None else sample.labels[:count]
            names = tuple(f"{sample.name}[{i}]" for i in range(count))
            yield Batch(feeds=feeds, count=count, labels=labels, names=names)
            left = None if left is None else left - count
            if left == 0:
                return

    def _fit(self, sample: Sample, *, batch_axis: bool) -> Sample:
        """Cast every value to its input's dtype and check it against its shape."""
        missing = [i.name for i in self.inputs if i.name not in sample.values]
        unknown = [n for n in sample.values if n not in {i.name for i in self.inputs}]
        if missing or unknown:
            found = ", ".join(sample.values) or "none"
            expected = ", ".join(i.name for i in self.inputs)
            raise DataError(
                f"{sample.name}: gives the inputs {found}; the model has {expected}. "
                "Name the arrays after the model's inputs, or map them in the data spec"
            )
        values = {}
        for info in self.inputs:
            value = np.asarray(sample.values[info.name])
            check_shape(value, info, sample.name, batch_axis=batch_axis)
            values[info.name] = cast(value, info, sample.name)
        return Sample(values=values, name=sample.name, label=sample.label, labels=sample.labels)


def check_shape(value: np.ndarray, info: TensorInfo, name: str, *, batch_axis: bool) -> None:
    """Compare a sample's shape with the model's, where the model's is fixed.

    Raises:
        DataError: they differ; the message suggests a transform.
    """
    expected = info.shape if batch_axis else info.shape[1:]
    found = value.shape
    same = len(found) == len(expected) and all(
        e is None or e == f for e, f in zip(expected, found, strict=True)
    )
    if same:
        return
    wanted = "[" + ", ".join("any" if e is None else str(e) for e in expected) + "]"
    raise DataError(
        f"{name}: has the shape {list(found)}, the model's input {info.name!r} takes {wanted}"
        f"{_shape_hint(found, expected)}"
    )


def _shape_hint(found: tuple[int, ...], expected: tuple[int | None, ...]) -> str:
    """Suggest the most likely transform for a wrong shape with the three axes of an image."""
    if len(found) == 2 and len(expected) == 3:
        return ". A channel axis is missing: store samples as [height, width, channels]"
    if len(found) != 3 or len(expected) != 3:
        return ""
    fits = all(e is None or e == f for e, f in zip(expected, (found[2], found[0], found[1]), strict=True))
    if fits:
        return ". Add 'layout: CHW' to the transforms"
    channels_first = expected[0] in (1, 3)
    height, width = (expected[1], expected[2]) if channels_first else (expected[0], expected[1])
    channels = found[0] if found[0] in (1, 3) else found[2]
    wanted = expected[0] if channels_first else expected[2]
    if wanted == 1 and channels == 3:
        return ". Add 'grayscale' to the transforms"
    if wanted == 3 and channels == 1:
        return ". The model takes colour, the sample is grey"
    if height is not None and width is not None and wanted in (1, 3):
        return f". Add 'resize: [{height}, {width}]' or 'center_crop: [{height}, {width}]' to the transforms"
    return ""


def cast(value: np.ndarray, info: TensorInfo, name: str) -> np.ndarray:
    """Cast ``value`` to the dtype of a model input: floats rounded to nearest, integers exactly.

    Raises:
        DataError: NaN, infinity, or a number that an integer input cannot hold.
    """
    if value.dtype.kind not in "biuf":
        raise DataError(f"{name}: input {info.name!r} gets values of type {value.dtype}, expected numbers")
    target = np.dtype(info.dtype or "float32")
    with np.errstate(invalid="ignore", over="ignore"):
        result = value.astype(target, copy=False)
    if target.kind == "f":
        if value.dtype.kind == "f" and not np.isfinite(result).all():
            raise DataError(
                f"{name}: input {info.name!r} holds {_not_finite(value, target)}; remove the sample"
            )
    elif result.dtype != value.dtype and not np.array_equal(result, value):
        raise DataError(
            f"{name}: input {info.name!r} is {target}, but values such as {_first_changed(value, result)} "
            "do not fit it; check the transforms"
        )
    return result


def _not_finite(value: np.ndarray, target: np.dtype) -> str:
    if np.isnan(value).any():
        return "NaN"
    return "infinity" if np.isinf(value).any() else f"numbers too large for {target}"


def _first_changed(value: np.ndarray, result: np.ndarray) -> str:
    changed = value[np.asarray(result != value)]
    return str(changed.reshape(-1)[0])


def _stacked(values: Sequence[np.ndarray]) -> np.ndarray:
    """Stack in C order, which onnxruntime needs; ``np.stack`` keeps the memory order of its parts."""
    return np.stack(values, out=np.empty((len(values), *values[0].shape), values[0].dtype))


def _extent(value: np.ndarray) -> int:
    return int(value.shape[0]) if value.ndim else 1


def _shapes(sample: Sample) -> tuple[tuple[int, ...], ...]:
    return tuple(v.shape for v in sample.values.values())
