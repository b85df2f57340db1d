"""Range: all but a fixed share of the values."""

import numpy as np

from dybitq.fit.ranges import bins, extremes, range_methods
from dybitq.records import TensorStatistics

_TAIL = 5e-5  # share of the values left outside, on each side


@range_methods.register("percentile")
def percentile(statistics: TensorStatistics, levels: int) -> tuple[float, float]:
    """The central 99.99 % of the values."""
    low, high = extremes(statistics)
    centres, counts = bins(statistics)
    share = np.cumsum(counts) / counts.sum()
    first = centres[min(int(np.searchsorted(share, _TAIL)), len(centres) - 1)]
    last = centres[min(int(np.searchsorted(share, 1 - _TAIL)), len(centres) - 1)]
    return max(low, min(0.0, float(first))), min(high, max(0.0, float(last)))
