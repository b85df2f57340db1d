"""Dyadic factors b * 2^-c, by which integer-only arithmetic rescales an accumulator.

Source: HAWQ-V3 (Yao et al., ICML 2021, arXiv:2011.10680). A factor ``M = s_x * s_w / s_y`` becomes an integer
multiplier b and a right shift c; the output is ``round(acc * b / 2^c)``, computed in 64-bit integers.

Two uses, two functions. :func:`convert` takes any factor to 31 bits of multiplier, for hardware with wide
multipliers. :func:`snap` finds the nearest factor with a small shift: with c <= 16 and 8-bit outputs, a
kernel that multiplies the accumulator by the float32 number b * 2^-c and rounds half to even computes exactly
the same integers, because every result that does not saturate has |acc * b| <= 2^8 * 2^c <= 2^24. Weight
scales are moved to the grid of such factors by :func:`snap_weight_scale` before their codes are chosen, so no
accuracy is lost afterwards.
"""

from dataclasses import dataclass

import numpy as np

from dybitq.errors import UnsupportedError
from dybitq.records.arithmetic import TieRounding

MAX_SHIFT = 16
"""Largest shift at which float32 kernels with 8-bit outputs are exact."""

MULTIPLIER_BITS = 24
"""A float32 holds integers of this many bits; a wider multiplier would itself be rounded."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SnappedScale:
    """Weight scales, changed such that the requantization factor is dyadic.

    Attributes:
        scale: float64, the changed scales; ``s_x * scale / s_y`` equals ``multiplier * 2**-shift``.
        multiplier: int64, b, at least 1.
        shift: int64, c, 0 to the largest shift allowed.
        relative: float64, changed scale over given scale, minus one.
    """

    scale: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    relative: np.ndarray


def factor(input_scale: float, weight_scale: np.ndarray | float, output_scale: float) -> np.ndarray:
    """Compute ``s_x * s_w / s_y`` with the float32 steps of HAWQ-V3's code, float64.

    The scales are float32; their product is formed in double precision and rounded to float32, and its
    quotient by the output scale is a double again.
    """
    weight32 = np.asarray(weight_scale, np.float32).astype(np.float64)
    product = (weight32 * np.float64(np.float32(input_scale))).astype(np.float32)
    return product.astype(np.float64) / np.float64(np.float32(output_scale))


def convert(factors: np.ndarray | float, bits: int = 31) -> tuple[np.ndarray, np.ndarray]:
    """Convert factors to the nearest dyadic numbers with multipliers of ``bits`` bits.

    With M = f * 2^E and 0.5 <= f < 1 it is ``b = round_half_up(f * 2^bits)``, ``c = bits - E``; a b that
    rounds up to ``2^bits`` is halved and c lowered by one, which is the same number. The relative error is at
    most ``2^-bits``.

    Args:
        factors: positive and finite, any shape.
        bits: width of the multiplier, 1 to 31.

    Returns:
        b and c, int64, shape of ``factors``; c is negative where M is ``2^bits`` or more.

    Raises:
        UnsupportedError: a factor is zero, negative or not finite.
    """
    given = _positive(factors)
    fraction, exponent = np.frexp(given)
    multiplier = np.floor(fraction * 2.0**bits + 0.5).astype(np.int64)
    full = multiplier == 1 << bits
    return np.where(full, multiplier >> 1, multiplier), bits - exponent.astype(np.int64) - full


def snap(
    factors: np.ndarray | float, max_shift: int = MAX_SHIFT, bits: int = MULTIPLIER_BITS
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest dyadic numbers whose shift is at most ``max_shift``.

    A factor below half a unit of ``2**-max_shift`` (a dead channel) becomes one unit: b is never 0.

    Args:
        factors: positive and finite, below ``2**bits``; any shape.
        max_shift: largest c.
        bits: largest width of b, in bits.

    Returns:
        b and c, int64, shape of ``factors``, in lowest terms: b is odd or c is 0.

    Raises:
        UnsupportedError: a factor is zero, negative, not finite, or ``2**bits`` and more.
    """
    given = _positive(factors)
    exponent = np.frexp(given)[1].astype(np.int64)
    shift = np.minimum(max_shift, bits - exponent)
    if (shift < 0).any():
        raise UnsupportedError(
            f"requantization factor {given.max():.6g} does not fit a multiplier of {bits} bits: the scale of "
            "the output is far too small for its input and weights; check the calibration data"
        )
    multiplier = np.maximum(np.rint(np.ldexp(given, shift)), 1).astype(np.int64)
    return _lowest_terms(multiplier, shift)


def snap_pow2(factors: np.ndarray | float, max_shift: int = MAX_SHIFT) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest powers of two that are at least ``2**-max_shift``: pure shifts.

    Args:
        factors: positive and finite, any shape.
        max_shift: largest c.

    Returns:
        b and c, int64; b is 1, or a power of two with c = 0 where the factor is above 1. The middle between
        two powers goes to the larger one.

    Raises:
        UnsupportedError: a factor is zero, negative, not finite, or 2^24 and more.
    """
    fraction, exponent = np.frexp(_positive(factors))
    power = exponent.astype(np.int64) - (fraction < 0.75)
    if (power >= MULTIPLIER_BITS).any():
        raise UnsupportedError(f"requantization factor 2^{int(power.max())} does not fit a float32 kernel")
    shift = np.clip(-power, 0, max_shift)
    return np.int64(1) << np.maximum(power, 0), shift


def snap_weight_scale(
    weight_scale: np.ndarray | float,
    input_scale: float,
    output_scale: float,
    *,
    pow2: bool = False,
    max_shift: int = MAX_SHIFT,
) -> SnappedScale:
    """Move weight scales so that ``s_x * s_w / s_y`` is dyadic.

    Args:
        weight_scale: positive, one per tensor or one per channel.
        input_scale: s_x of the layer's input.
        output_scale: s_y of the layer's output.
        pow2: allow powers of two only (b = 1).
        max_shift: largest c.

    Raises:
        UnsupportedError: a factor is zero, negative, not finite or far too large.
    """
    given = np.asarray(weight_scale, np.float64)
    factors = given * (float(input_scale) / float(output_scale))
    multiplier, shift = snap_pow2(factors, max_shift) if pow2 else snap(factors, max_shift)
    moved = value(multiplier, shift) * (float(output_scale) / float(input_scale))
    return SnappedScale(scale=moved, multiplier=multiplier, shift=shift, relative=moved / given - 1)


def value(multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return ``b * 2**-c``, float64, exact."""
    return np.ldexp(np.asarray(multiplier, np.float64), -np.asarray(shift, np.int64))


def rescale(
    accumulator: np.ndarray, multiplier: np.ndarray | int, shift: np.ndarray | int, rounding: TieRounding
) -> np.ndarray:
    """Compute ``round(acc * b / 2^c)`` in 64-bit integers.

    Args:
        accumulator: integers of magnitude at most 2^31, any shape.
        multiplier: b, from 0 to 2^31 - 1, broadcast against the accumulator.
        shift: c, broadcast likewise; negative shifts left.
        rounding: half to even, or half up: ``(acc * b + 2^(c-1)) >> c``.

    Returns:
        int64, not saturated.

    Raises:
        UnsupportedError: an operand is out of the stated range, or a left shift overflows.
    """
    acc = np.asarray(accumulator, np.int64)
    b, c = np.asarray(multiplier, np.int64), np.asarray(shift, np.int64)
    if acc.size and int(np.abs(acc).max()) > 1 << 31:
        raise UnsupportedError(f"accumulator {int(np.abs(acc).max())} does not fit 32 bits")
    if b.size and not 0 <= int(b.min()) <= int(b.max()) < 1 << 31:
        raise UnsupportedError(f"multipliers {int(b.min())} to {int(b.max())} do not fit 31 bits")
    product, c = np.broadcast_arrays(acc * b, c)
    left = np.maximum(-c, 0)
    if (left > 62).any() or (np.abs(product) >= np.int64(1) << (62 - np.minimum(left, 62))).any():
        raise UnsupportedError("accumulator times factor does not fit 63 bits")
    # |acc * b| < 2^62, so shifts beyond 62 give 0 under both rules; bounding c keeps 2^(c-1) in range
    right = np.clip(c, 0, 62)
    return np.where(c > 62, 0, _shift_right(product << left, right, rounding))


def _shift_right(product: np.ndarray, shift: np.ndarray, rounding: TieRounding) -> np.ndarray:
    half = (np.int64(1) << shift) >> 1  # 0 for shift 0: nothing to round
    if rounding is TieRounding.HALF_UP:
        return (product + half) >> shift
    quotient = product >> shift
    rest = product - (quotient << shift)
    up = (rest > half) | ((rest == half) & (quotient & 1 == 1) & (shift > 0))
    return quotient + up


def _lowest_terms(multiplier: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low_bit = multiplier & -multiplier
    zeros = np.frexp(low_bit.astype(np.float64))[1].astype(np.int64) - 1
    drop = np.minimum(zeros, shift)
    return multiplier >> drop, shift - drop


def _positive(factors: np.ndarray | float) -> np.ndarray:
    given = np.asarray(factors, np.float64)
    bad = ~(np.isfinite(given) & (given > 0))
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        where = f" (at index {index})" if index else ""
        raise UnsupportedError(
            f"requantization factor {float(given[index])}{where} is not a positive number; "
            "check the scales that it is computed from"
        )
    return given
