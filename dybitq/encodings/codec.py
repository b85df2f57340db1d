"""Encoding of values to codes and decoding, for any table of integers.

Encoding takes the nearest level. Beyond the ends it saturates, and a value half way between two levels
takes the one whose code is even (the smaller level if both or none are even). For two's complement
integers that is rounding half to even, for minifloats the IEEE rule. Reserved codes are never emitted.

Encoding is fast because the upper 16 bits of a float32 pattern (sign, exponent, seven bits of mantissa)
determine the level up to one boundary: two table look-ups and one comparison suffice for any table.
"""

import functools
from dataclasses import dataclass

import numpy as np

from dybitq.records.formats import NumberFormat

CHUNK = 1 << 15
"""Values encoded at a time, so that the intermediate arrays stay in the cache."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Levels:
    """The distinct levels of a format in increasing order, and the boundaries between them.

    ``last32[i]`` is the largest float32 that rounds to level i (infinity for the last one), ``last64`` the
    same for float64. ``first[key]`` is the level of the smallest float32 whose upper 16 bits are ``key``;
    None where two boundaries share a key.
    """

    integers: np.ndarray
    integers32: np.ndarray
    codes: np.ndarray
    last32: np.ndarray
    last64: np.ndarray
    first: np.ndarray | None


def encode(values: np.ndarray, format: NumberFormat, zero_point: int = 0) -> np.ndarray:
    """Encode ``values`` as the codes of the nearest levels.

    Args:
        values: float32 or float64 (others are cast to float32), any shape, in units of the table, which
            means divided by the scale. Infinities saturate.
        format: the table.
        zero_point: added to the rounded integer before saturating; uniform integers only.

    Returns:
        uint8 codes of the same shape; ties to the even code, see the head of this file.

    Raises:
        ValueError: a value is NaN, or there is a zero point where the table is not uniform.
    """
    values = _checked(values, format)
    if format.family == "int":
        return _encode_uniform(values, format, zero_point)
    if zero_point:
        raise ValueError(f"{format.name} is not uniform, it cannot have the zero point {zero_point}")
    levels = _levels(format)
    return _look_up(values, levels, levels.codes)


def rounded(values: np.ndarray, format: NumberFormat) -> tuple[np.ndarray, np.ndarray]:
    """Return codes of the nearest levels, uint8, and their integers, float32, in one step and unchecked.

    Args:
        values: float32, any shape, without NaN, in units of the table.
        format: the table.
    """
    if format.family == "int":
        integers = _nearest_uniform(values, _levels(format))
        return integers.astype(np.int16).astype(np.uint8) & np.uint8(2**format.bits - 1), integers
    levels = _levels(format)
    index = _index(np.ascontiguousarray(values).reshape(-1), levels)
    codes, integers = levels.codes.take(index), levels.integers32.take(index)
    return codes.reshape(values.shape), integers.reshape(values.shape)


def _nearest_uniform(values: np.ndarray, levels: _Levels) -> np.ndarray:
    """Values rounded half to even and saturated, float32."""
    whole = np.rint(values).astype(np.float32, copy=False)
    return np.clip(whole, float(levels.integers[0]), float(levels.integers[-1]), out=whole)


def decode(codes: np.ndarray, format: NumberFormat, zero_point: int = 0) -> np.ndarray:
    """Decode ``codes``, reserved ones included, to integers less the zero point, int64."""
    return format.table[codes] - zero_point


def nearest(values: np.ndarray, format: NumberFormat) -> np.ndarray:
    """Return integers of the levels nearest to ``values``: encode and decode in one step.

    Args:
        values: as for :func:`encode`, in units of the table.
        format: the table.

    Returns:
        float32, shape of ``values``.

    Raises:
        ValueError: a value is NaN.
    """
    values = _checked(values, format)
    levels = _levels(format)
    if format.family == "int":
        return _nearest_uniform(values, levels)
    return _look_up(values, levels, levels.integers32)


def quantize(
    values: np.ndarray, scale: np.ndarray | float, format: NumberFormat, zero_point: int = 0
) -> np.ndarray:
    """Encode and decode values: return the nearest ``integer * scale``, computed in float32.

    Args:
        values: float, any shape.
        scale: positive, broadcast against ``values``.
        format: the table.
        zero_point: see :func:`encode`.

    Returns:
        float32, shape of ``values``.
    """
    scale32 = np.asarray(scale, np.float32)
    scaled = np.asarray(values, np.float32) / scale32
    if not zero_point:
        return nearest(scaled, format) * scale32
    codes = encode(scaled, format, zero_point)
    return (format.table - zero_point).astype(np.float32)[codes] * scale32


def levels(format: NumberFormat) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct integers of a format in increasing order (int64) and the code of each (uint8)."""
    levels_of = _levels(format)
    return levels_of.integers, levels_of.codes


def _encode_uniform(values: np.ndarray, format: NumberFormat, zero_point: int) -> np.ndarray:
    low, high = int(format.table.min()), int(format.table.max())
    integers = np.clip(np.rint(values) + values.dtype.type(zero_point), low, high)
    return integers.astype(np.int16).astype(np.uint8) & np.uint8(2**format.bits - 1)


def _checked(values: np.ndarray, format: NumberFormat) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype != np.float64:
        values = values.astype(np.float32, copy=False)
    if values.size and np.isnan(values.min()):
        raise ValueError(f"NaN cannot be encoded as {format.name}")
    return values


def _look_up(values: np.ndarray, levels: _Levels, entries: np.ndarray) -> np.ndarray:
    """Entry of the level nearest to each value."""
    flat = np.ascontiguousarray(values).reshape(-1)
    result = np.empty(flat.size, entries.dtype)
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK]
        result[start : start + CHUNK] = entries.take(_index(part, levels))
    return result.reshape(values.shape)


def _index(values: np.ndarray, levels: _Levels) -> np.ndarray:
    if values.dtype == np.float64:
        return np.searchsorted(levels.last64, values, side="left")
    if levels.first is None:
        return np.searchsorted(levels.last32, values, side="left")
    index = levels.first.take(values.view(np.uint32) >> 16)
    index += values > levels.last32.take(index)
    return index


@functools.lru_cache(maxsize=64)
def _levels(format: NumberFormat) -> _Levels:
    emitted = np.setdiff1d(np.arange(format.table.size), np.array(format.reserved, np.int64))
    integers, where = np.unique(format.table[emitted], return_index=True)
    codes = emitted[where].astype(np.uint8)
    middles = (integers[:-1] + integers[1:]) / 2
    tie_goes_up = (codes[1:] % 2 == 0) & (codes[:-1] % 2 == 1)
    last32 = _largest_below(middles, tie_goes_up, np.float32)
    return _Levels(
        integers=integers,
        integers32=integers.astype(np.float32),
        codes=codes,
        last32=last32,
        last64=_largest_below(middles, tie_goes_up, np.float64),
        first=_first_level_by_key(last32),
    )


def _largest_below(middles: np.ndarray, tie_goes_up: np.ndarray, dtype: type[np.floating]) -> np.ndarray:
    """Largest number of ``dtype`` at or below each middle (strictly below where the tie goes up)."""
    rounded = middles.astype(dtype)
    too_large = (rounded > middles) | (tie_goes_up & (rounded == middles))
    lower = np.where(too_large, np.nextafter(rounded, dtype(-np.inf)), rounded)
    return np.append(lower, dtype(np.inf)).astype(dtype)


def _first_level_by_key(last32: np.ndarray) -> np.ndarray | None:
    patterns = np.arange(1 << 16, dtype=np.uint32) << 16
    near_zero, far = patterns.view(np.float32), (patterns | 0xFFFF).view(np.float32)
    negative = np.arange(1 << 16) >= 1 << 15
    number = np.isfinite(near_zero)
    smallest = np.where(number, np.where(negative, far, near_zero), np.where(negative, -np.inf, np.inf))
    largest = np.where(number, np.where(negative, near_zero, far), smallest)
    first = np.searchsorted(last32, smallest, side="left")
    if int((np.searchsorted(last32, largest, side="left") - first).max()) > 1:
        return None
    return first.astype(np.uint8)
