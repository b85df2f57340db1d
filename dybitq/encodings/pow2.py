"""Power-of-two weight scales by least squared error: S = 2^e, so that scaling is a shift.

Source: the post-training part of the hardware-friendly weight quantizer published in QKeras
(``quantizers_po2.py``), which calls the error MSQE. The error is ``E(S) = sum_j m_j (x_j - S q_j)^2``, with
q_j the nearest level of x_j / S:

1. start at e = round(log2(max|x| / Q)), with Q the largest level;
2. three times: the least-squares scale ``sum m q x / sum m q^2`` of the present levels, rounded to a power of
   two; the best exponent seen is kept, the levels of the newest one are used next;
3. exponents 3 below to 3 above the best one are tried.

Elements weigh 1, or 0 beyond two standard deviations (outliers saturate and should not choose the scale),
times the caller's weights: the diagonal of the input second moment takes the place of the published second
moments of gradients.

The difference: step 3 starts again around a new best exponent until nothing changes. Uniform levels
hardly need it; DyBit's best scale lies several powers of two from the largest value.
"""

import numpy as np

from dybitq.encodings import codec
from dybitq.records.formats import NumberFormat

LEAST_SQUARES_STEPS = 3
LINE_SEARCH = (-3, -2, -1, 1, 2, 3)
OUTLIER_SIGMA = 2.0
MAX_EXPONENT = 60
"""Exponents are kept within +-60, far inside float32, so that all-zero and denormal rows stay finite."""


def outlier_mask(values: np.ndarray) -> np.ndarray:
    """Return 1.0 where ``|x| <= 2 std(x)``, else 0.0; the deviation is about the mean of each row.

    Args:
        values: float, ``[..., count]``; the last axis shares a scale.

    Returns:
        float64, shape of ``values``. A row whose values are all masked (all are equal) is all ones.
    """
    given = np.asarray(values, np.float64)
    inside = np.abs(given) <= OUTLIER_SIGMA * given.std(axis=-1, keepdims=True)
    return np.where(inside.any(axis=-1, keepdims=True), inside, True).astype(np.float64)


def error(
    values: np.ndarray, exponent: np.ndarray, format: NumberFormat, weights: np.ndarray | float = 1.0
) -> np.ndarray:
    """Compute ``sum_j m_j (x_j - 2^e q_j)^2`` of each row in float64.

    Args:
        values: float, ``[..., count]``.
        exponent: int, ``[...]``, one for each row.
        format: the levels; nearest, ties to the even code, saturating.
        weights: m, broadcast against ``values``.
    """
    given = np.asarray(values, np.float64)
    scale = np.ldexp(1.0, exponent)[..., None]
    rest = given - _levels(values, exponent, format) * scale
    return (weights * rest**2).sum(axis=-1)


def fit_exponent(values: np.ndarray, format: NumberFormat, weights: np.ndarray | float = 1.0) -> np.ndarray:
    """Fit the exponents of the power-of-two scales with the least squared error.

    Args:
        values: float, ``[..., count]``; one scale for each row (flatten a tensor for one scale in all).
        format: the levels.
        weights: m, not negative, broadcast against ``values``; multiply in :func:`outlier_mask` for the
            published setting.

    Returns:
        int64 ``[...]``. A row of zeros gets the smallest exponent.
    """
    given = np.asarray(values, np.float64)
    m = np.broadcast_to(np.asarray(weights, np.float64), given.shape)
    newest = _round_log2(np.abs(given).max(axis=-1) / format.max_integer)
    best, best_error = newest, error(values, newest, format, m)
    for _ in range(LEAST_SQUARES_STEPS):
        q = _levels(values, newest, format)
        denominator = (m * q * q).sum(axis=-1)
        ratio = (m * q * given).sum(axis=-1) / np.where(denominator > 0, denominator, 1.0)
        newest = np.where(denominator > 0, _round_log2(ratio), newest)
        best, best_error = _better(best, best_error, newest, error(values, newest, format, m))
    while True:
        centre = best
        for offset in LINE_SEARCH:
            tried = np.clip(centre + offset, -MAX_EXPONENT, MAX_EXPONENT)
            best, best_error = _better(best, best_error, tried, error(values, tried, format, m))
        if np.array_equal(best, centre):
            return best


def _levels(values: np.ndarray, exponent: np.ndarray, format: NumberFormat) -> np.ndarray:
    codes = codec.encode(np.ldexp(values, -np.asarray(exponent)[..., None]), format)
    return codec.decode(codes, format).astype(np.float64)


def _round_log2(scale: np.ndarray) -> np.ndarray:
    floor = 2.0**-MAX_EXPONENT
    return np.rint(np.log2(np.clip(scale, floor, 1 / floor))).astype(np.int64)


def _better(
    best: np.ndarray, best_error: np.ndarray, tried: np.ndarray, tried_error: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    wins = tried_error < best_error
    return np.where(wins, tried, best), np.where(wins, tried_error, best_error)
