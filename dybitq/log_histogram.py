"""Coarse histograms of float32 values: eight bins for each power of two, of both signs.

Bin 0 holds all values below 2^-24 in magnitude, bins 1 to 383 the positive values above it, up to 2^24 and
beyond in the last, and bins 384 to 767 mirror them for negative values. Edges are fixed, so that counts of
two shards of data add up, and a row of them for every channel of a layer stays small.
"""

import numpy as np

BINS = 768
_HALF = BINS // 2
_SHIFT = 20  # of a float32 pattern: sign, eight bits of exponent, three of mantissa are left
_FIRST = (127 - 24) << 3  # what is left of 2^-24
LARGEST = 2.0**24
"""Magnitude from which on values share one bin."""


def bin_of(values: np.ndarray) -> np.ndarray:
    """Bin of every float32 value, int64 of the same shape."""
    pattern = np.ascontiguousarray(values, np.float32).view(np.uint32)
    level = ((pattern >> np.uint32(_SHIFT)) & np.uint32(0x7FF)).astype(np.int64) - _FIRST
    level = np.clip(level, 0, _HALF - 1)
    return np.where((pattern >> np.uint32(31) != 0) & (level > 0), level + _HALF, level)


def centres() -> np.ndarray:
    """Middle of every bin, 0 for the one around zero and its unused mirror; float64 ``[768]``."""
    start = ((np.arange(1, _HALF, dtype=np.uint32) + np.uint32(_FIRST)) << np.uint32(_SHIFT)).view(np.float32)
    half = np.ldexp(1.0, np.frexp(start)[1] - 1) / 16
    middle = np.concatenate([[0.0], start.astype(np.float64) + half])
    return np.concatenate([middle, -middle])


def widths() -> np.ndarray:
    """Width of every bin, 0 for the one around zero; float64 ``[768]``."""
    middle = np.abs(centres())
    return np.where(middle > 0, np.ldexp(1.0, np.frexp(middle)[1] - 1) / 8, 0.0)


def divided(counts: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Convert counts ``[rows, 768]`` to those of the values divided by ``scale``, a power of two per row."""
    result = np.zeros_like(counts)
    for row, exponent in enumerate(-np.rint(np.log2(scale)).astype(np.int64)):
        for sign in (0, _HALF):
            level = np.arange(_HALF)
            moved = np.where(level > 0, np.clip(level + (exponent << 3), 0, _HALF - 1), 0)
            np.add.at(result[row], moved + np.where(moved > 0, sign, 0), counts[row, sign : sign + _HALF])
    return result
