"""Ranges of activation tensors from their histograms.

A histogram bin holds the float32 values that share their upper 16 bits: 128 bins an octave, so a bin
near the top of the range is wider than an 8-bit step. Rounding error inside the range is therefore
taken as step**2 / 12 (or the value's own square below half a step) and only clipping is summed bin by bin.
"""

from collections.abc import Callable

import numpy as np

from dybitq.records import TensorStatistics
from dybitq.registry import Registry

# (statistics, levels) -> (low, high) real-valued range that contains zero
RangeMethod = Callable[[TensorStatistics, int], tuple[float, float]]
range_methods: Registry[RangeMethod] = Registry("range method", "dybitq.fit.methods")


def bins(statistics: TensorStatistics) -> tuple[np.ndarray, np.ndarray]:
    """Centres (float64, ascending) and counts of the bins that are not empty."""
    index = np.flatnonzero(statistics.histogram)
    start = (index.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    end = ((index.astype(np.uint32) << 16) | 0xFFFF).view(np.float32).astype(np.float64)
    centres = np.clip((start + end) / 2, statistics.minimum, statistics.maximum)
    centres[(index == 0) | (index == 0x8000)] = 0.0  # zeros, and what is smaller than any step
    order = np.argsort(centres, kind="stable")
    return centres[order], statistics.histogram[index][order].astype(np.float64)


def extremes(statistics: TensorStatistics) -> tuple[float, float]:
    """The range of the data, widened to contain zero."""
    return min(0.0, statistics.minimum), max(0.0, statistics.maximum)


def range_error(centres: np.ndarray, counts: np.ndarray, low: float, high: float, levels: int) -> float:
    """Expected sum of squared errors of a uniform quantizer over ``low .. high``."""
    step = (high - low) / (levels - 1)
    if step <= 0:
        return float(np.sum(counts * centres**2))
    outside = np.minimum(centres - low, 0) + np.maximum(centres - high, 0)
    inside = np.minimum(centres**2, step * step / 12)
    return float(np.sum(counts * np.where(outside != 0, outside**2, inside)))
