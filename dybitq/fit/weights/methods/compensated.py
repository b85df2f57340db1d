"""Rounding to the nearest level, with the error made up for by weights not yet rounded.

Compensated rounding minimises ``|R (w - q)|^2`` with ``R^T R = H`` one weight after the other: each takes the
level nearest to what makes up best for the errors of those before it. That is Babai's nearest plane, and the
same result, without an inverse of H, as GPTQ's (Frantar et al., arXiv:2210.17323, algorithm 1), whose
damping and order are taken over: falling diagonal of H, the ``act-order`` of its reference implementation.
Any integer table can stand where the paper has a uniform grid.

What the order of the columns has done badly is then put right by coordinate descent on the same H: weight by
weight goes to the level that is best for all others as they are, until none moves (the descent of QuantEase,
Behdin et al., arXiv:2309.01885, here from a better start).
"""

import numpy as np

from dybitq.encodings import codec
from dybitq.fit.weights.methods.nearest import nearest
from dybitq.fit.weights.moments import Hessian
from dybitq.fit.weights.rounding import RoundingMethod, roundings
from dybitq.records.formats import NumberFormat

_TRIALS = (1.0, 0.8, 0.9, 1.1, 1.25, 0.6, 0.65, 0.7, 0.75, 0.85, 0.95, 1.05, 1.15, 1.2, 1.3, 1.4)
_FINER = (1.0, *np.geomspace(0.5, 1.5, 48).tolist())
_SWEEPS = 4  # of coordinate descent; later ones move one weight in a thousand
_BLOCK = 32  # columns between two updates of everything that follows
_ELEMENTS = 1 << 18  # of a block of columns that are worked on at a time: they stay in the cache


def compensated(
    matrix: np.ndarray, scale: np.ndarray, fmt: NumberFormat, hessian: Hessian
) -> tuple[np.ndarray, np.ndarray]:
    """Column by column, each making up for those before, by the damped H; nearest without a full H."""
    if hessian.matrix is None:
        return nearest(matrix, scale, fmt, hessian)
    groups, rows = matrix.shape[:2]
    codes, energy = np.empty(matrix.shape, np.uint8), np.empty((groups, rows))
    step = max(1, _ELEMENTS // (_BLOCK * groups))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        codes[:, part], energy[:, part] = _nearest_plane(matrix[:, part] / scale[:, part], fmt, hessian)
    return codes, energy * scale[..., 0].astype(np.float64) ** 2


def _nearest_plane(matrix: np.ndarray, fmt: NumberFormat, hessian: Hessian) -> tuple[np.ndarray, np.ndarray]:
    """Codes and energies of weights ``[groups, rows, K]`` in units of the table."""
    order, ratios, diagonal = hessian.factor
    # Columns first, so that all rows of one are contiguous.
    targets = np.take_along_axis(matrix, order[:, None, :], axis=2).transpose(0, 2, 1).copy()
    errors = np.empty_like(targets)
    codes = np.empty(targets.shape, np.uint8)
    energy = np.zeros((len(targets), targets.shape[2]))
    width = targets.shape[1]
    for start in range(0, width, _BLOCK):
        stop = min(start + _BLOCK, width)
        shift = ratios[:, start:stop, :start] @ errors[:, :start]
        for k in range(start, stop):
            own = targets[:, k] + shift[:, k - start]
            codes[:, k], level = codec.rounded(own, fmt)
            errors[:, k] = targets[:, k] - level
            energy += ((own - level) * diagonal[:, k, None]).astype(np.float64) ** 2
            shift[:, k + 1 - start :] += ratios[:, k + 1 : stop, k, None] * errors[:, k, None, :]
    back = np.argsort(order, axis=1)
    return np.take_along_axis(codes, back[:, :, None], axis=1).transpose(0, 2, 1), energy


def descended(
    codes: np.ndarray, matrix: np.ndarray, scale: np.ndarray, fmt: NumberFormat, hessian: Hessian
) -> np.ndarray:
    """Codes after coordinate descent from ``codes``, uint8; as they were without a full H.

    Every weight of a row in turn, those with the largest diagonal of the damped H first, goes to the level
    with the least energy of the row's error given its other weights.
    """
    if hessian.matrix is None:
        return codes
    groups = len(codes)  # a stack of matrices has one H for all
    order = np.broadcast_to(hessian.factor[0], (groups, codes.shape[2]))
    hessian_matrix = np.broadcast_to(hessian.damped, (groups, *hessian.damped.shape[1:]))
    target = matrix / scale
    codes = codes.copy()
    error = fmt.table[codes].astype(np.float32) - target
    slope = error @ hessian_matrix
    curve = np.maximum(np.diagonal(hessian_matrix, axis1=1, axis2=2), np.finfo(np.float32).tiny)
    group = np.arange(groups)
    for _ in range(_SWEEPS):
        moved = 0
        for column in order.T:
            own = error[group, :, column]
            with np.errstate(over="ignore"):  # infinities saturate
                best = own - slope[group, :, column] / curve[group, column, None]
            better, level = codec.rounded(target[group, :, column] + best, fmt)
            step = level - target[group, :, column] - own
            rows = np.flatnonzero((better != codes[group, :, column]).any(axis=0))
            if rows.size:
                moved += rows.size
                codes[group[:, None], rows, column[:, None]] = better[:, rows]
                error[group[:, None], rows, column[:, None]] += step[:, rows]
                slope[:, rows] += step[:, rows, None] * hessian_matrix[group, column, None]
        if not moved:
            break
    return codes


roundings.register("compensated")(
    RoundingMethod(round=compensated, trials=_TRIALS, finer=_FINER, improve=descended, compensates=True)
)
