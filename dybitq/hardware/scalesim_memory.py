"""DRAM words as SCALE-Sim counts them in its stall-free mode: three streams, half a buffer active each.

A stream whose distinct words fit the active half is fetched once. Weight-stationary inputs that do not are
fetched per fold: the words that each row fold touches, once for every column fold. That equals the tool
on 64 of the 75 convolutions of ResNet-18 and ResNet-50 (128x128); it is off where a footprint is close to
the half, and on layers with large maps. For the other dataflows inputs are an estimate: one sweep per
column fold, about a fifth too low on large maps.
"""

import itertools
from functools import lru_cache

import numpy as np

from dybitq.hardware.costs import Array
from dybitq.hardware.launches import Launches
from dybitq.schema.machine import Buffers


def half_buffer(kilobytes: float) -> int:
    """Words in the active half of a buffer: ``50 * floor(bytes / 100)``."""
    return 50 * int(kilobytes * 1024 // 100)


@lru_cache(maxsize=4096)
def fold_footprint(conv: tuple[int, ...], rows: int) -> int:
    """Distinct input words that each fold of ``rows`` window positions touches, summed over folds.

    Args:
        conv: input height, width and channels, kernel and stride along both, output height and width;
            window positions run over kernel rows, kernel columns, then channels.
        rows: of the array.
    """
    in_h, in_w, channels, kernel_h, kernel_w, stride_h, stride_w, out_h, out_w = conv
    total = 0
    for begin in range(0, kernel_h * kernel_w * channels, rows):
        end = min(begin + rows, kernel_h * kernel_w * channels)
        # Channels that a tap contributes are one range; between their ends the set of taps is constant.
        spans = [
            (tap, max(begin - tap * channels, 0), min(end - tap * channels, channels))
            for tap in range(begin // channels, -(-end // channels))
        ]
        cuts = sorted({edge for _, low, high in spans for edge in (low, high)})
        for low, high in itertools.pairwise(cuts):
            taps = tuple(tap for tap, first, last in spans if first <= low and high <= last)
            if taps:
                total += (high - low) * _positions(
                    (in_h, in_w, kernel_w, stride_h, stride_w, out_h, out_w), taps
                )
    return total


@lru_cache(maxsize=4096)
def _positions(conv: tuple[int, ...], taps: tuple[int, ...]) -> int:
    """Input positions that windows reach through these taps."""
    in_h, in_w, kernel_w, stride_h, stride_w, out_h, out_w = conv
    touched = np.zeros((in_h, in_w), dtype=bool)
    for tap in taps:
        row, col = divmod(tap, kernel_w)
        touched[
            row : row + (out_h - 1) * stride_h + 1 : stride_h,
            col : col + (out_w - 1) * stride_w + 1 : stride_w,
        ] = True
    return int(touched.sum())


def input_words(launches: Launches, buffers: Buffers, dataflow: str, rows: int, fold_c: Array) -> Array:
    """Input words from DRAM for one group of every launch, int64 ``[L, 1]``."""
    distinct = distinct_words(launches)
    sweeps = fold_c if dataflow != "is" else np.ones_like(fold_c)
    again = distinct * sweeps
    if dataflow == "ws":
        fields = (
            "in_h",
            "in_w",
            "channels",
            "kernel_h",
            "kernel_w",
            "stride_h",
            "stride_w",
            "out_h",
            "out_w",
        )
        table = np.stack([getattr(launches, name) for name in fields], axis=1).tolist()
        plain = [launches.batch[place] > 1 or launches.taps[place] == 1 for place in range(len(table))]
        again = (
            np.array(
                [
                    words if simple else fold_footprint(tuple(conv), rows)
                    for words, conv, simple in zip(distinct[:, 0].tolist(), table, plain)
                ],
                dtype=np.int64,
            )[:, None]
            * fold_c
        )
    return np.where(distinct <= half_buffer(buffers.act_kb), distinct, again)


def weight_words(launches: Launches, buffers: Buffers, dataflow: str, fold_r: Array, fold_c: Array) -> Array:
    """Weight words from DRAM for one group of every launch, int64 ``[L, 1]``."""
    words = (launches.k * launches.n)[:, None]
    sweeps = {"os": fold_r, "ws": np.ones_like(fold_r), "is": fold_c}[dataflow]
    return np.where(words <= half_buffer(buffers.wgt_kb), words, words * sweeps)


def distinct_words(launches: Launches) -> Array:
    """Input words of one group that at least one window reads, int64 ``[L, 1]``."""
    return (launches.batch * launches.used_h * launches.used_w * launches.channels)[:, None]
