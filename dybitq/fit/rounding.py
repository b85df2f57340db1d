"""Weights to codes: nearest level, or nearest level with the error passed on to weights not yet rounded.

Compensated rounding is the optimal-brain family's closed form in GPTQ's order of work (Frantar et al.,
arXiv:2210.17323, algorithm 1): columns are rounded one after the other, and the error of each is spread
over the columns to come through the Cholesky factor of the inverse of H, so that the layer's output
changes least. Any integer table can stand where the paper has a uniform grid. Columns are taken in
descending order of the diagonal of H, as in its reference implementation's ``act-order``.
"""

from collections.abc import Callable

import numpy as np

from dybitq.encodings import codec
from dybitq.fit.moments import Quadratic
from dybitq.records import NumberFormat
from dybitq.registry import Registry

# (matrix [groups, rows, K] float32, scale [groups, rows, 1] float32, format, H) -> uint8 codes, same shape
Rounding = Callable[[np.ndarray, np.ndarray, NumberFormat, Quadratic], np.ndarray]
roundings: Registry[Rounding] = Registry("rounding", "dybitq.fit.methods")

_DAMPING = 0.01  # of the mean diagonal, added to all of it: the paper's value
_ATTEMPTS = 8
_BLOCK = 64  # columns between two updates of everything behind them


def nearest(matrix: np.ndarray, scale: np.ndarray, fmt: NumberFormat, quadratic: Quadratic) -> np.ndarray:
    """Every weight to its nearest level."""
    return codec.encode(matrix / scale, fmt)


def compensated(matrix: np.ndarray, scale: np.ndarray, fmt: NumberFormat, quadratic: Quadratic) -> np.ndarray:
    """Column by column, errors spread through the inverse of H; nearest without a full H."""
    if quadratic.matrix is None:
        return nearest(matrix, scale, fmt, quadratic)
    order, factor = inverse_factor(quadratic.matrix)
    work = np.take_along_axis(matrix, order[:, None, :], axis=2) / scale
    width = work.shape[2]
    for start in range(0, width, _BLOCK):
        stop = min(start + _BLOCK, width)
        errors = np.empty((*work.shape[:2], stop - start), np.float32)
        for k in range(start, stop):
            column = work[:, :, k]
            rounded = codec.nearest(column, fmt)
            error = (column - rounded) / factor[:, None, k, k]
            work[:, :, k] = rounded
            work[:, :, k + 1 : stop] -= error[:, :, None] * factor[:, None, k, k + 1 : stop]
            errors[:, :, k - start] = error
        work[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    back = np.argsort(order, axis=1)
    return codec.encode(np.take_along_axis(work, back[:, None, :], axis=2), fmt)


def inverse_factor(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order of the columns, and the upper Cholesky factor of the inverse of the damped, ordered H.

    Args:
        matrix: float64 ``[groups, K, K]``, symmetric, positive semidefinite.

    Returns:
        int64 ``[groups, K]`` and float32 ``[groups, K, K]``.
    """
    diagonal = np.diagonal(matrix, axis1=1, axis2=2)
    mean = diagonal.mean(axis=1, keepdims=True)
    order = np.argsort(-diagonal, axis=1, kind="stable")
    ordered = np.take_along_axis(
        np.take_along_axis(matrix, order[:, :, None], axis=1), order[:, None, :], axis=2
    )
    eye = np.eye(matrix.shape[1])
    damping = np.where(mean > 0, mean, 1.0) * _DAMPING
    for _ in range(_ATTEMPTS):  # rank-deficient moments may need more than the usual damping
        try:
            inverse = np.linalg.inv(ordered + damping[:, :, None] * eye)
            return order, np.linalg.cholesky(inverse).swapaxes(1, 2).astype(np.float32)
        except np.linalg.LinAlgError:
            damping = damping * 10
    return order, np.broadcast_to(eye, matrix.shape).astype(np.float32)  # nothing to compensate with


roundings.register("nearest")(nearest)
roundings.register("compensated")(compensated)
