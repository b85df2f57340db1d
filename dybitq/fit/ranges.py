"""Ranges of activation tensors from their histograms.

A histogram bin holds the float32 values that share their upper 16 bits: 128 bins an octave, so a bin
near the top of the range is wider than an 8-bit step. Rounding error inside the range is therefore
taken as step**2 / 12 (or the value's own square below half a step) and only clipping is summed bin by bin.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dybitq.graph.pointwise import Response
from dybitq.records import TensorStatistics
from dybitq.registry import Registry

# (profile, levels) -> (low, high) real-valued range that contains zero
RangeMethod = Callable[["Profile", int], tuple[float, float]]
range_methods: Registry[RangeMethod] = Registry("range method", "dybitq.fit.methods")

_GRID = 1 << 14  # points at which a response is tabulated


def bins(statistics: TensorStatistics) -> tuple[np.ndarray, np.ndarray]:
    """Centres (float64, ascending) and counts of the bins that are not empty."""
    index = np.flatnonzero(statistics.histogram)
    start = (index.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    end = ((index.astype(np.uint32) << 16) | 0xFFFF).view(np.float32).astype(np.float64)
    centres = np.clip((start + end) / 2, statistics.minimum, statistics.maximum)
    centres[(index == 0) | (index == 0x8000)] = 0.0  # zeros, and what is smaller than any step
    order = np.argsort(centres, kind="stable")
    return centres[order], statistics.histogram[index][order].astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """What a range is chosen for: how often each value occurs, and what becomes of it.

    Attributes:
        low, high: range of the data, widened to contain zero.
        mean_low, mean_high: mean over samples of each sample's extremes.
        centres: float64, ascending; one entry for each bin that is not empty.
        counts: float64, how many values each bin holds.
        results: what the readers make of the centres (the centres themselves if they use them as such).
        slopes: squared derivative of that at the centres.
        through: the same function, for single values.
    """

    low: float
    high: float
    mean_low: float
    mean_high: float
    centres: np.ndarray
    counts: np.ndarray
    results: np.ndarray
    slopes: np.ndarray
    through: Callable[[float], float]

    def error(self, low: float, high: float, levels: int) -> float:
        """Expected sum of squared errors behind a uniform quantizer over ``low .. high``."""
        step = (high - low) / (levels - 1)
        if step <= 0:
            return float(np.sum(self.counts * (self.results - self.through(0.0)) ** 2))
        inside = self.slopes * np.minimum(self.centres**2, step * step / 12)
        below = np.where(self.centres < low, (self.results - self.through(low)) ** 2, inside)
        return float(
            np.sum(
                self.counts * np.where(self.centres > high, (self.results - self.through(high)) ** 2, below)
            )
        )


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
            results=centres,
            slopes=np.ones_like(centres),
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
        results=np.interp(centres, grid, values),
        slopes=(rise / (2 * half)) ** 2,
        through=lambda x: float(np.interp(x, grid, values)),
    )
