"""Ranges of activation tensors from their histograms.

A histogram bin holds the float32 values that share their upper 16 bits: 128 bins an octave, so a bin
near the top of the range is wider than an 8-bit step. Rounding error inside the range is therefore
taken as step**2 / 12 (or the value's own square below half a step) and only clipping is summed bin by bin.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dybitq.graph.pointwise import Response
from dybitq.records.statistics import TensorStatistics
from dybitq.registry import Registry

# (profile, levels) -> (low, high) real-valued range that contains zero
RangeMethod = Callable[["Profile", int], tuple[float, float]]
range_methods: Registry[RangeMethod] = Registry("range method", "dybitq.fit.activations.methods")

_GRID = 1 << 14  # points at which a response is tabulated


def bins(statistics: TensorStatistics) -> tuple[np.ndarray, np.ndarray]:
    """Centres (float64, ascending) and counts of the bins that are not empty."""
    index = np.flatnonzero(statistics.histogram)
    with np.errstate(invalid="ignore"):  # a bin of NaN gives NaN, which the caller refuses
        start = (index.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        end = ((index.astype(np.uint32) << 16) | 0xFFFF).view(np.float32).astype(np.float64)
    centres = np.clip((start + end) / 2, statistics.minimum, statistics.maximum)
    centres[(index == 0) | (index == 0x8000)] = 0.0  # zeros, and what is smaller than any step
    order = np.argsort(centres, kind="stable")
    return centres[order], statistics.histogram[index][order].astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sums:
    """Running sums over the bins, float64 ``[bins + 1]`` each: entry k is the sum over the first k bins.

    Attributes:
        counts: of the values.
        results, squares: of what the readers make of them, and of its square.
        slopes: of the squared derivative of that.
        errors: of the squared derivative times the squared value, the error of what is rounded to zero.
    """

    counts: np.ndarray
    results: np.ndarray
    squares: np.ndarray
    slopes: np.ndarray
    errors: np.ndarray

    def clipped(self, begin: np.ndarray | int, end: np.ndarray | int, result: np.ndarray) -> np.ndarray:
        """Sum of squared errors of bins that all give ``result`` instead of their own."""
        count, total, squares = (
            sums[end] - sums[begin] for sums in (self.counts, self.results, self.squares)
        )
        return np.asarray(np.maximum(squares - 2 * result * total + result**2 * count, 0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """Distribution of a tensor's values and of what its readers make of them: the input of a range method.

    Attributes:
        low, high: range of the data, widened to contain zero.
        mean_low, mean_high: mean over samples of each sample's extremes.
        centres: float64, ascending; one entry for each bin that is not empty.
        counts: float64, how many values each bin holds.
        sums: over the bins, with what the readers make of the values (the values if they use them as such).
        through: that function, elementwise.
    """

    low: float
    high: float
    mean_low: float
    mean_high: float
    centres: np.ndarray
    counts: np.ndarray
    sums: Sums
    through: Response

    def error(self, low: float, high: float, levels: int) -> float:
        """Return the expected sum of squared errors after a uniform quantizer over ``low .. high``."""
        return float(self.errors(np.array([low]), np.array([high]), levels)[0])

    def errors(self, low: np.ndarray, high: np.ndarray, levels: int) -> np.ndarray:
        """:meth:`error` of many ranges, float64 ``[n]``, from running sums over the bins."""
        step = (high - low) / (levels - 1)
        half = np.sqrt(step * step / 12)
        sums = self.sums
        begin = np.searchsorted(self.centres, low, "left")
        end = np.searchsorted(self.centres, high, "right")
        near = np.clip(np.searchsorted(self.centres, -half, "left"), begin, end)
        far = np.clip(np.searchsorted(self.centres, half, "right"), begin, end)
        inside = sums.errors[far] - sums.errors[near]
        inside += (sums.slopes[near] - sums.slopes[begin] + sums.slopes[end] - sums.slopes[far]) * half**2
        below = sums.clipped(0, begin, self.through(low))
        above = sums.clipped(end, len(self.centres), self.through(high))
        constant = sums.clipped(0, len(self.centres), self.through(np.zeros_like(low)))
        return np.asarray(np.where(step > 0, inside + below + above, constant))


def profile(statistics: TensorStatistics, response: Response | None = None) -> Profile:
    """Profile of one tensor; ``response`` is the elementwise function that all its readers compute."""
    centres, counts = bins(statistics)
    low, high = min(0.0, statistics.minimum), max(0.0, statistics.maximum)
    samples = max(1, statistics.samples)
    mean_low, mean_high = statistics.sum_sample_min / samples, statistics.sum_sample_max / samples
    if response is None or high <= low:
        return Profile(
            low=low,
            high=high,
            mean_low=mean_low,
            mean_high=mean_high,
            centres=centres,
            counts=counts,
            sums=_sums(centres, counts, centres, np.ones_like(centres)),
            through=lambda x: x,
        )
    half = (high - low) / 510  # half an 8-bit step over the whole range
    grid = np.linspace(low - half, high + half, _GRID)
    values = response(grid)
    rise = np.interp(centres + half, grid, values) - np.interp(centres - half, grid, values)
    return Profile(
        low=low,
        high=high,
        mean_low=mean_low,
        mean_high=mean_high,
        centres=centres,
        counts=counts,
        sums=_sums(centres, counts, np.interp(centres, grid, values), (rise / (2 * half)) ** 2),
        through=lambda x: np.interp(x, grid, values),
    )


def _sums(centres: np.ndarray, counts: np.ndarray, results: np.ndarray, slopes: np.ndarray) -> Sums:
    rows = np.stack([np.ones_like(counts), results, results**2, slopes, slopes * centres**2]) * counts
    running = np.zeros((len(rows), len(counts) + 1))
    np.cumsum(rows, axis=1, out=running[:, 1:])
    return Sums(
        counts=running[0], results=running[1], squares=running[2], slopes=running[3], errors=running[4]
    )
