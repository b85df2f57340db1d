"""Exact arithmetic for the reference: float32 parameters as integers, rescaling, convolution, products.

Nothing here is shared with what fits and writes models. Products are summed in float64, exact below 2^53, or
in float32 where the operands prove that no sum reaches 2^24.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

import numpy as np

_FLOAT32_EXACT = 2**24
_FLOAT64_EXACT = 2**53


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Factor:
    """Numbers ``numerator * 2^-shift``, int64 arrays of one shape; the shift is not negative."""

    numerator: np.ndarray
    shift: np.ndarray


class NotDyadicError(ValueError):
    """A quotient of scales that no integer times a power of two equals."""


def factor_of(numerators: Sequence[np.ndarray], denominator: np.ndarray | None = None) -> Factor:
    """Product of float32 numbers, over one of them, exactly and in lowest terms.

    Raises:
        NotDyadicError: the quotient is no integer times a power of two, or its numerator needs 63 bits.
    """
    arrays = np.broadcast_arrays(*(np.atleast_1d(array) for array in numerators))
    under = Fraction(1) if denominator is None else Fraction(float(np.asarray(denominator).reshape(())))
    found = []
    for numbers in zip(*(array.reshape(-1).tolist() for array in arrays), strict=True):
        value = prod((Fraction(number) for number in numbers), start=Fraction(1)) / under
        bottom = value.denominator
        if bottom & (bottom - 1) or abs(value.numerator) >= 1 << 62 or bottom.bit_length() > 200:
            raise NotDyadicError(f"{float(value)!r} is no integer times a power of two")
        found.append((value.numerator, bottom.bit_length() - 1))
    pairs = np.array(found, np.int64).reshape(*arrays[0].shape, 2)
    return Factor(numerator=pairs[..., 0], shift=pairs[..., 1])


def shift_half_even(value: np.ndarray, shift: np.ndarray | int) -> np.ndarray:
    """``value / 2^shift`` rounded to the nearest integer, ties to the even one; int64."""
    c = np.minimum(np.asarray(shift, np.int64), 62)  # |value| < 2^62: more shifts it to nothing all the same
    below = value >> c
    twice_rest = 2 * (value - (below << c))
    whole = np.int64(1) << c
    up = (twice_rest > whole) | ((twice_rest == whole) & (below % 2 != 0))
    return below + up


def rescale(value: np.ndarray, factor: Factor, channels: int | None = None) -> np.ndarray:
    """``value * factor`` rounded half to even.

    Args:
        value: int64.
        factor: one, or one for each channel.
        channels: axis of the channels; None for the last one.
    """
    numerator, shift = factor.numerator, factor.shift
    if numerator.size == 1:
        numerator, shift = numerator.reshape(()), shift.reshape(())
    elif channels is not None:
        shape = [1] * value.ndim
        shape[channels] = -1
        numerator, shift = numerator.reshape(shape), shift.reshape(shape)
    return shift_half_even(value * numerator, shift)


def saturate(value: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Clip to the range of an integer type."""
    limits = np.iinfo(dtype)
    return np.clip(value, limits.min, limits.max).astype(dtype)


def multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``left @ right`` of integers, exactly, int64."""
    width = left.shape[-1]
    largest = int(np.abs(left).max(initial=0)) * int(np.abs(right).max(initial=0)) * width
    kind = _float_for(largest)
    return np.asarray(left.astype(kind) @ right.astype(kind), kind).astype(np.int64)


def convolve(
    x: np.ndarray,
    weight: np.ndarray,
    *,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
    group: int,
) -> np.ndarray:
    """Convolution of integers, exactly.

    Args:
        x: ``[batch, channels, *space]``, zero point taken off: padding is zero.
        weight: ``[out, channels / group, *kernel]``.
        strides, dilations: one for each spatial axis.
        pads: begins, then ends.
        group: number of groups.

    Returns:
        int64 ``[batch, out, *places]``.
    """
    rank = x.ndim - 2
    out, inner, *kernel = weight.shape
    largest = int(np.abs(x).max(initial=0)) * int(np.abs(weight).reshape(out, -1).sum(axis=1).max(initial=0))
    kind = _float_for(largest)
    border = [(0, 0), (0, 0), *((pads[a], pads[a + rank]) for a in range(rank))]
    padded = np.pad(x.astype(kind), border)
    extents = [
        (padded.shape[a + 2] - (kernel[a] - 1) * dilations[a] - 1) // strides[a] + 1 for a in range(rank)
    ]
    total = np.zeros((x.shape[0], group, out // group, prod(extents)), kind)
    grouped = weight.astype(kind).reshape(group, out // group, inner, *kernel)
    for tap in np.ndindex(*kernel):
        window = [
            slice(t * d, t * d + (e - 1) * s + 1, s)
            for t, d, e, s in zip(tap, dilations, extents, strides, strict=True)
        ]
        seen = padded[:, :, *window].reshape(x.shape[0], group, inner, -1)
        taps = grouped[:, :, :, *tap]
        total += taps * seen if inner == 1 else taps @ seen
    return total.reshape(x.shape[0], out, *extents).astype(np.int64)


def _float_for(largest: int) -> type[np.floating]:
    """Return the float type in which integers up to ``largest`` are added exactly."""
    if largest >= _FLOAT64_EXACT:
        raise OverflowError(f"sums up to {largest} do not fit 53 bits")
    return np.float32 if largest < _FLOAT32_EXACT else np.float64
