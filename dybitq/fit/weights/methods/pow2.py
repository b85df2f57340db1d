"""Weight scale: the power of two with the least squared error, with outliers left out where that pays.

QKeras' MSQE leaves outliers out of the fit, which training makes up for. After training, a clipped weight
stays clipped, so the fit over all weights is made as well, and each row takes the exponent with the smaller
error over all of its weights.
"""

import numpy as np

from dybitq.encodings import pow2
from dybitq.fit.weights.scales import rounding_error, scale_methods
from dybitq.records.formats import NumberFormat


@scale_methods.register("pow2")
def power_of_two(rows: np.ndarray, importance: np.ndarray, fmt: NumberFormat) -> np.ndarray:
    """``2**e`` of every row of ``[n, K]``, float32 ``[n]``; 0 for rows of zeros.

    The importance of each input, the diagonal of H, stands in for the published second moments of
    gradients.
    """
    largest = np.abs(rows).max(axis=1)
    alive = largest > 0
    unit = np.where(alive, np.exp2(np.floor(np.log2(np.where(alive, largest, 1)))), 1).astype(np.float32)
    scales = [
        np.ldexp(1.0, pow2.fit_exponent(rows, fmt, weights)).astype(np.float32)
        for weights in (importance * pow2.outlier_mask(rows), importance)
    ]
    # Of rows in units of their largest weight: squares of very small weights would not be float32.
    errors = [rounding_error(rows / unit[:, None], importance, fmt, scale / unit) for scale in scales]
    return np.where(alive, np.where(errors[0] < errors[1], *scales), 0).astype(np.float32)
