"""SPARQ re-codings: 4-, 3- and 2-bit windows on 8-bit activation codes, chosen anew for every value.

Source: "Post-Training Sparsity-Aware Quantization" (Shomron et al., NeurIPS 2021) and its published kernel.

A window of n bits (bSPARQ) starts at the leading one of an 8-bit code, or as near above it as the allowed
shifts reach; what is to its right is truncated ("raw") or rounded half to even. The window is chosen before
rounding, so a carry out of it saturates inside it: with five shifts 124 becomes 120, not 128.

Pairing (vSPARQ) takes neighbours along the reduction axis, (0, 1), (2, 3) and so on. Where one of a pair is
zero the other has both multipliers to itself: of 4-bit windows it is then kept whole, of 3-bit ones in a
6-bit window, of 2-bit ones in a 4-bit window.

A re-coding is therefore two tables of 256 codes, and its results are again 8-bit codes of the same scale and
zero point.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dybitq.registry import Registry

ALL_8_BITS = (8, (0,))
SIX_BITS = (6, (0, 1, 2))
FOUR_BITS = (4, (0, 1, 2, 3, 4))

WINDOWS = {
    "sparq4-5opt": (FOUR_BITS, ALL_8_BITS),
    "sparq4-3opt": ((4, (0, 2, 4)), ALL_8_BITS),
    "sparq4-2opt": ((4, (0, 4)), ALL_8_BITS),
    "sparq3-6opt": ((3, (0, 1, 2, 3, 4, 5)), SIX_BITS),
    "sparq2-7opt": ((2, (0, 1, 2, 3, 4, 5, 6)), FOUR_BITS),
}
"""By name: (bits, shifts) of the window for two live values, and of the one for a value beside a zero."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recoding:
    """What a layer does to its 8-bit input codes on the way in.

    Attributes:
        name: as it stands in a plan.
        single: uint8 ``[256]``, what replaces a code whose partner is zero.
        both: uint8 ``[256]``, what replaces a code whose partner is not zero.
        paired: whether partners are looked at; where not, ``single`` equals ``both``.
        zero_point: the code that stands for zero.
    """

    name: str
    single: np.ndarray
    both: np.ndarray
    paired: bool
    zero_point: int = 0


RECODINGS: Registry[Callable[[], Recoding]] = Registry("re-coding", "dybitq.encodings")


def get(name: str, zero_point: int = 0) -> Recoding:
    """The re-coding called ``name``, on codes with the given zero point.

    Args:
        name: ``sparq4-5opt``, ``sparq4-3opt``, ``sparq4-2opt``, ``sparq3-6opt`` or ``sparq2-7opt``; ``-raw``
            behind it truncates instead of rounding, ``-nopair`` looks at every value alone.
        zero_point: 0 is the published method. With another one (the paper has no signed activations) the
            window is taken of the magnitude, the sign is kept, and a pair's zero test is on the zero point.

    Raises:
        ConfigError: no such re-coding.
    """
    recoding = RECODINGS.get(name)()
    if not zero_point:
        return recoding
    return Recoding(
        name=name,
        single=_around(recoding.single, zero_point),
        both=_around(recoding.both, zero_point),
        paired=recoding.paired,
        zero_point=zero_point,
    )


def window_table(bits: int, shifts: tuple[int, ...], rounded: bool) -> np.ndarray:
    """The bSPARQ window of every unsigned 8-bit integer.

    Args:
        bits: width n of the window.
        shifts: allowed shifts s, increasing; the smallest with ``x < 2**(bits + s)`` is used.
        rounded: round half to even on the dropped bits, saturating in the window; otherwise truncate.

    Returns:
        uint8 ``[256]``, what remains of each integer.
    """
    x = np.arange(256)
    allowed = np.array(shifts)
    shift = allowed[np.searchsorted(2 ** (bits + allowed), x, side="right")]
    kept = x >> shift
    if rounded:
        kept = np.minimum(np.rint(x / 2.0**shift).astype(np.int64), 2**bits - 1)
    return (kept << shift).astype(np.uint8)


def apply_pairs(codes: np.ndarray, recoding: Recoding, axis: int) -> np.ndarray:
    """Re-code a tensor.

    Args:
        codes: uint8, any shape.
        recoding: the tables.
        axis: the axis whose neighbours are pairs (input channels of a convolution, the reduction axis of a
            matrix product); the last of an odd number is paired with zero. Unused without pairing.

    Returns:
        uint8 codes of the same shape.
    """
    if not recoding.paired:
        return recoding.both[codes]
    moved = np.moveaxis(codes, axis, -1)
    odd = moved.shape[-1] % 2
    live = np.pad(moved != recoding.zero_point, [(0, 0)] * (moved.ndim - 1) + [(0, odd)])
    partner_live = live.reshape(*live.shape[:-1], -1, 2)[..., ::-1].reshape(live.shape)
    partner_live = partner_live[..., : moved.shape[-1]]
    recoded = np.where(partner_live, recoding.both[moved], recoding.single[moved])
    return np.moveaxis(recoded, -1, axis)


def _around(table: np.ndarray, zero_point: int) -> np.ndarray:
    signed = np.arange(256) - zero_point
    remaining = np.sign(signed) * table[np.abs(signed)].astype(np.int64)
    return np.clip(remaining + zero_point, 0, 255).astype(np.uint8)


def _build(name: str, rounded: bool, paired: bool, full_name: str) -> Recoding:
    window, lone_window = WINDOWS[name]
    both = window_table(*window, rounded)
    single = window_table(*lone_window, rounded) if paired else both
    for table in (both, single):
        table.flags.writeable = False
    return Recoding(name=full_name, single=single, both=both, paired=paired)


for _name in WINDOWS:
    for _raw in ("", "-raw"):
        for _alone in ("", "-nopair"):
            _full = _name + _raw + _alone
            RECODINGS.register(_full)(
                functools.cache(functools.partial(_build, _name, not _raw, not _alone, _full))
            )
