"""Weights to codes: nearest level, or nearest level with the error made up for by weights not yet rounded.

Compensated rounding minimises ``|R (w - q)|^2`` with ``R^T R = H`` one weight after the other: each takes the
level nearest to what makes up best for the errors of those before it. That is Babai's nearest plane, and the
same result, without an inverse of H, as GPTQ's (Frantar et al., arXiv:2210.17323, algorithm 1), whose
damping and order are taken over: falling diagonal of H, the ``act-order`` of its reference implementation.
Any integer table can stand where the paper has a uniform grid.
"""

from collections.abc import Callable

import numpy as np

from dybitq.encodings import codec
from dybitq.fit.moments import Quadratic
from dybitq.records import NumberFormat
from dybitq.registry import Registry

# (matrix [groups, rows, K] float32, scale [groups, rows, 1] float32, format, H)
# -> uint8 codes of the same shape, and what the errors cost in H, float64 [groups, rows]
Rounding = Callable[[np.ndarray, np.ndarray, NumberFormat, Quadratic], tuple[np.ndarray, np.ndarray]]
roundings: Registry[Rounding] = Registry("rounding", "dybitq.fit.methods")

_BLOCK = 32  # columns between two updates of everything that follows
_ELEMENTS = 1 << 18  # of a block of columns that are worked on at a time: they stay in the cache


def nearest(
    matrix: np.ndarray, scale: np.ndarray, fmt: NumberFormat, form: Quadratic
) -> tuple[np.ndarray, np.ndarray]:
    """Every weight to its nearest level."""
    codes = codec.encode(matrix / scale, fmt)
    return codes, form.energy(matrix - fmt.table[codes].astype(np.float32) * scale)


def compensated(
    matrix: np.ndarray, scale: np.ndarray, fmt: NumberFormat, form: Quadratic
) -> tuple[np.ndarray, np.ndarray]:
    """Column by column, each making up for those before, by the damped H; nearest without a full H."""
    if form.matrix is None:
        return nearest(matrix, scale, fmt, form)
    groups, rows = matrix.shape[:2]
    codes, energy = np.empty(matrix.shape, np.uint8), np.empty((groups, rows))
    step = max(1, _ELEMENTS // (_BLOCK * groups))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        codes[:, part], energy[:, part] = _nearest_plane(matrix[:, part] / scale[:, part], fmt, form)
    return codes, energy * scale[..., 0].astype(np.float64) ** 2


def _nearest_plane(matrix: np.ndarray, fmt: NumberFormat, form: Quadratic) -> tuple[np.ndarray, np.ndarray]:
    """Codes and energies of weights ``[groups, rows, K]`` in units of the table."""
    order, ratios, diagonal = form.factor
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
            codes[:, k] = codec.encode(own, fmt)
            level = fmt.table[codes[:, k]].astype(np.float32)
            errors[:, k] = targets[:, k] - level
            energy += ((own - level) * diagonal[:, k, None]).astype(np.float64) ** 2
            shift[:, k + 1 - start :] += ratios[:, k + 1 : stop, k, None] * errors[:, k, None, :]
    back = np.argsort(order, axis=1)
    return np.take_along_axis(codes, back[:, :, None], axis=1).transpose(0, 2, 1), energy


roundings.register("nearest")(nearest)
roundings.register("compensated")(compensated)
