"""Range: smallest expected squared error."""

import numpy as np

from dybitq.fit.ranges import bins, extremes, range_error, range_methods
from dybitq.records import TensorStatistics

_SHRINK = np.concatenate([np.linspace(1.0, 0.5, 26), np.geomspace(0.48, 0.01, 30)])


@range_methods.register("mse")
def mse(statistics: TensorStatistics, levels: int) -> tuple[float, float]:
    """Alternating search of both ends, each over fractions of its extreme."""
    low, high = extremes(statistics)
    centres, counts = bins(statistics)
    ends = [low, high]
    for _ in range(2):
        for side, extreme in ((1, high), (0, low)):
            if extreme == 0:
                continue
            errors = []
            for fraction in _SHRINK:
                trial = list(ends)
                trial[side] = extreme * fraction
                errors.append(range_error(centres, counts, trial[0], trial[1], levels))
            ends[side] = extreme * float(_SHRINK[int(np.argmin(errors))])
    return ends[0], ends[1]
