"""Real factors to dyadic ones, by the rule under which float32 kernels compute them exactly.

For a factor in front of one rounding the rule is c <= 16. A sum of two rescaled operands is formed in
float32 before it is rounded, zero point included, so that all of it has to fit 24 bits in units of 2^-c:

    128 * 2^c + sum of b_i * max|q_i - z_i| <= 2^24        and        255 * b_i <= 2^24
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dybitq.encodings import dyadic
from dybitq.errors import UnsupportedError
from dybitq.records.arithmetic import IntegerOptions, TieRounding
from dybitq.records.fitted import FittedEdge
from dybitq.records.integer_network import Requantize

_EXACT = 1 << 24
_CODES = 255
_TIED = 2.0**-12  # relative; factors of tied scales are nearer to powers of two than that


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shared:
    """Multipliers of several operands with one shift.

    Attributes:
        multipliers: b, at least 1 each.
        shift: c.
        relative: dyadic factor over real factor minus one, for each operand.
    """

    multipliers: tuple[int, ...]
    shift: int
    relative: tuple[float, ...]


def requantize(
    name: str, factors: np.ndarray | float, edge: FittedEdge, options: IntegerOptions
) -> tuple[Requantize, float]:
    """Multiplier and shift for real ``factors`` in front of the codes of ``edge``.

    Returns:
        The operation, and the largest relative error of a factor.

    Raises:
        UnsupportedError: a factor cannot be represented; the message names ``name``.
    """
    given = np.atleast_1d(np.asarray(factors, np.float64))
    b, c = dyadic_factors(name, given, options)
    made = Requantize(
        multiplier=b,
        shift=c,
        zero_point=edge.zero_point,
        low=edge.low,
        high=edge.high,
        rounding=TieRounding(options.rounding),
    )
    return made, float(np.abs(dyadic.value(b, c) / given - 1).max())


def requantize_tied(
    name: str, factor: float, edge: FittedEdge, options: IntegerOptions
) -> tuple[Requantize, float]:
    """As :func:`requantize`, for the factor of a mean or a product of activations.

    With ``pow2`` the scales around it are tied so that it is a power of two, but for rounding. Where ties
    contradict each other (a tensor is added to its own mean) it is none, and becomes a dyadic number like any
    other.
    """
    made, relative = requantize(name, factor, edge, options)
    if options.scales == "pow2" and relative > _TIED:
        return requantize(name, factor, edge, replace(options, scales="free"))
    return made, relative


def dyadic_factors(name: str, factors: np.ndarray, options: IntegerOptions) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers b and shifts c nearest to real ``factors``, int64, of the same shape.

    Raises:
        UnsupportedError: a factor cannot be represented; the message names ``name``.
    """
    try:
        if options.multiplier_bits:
            b, c = dyadic.convert(factors, options.multiplier_bits)
        elif options.scales == "pow2":
            b, c = dyadic.snap_pow2(factors)
        else:
            b, c = dyadic.snap(factors)
    except UnsupportedError as error:
        raise UnsupportedError(f"{name}: {error}") from error
    if int(c.min()) < 0:
        raise UnsupportedError(
            f"{name}: requantization factor {float(factors.max()):.6g} does not fit a multiplier of "
            f"{options.multiplier_bits} bits; the scale of the output is far too small"
        )
    return b, c


def share(name: str, ratios: Sequence[float], zeros: Sequence[int], options: IntegerOptions) -> Shared:
    """Multipliers for ``ratios`` with the largest shift that keeps the sum exact.

    Args:
        name: of the operator, for messages.
        ratios: scale of each operand over scale of the result.
        zeros: zero points of the operands.
        options: wide multipliers, powers of two.

    Raises:
        UnsupportedError: a ratio is so large that no shift keeps the rule.
    """
    given = np.asarray(ratios, np.float64)
    if options.multiplier_bits:
        shift = max(0, options.multiplier_bits - 1 - int(np.frexp(given.max())[1]))
        return _shared(given, np.maximum(np.rint(np.ldexp(given, shift)), 1).astype(np.int64), shift)
    spans = [128 if zero else _CODES for zero in zeros]
    for shift in range(dyadic.MAX_SHIFT, -1, -1):
        multipliers = _at(given, shift, pow2=options.scales == "pow2")
        total = 128 * 2**shift + sum(int(b) * s for b, s in zip(multipliers, spans, strict=True))
        if total <= _EXACT and _CODES * int(multipliers.max()) <= _EXACT:
            return _shared(given, multipliers, shift)
    raise UnsupportedError(
        f"{name}: an operand has a scale {given.max():.6g} times that of the result, which 24 bits cannot "
        "hold; its range is far larger than what calibration saw of the result"
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WideShared:
    """Multipliers with one shift for sums that are formed in 64 bits.

    Attributes:
        multipliers: b of each operand, int64, shaped as its ratios.
        shift: c.
        largest_relative: largest relative error of a factor.
    """

    multipliers: tuple[np.ndarray, ...]
    shift: int
    largest_relative: float


def share_wide(name: str, ratios: Sequence[np.ndarray], options: IntegerOptions) -> WideShared:
    """Multipliers of 30 bits (of ``multiplier_bits``, where given) for operands of up to 32 bits.

    Raises:
        UnsupportedError: a ratio is no positive number, or beyond 2^30.
    """
    largest = max(float(r.max()) for r in ratios)
    bits = min(options.multiplier_bits or 30, 30)
    shift = bits - int(np.frexp(largest)[1])
    if shift < 0 or any(not r.min() > 0 for r in ratios):
        raise UnsupportedError(f"{name}: an operand has a scale {largest:.6g} times that of the result")
    shift = min(shift, 60)
    found = []
    for ratio in ratios:
        scaled = np.ldexp(ratio, shift)
        if options.scales == "pow2":
            scaled = 2.0 ** np.rint(np.log2(np.maximum(scaled, 1)))
        found.append(np.maximum(np.rint(scaled), 1).astype(np.int64))
    errors = [
        np.abs(np.ldexp(b.astype(float), -shift) / r - 1).max() for b, r in zip(found, ratios, strict=True)
    ]
    return WideShared(multipliers=tuple(found), shift=shift, largest_relative=float(max(errors)))


def _at(ratios: np.ndarray, shift: int, *, pow2: bool) -> np.ndarray:
    """Multipliers nearest to ``ratios`` at one shift, int64, at least 1."""
    scaled = np.ldexp(ratios, shift)
    if pow2:
        scaled = 2.0 ** np.rint(np.log2(np.maximum(scaled, 1)))
    return np.maximum(np.rint(np.minimum(scaled, 2.0**40)), 1).astype(np.int64)


def _shared(ratios: np.ndarray, multipliers: np.ndarray, shift: int) -> Shared:
    while shift and not (multipliers & 1).any():
        multipliers, shift = multipliers >> 1, shift - 1
    relative = dyadic.value(multipliers, np.full(len(ratios), shift)) / ratios - 1
    return Shared(
        multipliers=tuple(int(b) for b in multipliers),
        shift=shift,
        relative=tuple(float(r) for r in relative),
    )
