"""Weight scales by error search over a wide logarithmic range, refined by least squares.

For tapered tables (DyBit of 5 bits and more) the best scale puts the largest weight far below the
largest level, many times max-abs away from where a uniform table has it; a search window around
max-abs misses it. The range here ends where the largest weight lands in the middle of the levels. It
starts where it is clipped to a third, or to a tenth for tables of few levels, which give up the tail
first. The error of a short row jumps up and down with the scale, so short rows are searched in finer
steps.
"""

from collections.abc import Callable

import numpy as np

from dybitq.encodings import codec
from dybitq.records.formats import NumberFormat
from dybitq.registry import Registry

# (rows [n, K] float32, importance [n, K] float32, format) -> scale float32 [n]
ScaleMethod = Callable[[np.ndarray, np.ndarray, NumberFormat], np.ndarray]
scale_methods: Registry[ScaleMethod] = Registry("scale method", "dybitq.fit.weights.methods")

_BLOCK = 1 << 16  # elements worked on at a time: keeps the temporaries in the cache
_COARSE_STEP = 2.0**0.25
_LONG_ROW, _FINEST = 256, 16  # elements from which on the coarse step serves, and the most it is divided by
_SMALLEST = 1e-30  # below it a weight counts as zero
_FEW_LEVELS = 8  # positive levels, as 4-bit tables have them


def rounding_error(
    rows: np.ndarray, importance: np.ndarray, fmt: NumberFormat, scale: np.ndarray
) -> np.ndarray:
    """``sum_k importance * (w - scale * nearest(w / scale))**2`` of every row.

    Args:
        rows: float32 ``[n, K]``.
        importance: float32, broadcastable to ``[n, K]``.
        fmt: the table.
        scale: float32 ``[n]``, positive.

    Returns:
        float64 ``[n]``.
    """
    inverse = (1 / scale).astype(np.float32)[:, None]
    difference = codec.nearest(rows * inverse, fmt)
    difference *= scale[:, None]
    difference -= rows
    difference *= difference
    difference *= importance
    return difference.sum(axis=1, dtype=np.float64)


def search_scale(rows: np.ndarray, importance: np.ndarray, fmt: NumberFormat) -> np.ndarray:
    """Scale of every row with the smallest weighted squared error.

    Args:
        rows: float32 ``[n, K]``; each row gets one scale.
        importance: float32 ``[n, K]``, non-negative weight of each element's squared error.
        fmt: the table.

    Returns:
        float32 ``[n]``. Rows of zeros, and of numbers so small that the inverse of a scale would not be a
        float32, get 0; the caller decides what they need.
    """
    step = max(1, _BLOCK // max(1, rows.shape[1]))
    parts = [
        _search_block(rows[i : i + step], importance[i : i + step], fmt) for i in range(0, len(rows), step)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _search_block(rows: np.ndarray, importance: np.ndarray, fmt: NumberFormat) -> np.ndarray:
    largest = np.abs(rows).max(axis=1)
    alive = largest > _SMALLEST
    unit = np.where(alive, largest, 1).astype(np.float32)
    rows = rows / unit[:, None]  # squares of very small and very large weights would not be float32
    integers, _ = codec.levels(fmt)
    positive = integers[integers > 0]
    clipped = 0.3 if len(positive) > _FEW_LEVELS else 0.1
    start, stop = clipped / positive[-1], 1.05 / positive[len(positive) // 2]
    step = _COARSE_STEP ** (1 / np.clip(_LONG_ROW // rows.shape[1], 1, _FINEST))
    count = max(3, int(np.ceil(np.log(stop / start) / np.log(step))) + 1)
    best, error = _best_of(np.geomspace(start, stop, count), rows, importance, fmt)
    for width in step ** (0.5 ** np.arange(1, 6)):
        for factor in (1 / width, width):
            trial = (best * np.float32(factor)).astype(np.float32)
            trial_error = rounding_error(rows, importance, fmt, trial)
            better = trial_error < error
            best, error = np.where(better, trial, best), np.where(better, trial_error, error)
    best = _least_squares(rows, importance, fmt, best, error)
    return np.where(alive, best * unit, 0).astype(np.float32)


def _best_of(
    scales: np.ndarray, rows: np.ndarray, importance: np.ndarray, fmt: NumberFormat
) -> tuple[np.ndarray, np.ndarray]:
    """Find the best of some scales for every row, and its error; many trials at a time if rows are few."""
    best = np.zeros(len(rows), np.float32)
    error = np.full(len(rows), np.inf)
    count = max(1, _BLOCK // rows.size)
    for start in range(0, len(scales), count):
        trials = np.repeat(scales[start : start + count, None].astype(np.float32), len(rows), axis=1)
        stacked = (len(trials) * len(rows), rows.shape[1])
        errors = rounding_error(
            np.broadcast_to(rows, (len(trials), *rows.shape)).reshape(stacked),
            np.broadcast_to(importance, (len(trials), *rows.shape)).reshape(stacked),
            fmt,
            trials.reshape(-1),
        ).reshape(trials.shape)
        first = errors.argmin(axis=0)
        least, column = errors[first, np.arange(len(rows))], np.arange(len(rows))
        better = least < error
        best = np.where(better, trials[first, column], best)
        error = np.where(better, least, error)
    return best, error


def _least_squares(
    rows: np.ndarray, importance: np.ndarray, fmt: NumberFormat, scale: np.ndarray, error: np.ndarray
) -> np.ndarray:
    """One step of alternating least squares: the best scale for the codes that ``scale`` gives."""
    codes = codec.nearest(rows / scale[:, None], fmt)
    over = np.einsum("nk,nk,nk->n", importance, rows, codes, dtype=float)
    under = np.einsum("nk,nk,nk->n", importance, codes, codes, dtype=float)
    trial = np.where((over > 0) & (under > 0), over / np.maximum(under, 1e-300), scale).astype(np.float32)
    trial = np.where(trial > 0, trial, scale)
    return np.where(rounding_error(rows, importance, fmt, trial) < error, trial, scale)
