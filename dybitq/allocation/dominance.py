"""Dominance between columns of a sorted table; the inner loop of the lists in ``proof``."""

import numpy as np

_BLOCK = 96
_REMEMBERED = 1024


def front(rows: np.ndarray) -> np.ndarray:
    """Mark columns that no earlier column equals or undercuts in every row.

    Exact for up to two rows; with more, columns are compared with the last few that were kept, so some
    dominated ones may stay.

    Args:
        rows: int64 ``[rows, n]``.

    Returns:
        Bool ``[n]``.
    """
    count = rows.shape[1]
    if len(rows) == 0:
        return np.arange(count) == 0
    if len(rows) == 1:
        return np.asarray(rows[0] < _least_before(rows[0]))
    kept = np.zeros(count, dtype=bool)
    border = rows[:, :0]
    for begin in range(0, count, _BLOCK):
        block = rows[:, begin : begin + _BLOCK]
        fresh = np.flatnonzero(~_beaten(block, border))
        block = block[:, fresh]
        earlier = np.tri(len(fresh), k=-1, dtype=bool).T
        beaten = ((block[:, :, None] <= block[:, None, :]).all(axis=0) & earlier).any(axis=0)
        fresh = fresh[~beaten]
        kept[begin + fresh] = True
        border = np.concatenate([border, rows[:, begin + fresh]], axis=1)
        border = _staircase(border) if len(rows) == 2 else border[:, -_REMEMBERED:]
    return kept


def _beaten(block: np.ndarray, border: np.ndarray) -> np.ndarray:
    """Bool ``[n]``: columns of ``block`` that a column of ``border`` equals or undercuts in every row."""
    if len(block) > 2 or border.shape[1] == 0:
        return np.asarray((border[:, :, None] <= block[:, None, :]).all(axis=0).any(axis=0))
    step = np.searchsorted(border[0], block[0], side="right") - 1
    return np.asarray((step >= 0) & (border[1][np.maximum(step, 0)] <= block[1]))


def _staircase(points: np.ndarray) -> np.ndarray:
    """Return the lower left border of points ``[2, n]``: first row rising, second falling."""
    points = points[:, np.lexsort(points[::-1])]
    return points[:, points[1] < _least_before(points[1])]


def _least_before(values: np.ndarray) -> np.ndarray:
    """Least of all earlier values, the largest int64 for the first."""
    return np.minimum.accumulate(np.concatenate([[np.iinfo(np.int64).max], values[:-1]]))
