"""Weight scale: the largest weight lands on the largest level."""

import numpy as np

from dybitq.fit.weights.scales import scale_methods
from dybitq.records.formats import NumberFormat


@scale_methods.register("max")
def largest(rows: np.ndarray, importance: np.ndarray, fmt: NumberFormat) -> np.ndarray:
    """``max|w| / largest integer`` of every row of ``[n, K]``; float32 ``[n]``."""
    return (np.abs(rows).max(axis=1) / fmt.max_integer).astype(np.float32)
