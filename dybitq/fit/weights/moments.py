"""Hessian of a layer's output error in its weights: ``E |dW (x - m)|^2 = tr(dW H dW^T)``.

Where the bias takes up the mean error, what is left is the error around the mean, so ``H`` is the
covariance of the patches; where it cannot, ``H`` is their second moment.
"""

import functools
from dataclasses import dataclass

import numpy as np

from dybitq.records.statistics import Moment, MomentKind

_SHRINKAGE = 0.2  # times K / rows: the share of the off-diagonal that is taken to be chance
_MOST_SHRINKAGE = 0.5
DAMPING = 0.01
"""Share of the mean diagonal that is added to all of it, as in GPTQ."""

_SCARCE_DAMPING = 0.25  # times K / rows, where that is more than the usual damping
_ATTEMPTS = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Hessian:
    """Hessian ``H`` of one layer's output error, from the patches that its weights multiply.

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

    def times(self, rows: np.ndarray) -> np.ndarray:
        """``w H`` of every row of ``[groups, rows, K]``, float32 of the same shape."""
        if self.matrix is None:
            return (rows * self.diagonal[:, None, :]).astype(np.float32)
        return rows.astype(np.float32, copy=False) @ self._single

    def energy(self, rows: np.ndarray) -> np.ndarray:
        """``w H w^T`` for every row of ``[groups, rows, K]``; float64 ``[groups, rows]``, not negative."""
        return np.maximum(np.einsum("grk,grk->gr", self.times(rows), rows, dtype=np.float64), 0)

    @functools.cached_property
    def _single(self) -> np.ndarray:
        assert self.matrix is not None
        return self.matrix.astype(np.float32)

    @functools.cached_property
    def damped(self) -> np.ndarray:
        """H with a share of its mean diagonal added to all of it, float32 ``[groups, K, K]``."""
        assert self.matrix is not None
        return (self.matrix + self._damping[:, :, None] * np.eye(self.matrix.shape[1])).astype(np.float32)

    @property
    def _damping(self) -> np.ndarray:
        mean = self.diagonal.mean(axis=1, keepdims=True)
        scarce = _SCARCE_DAMPING * self.diagonal.shape[1] / max(1, self.rows)
        return np.where(mean > 0, mean, 1.0) * max(DAMPING, scarce)

    @functools.cached_property
    def factor(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cholesky factor of the damped, ordered H, for rounding one column after the other.

        Returns:
            The order of the columns, int64 ``[groups, K]``, by falling diagonal; float32 ``[groups, K, K]``,
            whose row k says how much of the errors of the columns before k is to be added to column k
            (in that order, zero from the diagonal on); float32 ``[groups, K]``, the square root of what an
            error of column k costs when those after it make up for it as well as they can.
        """
        assert self.matrix is not None
        order = np.argsort(-self.diagonal, axis=1, kind="stable")
        last_first = order[:, ::-1]
        ordered = np.take_along_axis(
            np.take_along_axis(self.matrix, last_first[:, :, None], axis=1), last_first[:, None, :], axis=2
        )
        eye = np.eye(self.matrix.shape[1])
        damping = self._damping
        for _ in range(_ATTEMPTS):  # rank-deficient moments may need more than the usual damping
            try:
                lower = np.linalg.cholesky(ordered + damping[:, :, None] * eye)
                break
            except np.linalg.LinAlgError:
                damping = damping * 10
        else:  # nothing to compensate with
            lower = np.broadcast_to(eye, self.matrix.shape)
        # Row k of R = L^T weighs e_k and the errors after it, which come first when the order is turned.
        diagonal = np.diagonal(lower, axis1=1, axis2=2)
        ratios = (lower / diagonal[:, None, :]).swapaxes(1, 2)[:, ::-1, ::-1]
        return (
            order,
            np.tril(ratios, -1).astype(np.float32),
            diagonal[:, ::-1].astype(np.float32),
        )


def hessian_from(moment: Moment, width: int, *, centred: bool) -> Hessian:
    """Hessian from the sums of a moment; ``width`` is K without the padding of blocks.

    One patch has no covariance, only what float32 leaves of it: then ``H`` is the second moment.
    """
    rows, centred = max(1, moment.rows), centred and moment.rows > 1
    mean = moment.first[:, :width] / rows
    shift = mean if centred else np.zeros_like(mean)
    if moment.kind is MomentKind.DIAGONAL:
        return Hessian(
            matrix=None, diagonal=np.maximum(moment.second / rows - shift**2, 0), mean=mean, rows=moment.rows
        )
    if moment.kind is MomentKind.FULL:
        matrix = moment.second / rows - shift[:, :, None] * shift[:, None, :]
    else:
        matrix = _from_blocks(moment.second / rows, shift, width)
    matrix = shrunk(matrix, moment.rows)
    diagonal = np.maximum(np.diagonal(matrix, axis1=1, axis2=2), 0)
    return Hessian(matrix=matrix, diagonal=diagonal.copy(), mean=mean, rows=moment.rows)


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


def uniform_hessian(groups: int, width: int) -> Hessian:
    """Hessian in which every input counts alike, for a layer of which nothing was measured."""
    return Hessian(matrix=None, diagonal=np.ones((groups, width)), mean=np.zeros((groups, width)), rows=0)
