"""SPARQ re-codings: 4-, 3- and 2-bit windows on 8-bit activation codes, chosen anew for every value.

Source: "Post-Training Sparsity-Aware Quantization" (Shomron et al., NeurIPS 2021) and its published kernel.

A window of n bits (bSPARQ) starts at the leading one of an 8-bit code, or as near above it as the allowed
shifts reach; the bits to its right are truncated ("raw") or rounded half to even. The window is chosen before
rounding, so a carry out of it saturates inside it: with five shifts 124 becomes 120, not 128.

Pairing (vSPARQ) takes neighbours along the reduction axis, (0, 1), (2, 3) and so on. Where one of a pair is
zero the other uses both multipliers: with 4-bit windows it keeps all 8 bits, with 3-bit ones it has a 6-bit
window, with 2-bit ones a 4-bit window.

A re-coding is therefore two tables of 256 codes, and its results are again 8-bit codes of the same scale and
zero point.
"""

import functools
from collections.abc import Callable

import numpy as np

from dybitq.records.fitted import Recoding
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
"""By name: (bits, shifts) of the window for two nonzero values, and of the one for a value beside a zero."""


RECODINGS: Registry[Callable[[], Recoding]] = Registry("re-coding", "dybitq.encodings")


def get(name: str, zero_point: int = 0) -> Recoding:
    """Return the re-coding called ``name``, on codes with the given zero point.

    Args:
        name: ``sparq4-5opt``, ``sparq4-3opt``, ``sparq4-2opt``, ``sparq3-6opt`` or ``sparq2-7opt``; the
            suffix ``-raw`` truncates instead of rounding, ``-nopair`` treats every value alone.
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


def has_windows(name: str) -> bool:
    """Return whether ``name`` is one of these re-codings."""
    return name in set(RECODINGS)


def window_bits(name: str) -> int | None:
    """Width of a re-coding's windows, which ``sparq4`` is enough to name; None for any other name."""
    widths = {window.partition("-")[0]: both[0] for window, (both, _) in WINDOWS.items()}
    return widths[name.partition("-")[0]] if name in widths or has_windows(name) else None


def window_table(bits: int, shifts: tuple[int, ...], rounded: bool) -> np.ndarray:
    """Compute the bSPARQ window of every unsigned 8-bit integer.

    Args:
        bits: width n of the window.
        shifts: allowed shifts s, increasing; the smallest with ``x < 2**(bits + s)`` is used.
        rounded: round half to even on the dropped bits, saturating in the window; otherwise truncate.

    Returns:
        uint8 ``[256]``, each integer after truncating or rounding.
    """
    x = np.arange(256)
    allowed = np.array(shifts)
    shift = allowed[np.searchsorted(2 ** (bits + allowed), x, side="right")]
    kept = x >> shift
    if rounded:
        kept = np.minimum(np.rint(x / 2.0**shift).astype(np.int64), 2**bits - 1)
    return (kept << shift).astype(np.uint8)


def apply_pairs(codes: np.ndarray, recoding: Recoding, axis: int, groups: int = 1) -> np.ndarray:
    """Re-code a tensor.

    Args:
        codes: uint8, any shape.
        recoding: the tables.
        axis: the axis whose neighbours are pairs (input channels of a convolution, the reduction axis of a
            matrix product); unused without pairing.
        groups: groups of a convolution; pairs do not cross them, and the last channel of a group with an
            odd number is paired with zero.

    Returns:
        uint8 codes of the same shape.
    """
    if not recoding.paired:
        return recoding.both[codes]
    partner, lone = partners(codes.shape[axis], groups)
    shape = [1] * codes.ndim
    shape[axis] = -1
    beside_zero = (np.take(codes, partner, axis) == recoding.zero_point) | lone.reshape(shape)
    return np.where(beside_zero, recoding.single[codes], recoding.both[codes])


def partners(count: int, groups: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of every channel's partner (its own if it has none), int64, and a mask of those."""
    each = count // groups
    inside = np.arange(count) % each
    lone = (inside ^ 1) >= each
    return np.where(lone, np.arange(count), np.arange(count) - inside + (inside ^ 1)), lone


def share_alone(count: int, groups: int, zeros: float) -> float:
    """Estimate the share of values without a nonzero partner from ``zeros``, the share of zeros.

    ``count`` and ``groups`` as in :func:`partners`. Zeros of two neighbours are taken as independent.
    """
    lone = float(partners(count, groups)[1].mean())
    return lone + (1 - lone) * zeros


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
