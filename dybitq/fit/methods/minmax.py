"""Range: everything calibration saw."""

from dybitq.fit.ranges import extremes, range_methods
from dybitq.records import TensorStatistics


@range_methods.register("minmax")
def minmax(statistics: TensorStatistics, levels: int) -> tuple[float, float]:
    """Exact extremes."""
    return extremes(statistics)
