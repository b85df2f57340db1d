"""Weight scale: the power of two with the least squared error, outliers left out (QKeras' MSQE)."""

import numpy as np

from dybitq.encodings import pow2
from dybitq.fit.scales import scale_methods
from dybitq.records import NumberFormat


@scale_methods.register("pow2")
def power_of_two(rows: np.ndarray, importance: np.ndarray, fmt: NumberFormat) -> np.ndarray:
    """``2**e`` of every row of ``[n, K]``, float32 ``[n]``; 0 for rows of zeros.

    The importance of each input, the diagonal of H, stands in for the published second moments of
    gradients.
    """
    weights = importance * pow2.outlier_mask(rows)
    exponents = pow2.fit_exponent(rows, fmt, weights)
    alive = np.abs(rows).max(axis=1) > 0
    return np.where(alive, np.ldexp(1.0, exponents), 0).astype(np.float32)
