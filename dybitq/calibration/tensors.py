"""Running statistics of one activation tensor: exact extremes, and a histogram keyed by float patterns.

The bin of a value is the upper half of its float32 pattern (sign, exponent, seven bits of mantissa):
65536 bins of fixed edges and a relative width of at most 1/128. They need no range beforehand, outliers
do not widen them, and histograms of two shards can be added.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dybitq.calibration.sampling import stride
from dybitq.records.statistics import TensorStatistics

BINS = 1 << 16
_EXPONENT = 0x7F80  # all ones in a bin of infinities and NaN
VALUES_PER_SAMPLE = 4096
"""Values of one sample that enter the histogram; smaller tensors enter whole."""


@dataclass(slots=True, eq=False)
class TensorTotal:
    """State of :func:`update`; same meaning as the fields of TensorStatistics."""

    samples: int = 0
    count: int = 0
    minimum: float = np.inf
    maximum: float = -np.inf
    sum_sample_max: float = 0.0
    sum_sample_min: float = 0.0
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TensorPart:
    """Measurements of a batch: extremes of its samples, float64 ``[samples]``; bins, int64 ``[count]``."""

    minima: np.ndarray
    maxima: np.ndarray
    bins: np.ndarray


def init() -> TensorTotal:
    """Start with no samples."""
    return TensorTotal()


def by_sample(value: np.ndarray, batch: int, count: int) -> np.ndarray:
    """Reshape to ``[rows, values]``, one row for each of the first ``count`` samples of ``batch``.

    A tensor whose leading extent is no multiple of the batch does not grow with it (a position
    embedding, say); it becomes one row, which stands for every sample.
    """
    if value.ndim and value.shape[0] and value.shape[0] % batch == 0:
        return value.reshape(batch, -1)[:count]
    return value.reshape(1, -1)


def measure(value: np.ndarray, batch: int, count: int, real: np.ndarray | None = None) -> TensorPart | None:
    """Measure float32 ``value``: ``count`` samples of a run of ``batch``; None if it is empty.

    Of a sequence ``[batch, length, features]`` only the positions in ``real`` count, bool
    ``[batch, length]`` (:mod:`dybitq.data.padding`). Infinities, which attention masks hold, are
    left out. The extremes of a sample with NaN are NaN.
    """
    if value.size == 0:
        return None
    if real is not None and value.ndim == 3 and value.shape[:2] == real.shape:
        return _joined([measure(value[i : i + 1, real[i]], 1, 1) for i in range(count)])
    value = np.ascontiguousarray(value, np.float32)
    rows = by_sample(value, batch, count)
    within = math.prod(value.shape[1:])
    step = stride((rows.shape[1] // within, *value.shape[1:]), VALUES_PER_SAMPLE)
    bins = rows.view(np.uint16)[:, 1 :: 2 * step].astype(np.int64).reshape(-1)
    minima, maxima = rows.min(axis=1), rows.max(axis=1)
    if np.isinf(minima).any() or np.isinf(maxima).any():
        finite = np.isfinite(rows)
        minima = np.where(np.isinf(minima), rows.min(axis=1, where=finite, initial=np.inf), minima)
        maxima = np.where(np.isinf(maxima), rows.max(axis=1, where=finite, initial=-np.inf), maxima)
        nothing = ~finite.any(axis=1)
        minima[nothing] = maxima[nothing] = 0
        bins = bins[bins & _EXPONENT != _EXPONENT]
    repeats = count // rows.shape[0]
    return TensorPart(
        minima=np.repeat(minima.astype(np.float64), repeats),
        maxima=np.repeat(maxima.astype(np.float64), repeats),
        bins=bins,
    )


def _joined(parts: Sequence[TensorPart | None]) -> TensorPart | None:
    some = [part for part in parts if part is not None]
    if not some:
        return None
    return TensorPart(
        minima=np.concatenate([part.minima for part in some]),
        maxima=np.concatenate([part.maxima for part in some]),
        bins=np.concatenate([part.bins for part in some]),
    )


def update(total: TensorTotal, part: TensorPart) -> None:
    """Add the part of one batch."""
    total.samples += len(part.minima)
    total.count += len(part.bins)
    total.minimum = min(total.minimum, float(part.minima.min()))
    total.maximum = max(total.maximum, float(part.maxima.max()))
    total.sum_sample_max += float(part.maxima.sum())
    total.sum_sample_min += float(part.minima.sum())
    np.add.at(total.histogram, part.bins, 1)  # a tenth of the time of adding up whole histograms


def result(total: TensorTotal) -> TensorStatistics:
    """Return the statistics so far."""
    return TensorStatistics(
        samples=total.samples,
        count=total.count,
        minimum=total.minimum,
        maximum=total.maximum,
        sum_sample_max=total.sum_sample_max,
        sum_sample_min=total.sum_sample_min,
        histogram=total.histogram,
    )


Monotone = Callable[[np.ndarray], np.ndarray]
"""A nondecreasing function under which values that share a bin share a bin again (Relu, Clip, identity)."""


def mapped_part(part: TensorPart, function: Monotone) -> TensorPart:
    """Derive the part of ``function(x)`` from that of ``x``, without bins: see :func:`mapped_histogram`."""
    return TensorPart(
        minima=function(part.minima.astype(np.float32)).astype(np.float64),
        maxima=function(part.maxima.astype(np.float32)).astype(np.float64),
        bins=np.zeros(0, np.int64),
    )


def mapped_histogram(histogram: np.ndarray, function: Monotone) -> np.ndarray:
    """Derive the histogram of ``function(x)`` from that of ``x``, exactly."""
    used = np.flatnonzero(histogram)
    values = (used.astype(np.uint32) << 16).view(np.float32)
    target = np.ascontiguousarray(function(values), np.float32).view(np.uint16)[1::2]
    result = np.zeros(BINS, np.int64)
    np.add.at(result, target, histogram[used])
    return result
