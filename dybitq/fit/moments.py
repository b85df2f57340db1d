"""The quadratic form that weight errors are measured with: ``E |dW (x - m)|^2 = tr(dW H dW^T)``.

Where the bias takes up the mean error, what is left is the error around the mean, so ``H`` is the
covariance of the patches; where it cannot, ``H`` is their second moment.
"""

from dataclasses import dataclass

import numpy as np

from dybitq.records import Moment, MomentKind

_SHRINKAGE = 0.2  # times K / rows: the share of the off-diagonal that is taken to be chance
_MOST_SHRINKAGE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quadratic:
    """``H`` of one layer.

    Attributes:
        matrix: float64 ``[groups, K, K]``, or None if only the diagonal is known. A block-diagonal
            moment is a full matrix with zeros.
        diagonal: float64 ``[groups, K]``, not negative.
        mean: float64 ``[groups, K]``, mean of the patches.
        rows: patches it was made from.
    """

    matrix: np.ndarray | None
    diagonal: np.ndarray
    mean: np.ndarray
    rows: int

    def product(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """``l H r^T`` for every pair of rows of ``[groups, rows, K]``; float64 ``[groups, rows]``."""
        a, b = left.astype(np.float64), right.astype(np.float64)
        if self.matrix is None:
            return np.einsum("grk,grk,gk->gr", a, b, self.diagonal)
        return np.einsum("grk,grk->gr", a @ self.matrix, b)

    def energy(self, rows: np.ndarray) -> np.ndarray:
        """``w H w^T`` for every row of ``[groups, rows, K]``; float64 ``[groups, rows]``, not negative."""
        return np.maximum(self.product(rows, rows), 0)


def quadratic(moment: Moment, width: int, *, centred: bool) -> Quadratic:
    """Turn the sums of a moment into ``H``; ``width`` is K without the padding of blocks."""
    rows = max(1, moment.rows)
    mean = moment.first[:, :width] / rows
    shift = mean if centred else np.zeros_like(mean)
    if moment.kind is MomentKind.DIAGONAL:
        return Quadratic(
            matrix=None, diagonal=np.maximum(moment.second / rows - shift**2, 0), mean=mean, rows=moment.rows
        )
    if moment.kind is MomentKind.FULL:
        matrix = moment.second / rows - shift[:, :, None] * shift[:, None, :]
    else:
        matrix = _from_blocks(moment.second / rows, shift, width)
    matrix = shrunk(matrix, moment.rows)
    diagonal = np.maximum(np.diagonal(matrix, axis1=1, axis2=2), 0)
    return Quadratic(matrix=matrix, diagonal=diagonal.copy(), mean=mean, rows=moment.rows)


def shrunk(matrix: np.ndarray, rows: int) -> np.ndarray:
    """``matrix`` with its off-diagonal pulled towards zero, the more the fewer rows it was made from.

    A covariance of K inputs from hardly more than K rows has directions without any variance; rounding
    would hide all of its error there, and the next sample would find it.
    """
    width = matrix.shape[-1]
    share = min(_MOST_SHRINKAGE, _SHRINKAGE * width / max(1, rows))
    result = matrix * (1 - share)
    index = np.arange(width)
    result[:, index, index] = matrix[:, index, index]
    return result


def _from_blocks(blocks: np.ndarray, shift: np.ndarray, width: int) -> np.ndarray:
    groups, count, size, _ = blocks.shape
    matrix = np.zeros((groups, count * size, count * size))
    padded = np.zeros((groups, count * size))
    padded[:, :width] = shift
    for block in range(count):
        part = slice(block * size, (block + 1) * size)
        matrix[:, part, part] = blocks[:, block] - padded[:, part, None] * padded[:, None, part]
    return matrix[:, :width, :width]


def flat(groups: int, width: int) -> Quadratic:
    """All inputs alike: what is left where nothing was measured."""
    return Quadratic(matrix=None, diagonal=np.ones((groups, width)), mean=np.zeros((groups, width)), rows=0)
