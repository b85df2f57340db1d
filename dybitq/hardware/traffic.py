"""Bytes and words: what one tile of each operand occupies and moves, and what all tiles move together."""

from typing import NamedTuple

import numpy as np

from dybitq.hardware.costs import Array, Operands, Widths
from dybitq.hardware.engine import Machine, Prepared, need
from dybitq.hardware.precision import Rates, packed_bits
from dybitq.hardware.tiling import M_OUTER_HOLD, N_OUTER_HOLD


class Tiles(NamedTuple):
    """Tile extents of candidates, each ``[..., L, P]``; see ``tiling.Grid``; ``packed`` groups share one."""

    order: Array
    tile_m: Array
    tile_n: Array
    tile_k: Array
    n_m: Array
    n_n: Array
    n_k: Array
    channels: Array
    in_elements: Array
    in_runs: Array
    in_total: Array
    out_runs: Array
    packed: Array
    packs: Array

    @property
    def in_words(self) -> Array:
        """Input elements of one tile."""
        return self.in_elements * self.channels * self.packed

    @property
    def weight_words(self) -> Array:
        """Weights of one tile."""
        return self.tile_k * self.tile_n * self.packed

    @property
    def sums(self) -> Array:
        """Accumulators of one tile."""
        return self.tile_m * self.tile_n * self.packed

    @property
    def steps(self) -> Array:
        """Number of tiles."""
        return self.n_m * self.n_n * self.n_k * self.packs


class TileBytes(NamedTuple):
    """Bytes of one tile: moved through DRAM in bursts, and (``room_``) occupied on chip."""

    input: Array
    weight: Array
    output: Array
    extra: Array
    room_input: Array
    room_weight: Array
    room_output: Array


def bytes_per_cycle(machine: Machine) -> float:
    """What the DRAM port moves in one cycle of the array's clock."""
    return need(machine.dram, machine, "dram").gb_per_s * 1e3 / machine.clock_mhz


def packed_width(bits: Array, packing: str) -> Array:
    """Bits of memory per element, 0 where the tensor does not move."""
    return np.where(bits > 0, packed_bits(np.maximum(bits, 1), packing), 0.0)


def _bursts(elements: Array, runs: Array | float, bits: Array, burst: int) -> Array:
    return runs * np.ceil(np.ceil(elements / runs * bits / 8) / burst) * burst


def out_scale(prepared: Prepared) -> Array:
    """Elements written per accumulator ``[L, 1]``: below 1 where pooling rides on a product."""
    kernels = prepared.kernels
    return kernels.out_elements[:, None] / (kernels.groups * kernels.m * kernels.n)[:, None]


def tile_bytes(machine: Machine, prepared: Prepared, widths: Widths, tiles: Tiles) -> TileBytes:
    """Size of one tile of each operand, packed at its stored width."""
    buffers, burst = (
        need(machine.buffers, machine, "buffers"),
        need(machine.dram, machine, "dram").burst_bytes,
    )
    weight_bits = packed_width(widths.weight, buffers.packing)
    room_bits = packed_width(widths.input_stored, buffers.packing)
    held_w = np.where(tiles.order == N_OUTER_HOLD, tiles.n_k, 1.0)
    held_i = np.where(tiles.order == M_OUTER_HOLD, tiles.n_k, 1.0)
    out_tiles = tiles.n_m * tiles.n_n * tiles.packs
    return TileBytes(
        input=_bursts(tiles.in_words, tiles.in_runs, packed_width(widths.input, buffers.packing), burst),
        weight=_bursts(tiles.weight_words, 1.0, weight_bits, burst),
        output=_bursts(
            tiles.sums * out_scale(prepared),
            tiles.out_runs,
            packed_width(widths.output, buffers.packing),
            burst,
        ),
        extra=np.ceil(widths.extra_bits / 8 / out_tiles / burst) * burst,
        room_input=np.ceil(tiles.in_words * held_i * room_bits / 8),
        room_weight=np.ceil(tiles.weight_words * held_w * weight_bits / 8),
        room_output=np.ceil(tiles.sums * buffers.acc_bits / 8),
    )


def loads(tiles: Tiles) -> tuple[Array, Array]:
    """How often each input and each weight comes from DRAM."""
    n_first, split = tiles.order <= N_OUTER_HOLD, tiles.n_k > 1
    inputs = np.where(split | (n_first & (tiles.n_m > 1)), tiles.n_n, 1.0)
    weights = np.where(split | (~n_first & (tiles.n_n > 1)), tiles.n_m, 1.0)
    return (
        np.where(tiles.order == M_OUTER_HOLD, 1.0, inputs),
        np.where(tiles.order == N_OUTER_HOLD, 1.0, weights),
    )


class Traffic(NamedTuple):
    """Everything that moves: DRAM bytes, words that arrive in the buffers, buffer reads and writes."""

    dram: Operands
    reads: Operands
    writes: Operands


def _moved(words: Array, loads_: Array, tile_words: Array, tile_size: Array, bits: Array) -> Array:
    """Bytes for ``words`` that come in ``loads_`` tiles of ``tile_words``, each taking ``tile_size`` bytes."""
    exact = np.ceil(tile_words * bits / 8)
    waste = np.where(exact > 0, tile_size / np.maximum(exact, 1.0), 1.0)
    return np.minimum(np.ceil(np.ceil(words * bits / 8) * waste), loads_ * tile_size)


def traffic(
    machine: Machine, prepared: Prepared, widths: Widths, tiles: Tiles, size: TileBytes, rate: Rates
) -> Traffic:
    """What all tiles move. Edge tiles move what they hold; bursts round up as they do in full tiles."""
    kernels, packing = prepared.kernels, need(machine.buffers, machine, "buffers").packing
    again_i, again_w = loads(tiles)
    groups = kernels.groups[:, None].astype(np.float64)
    m, k, n = (getattr(kernels, name)[:, None].astype(np.float64) for name in "mkn")
    words_i = groups * tiles.in_total * kernels.channels[:, None] * again_i
    words_w = groups * k * n * again_w
    out_words = kernels.out_elements[:, None] * np.ones_like(words_i)
    out_tiles = tiles.n_m * tiles.n_n * tiles.packs
    in_loads, weight_loads = tiles.n_m * again_i, tiles.n_n * again_w
    in_bits, weight_bits, out_bits = (
        packed_width(bits, packing) for bits in (widths.input, widths.weight, widths.output)
    )
    out_tile = tiles.sums * out_scale(prepared)
    parts = tiles.n_k * tiles.packs
    dram = Operands(
        input=_moved(words_i, in_loads * parts, tiles.in_words, size.input, in_bits) + size.extra * out_tiles,
        weight=_moved(words_w, weight_loads * parts, tiles.weight_words, size.weight, weight_bits),
        output=_moved(out_words, out_tiles, out_tile, size.output, out_bits),
    )
    sweeps_m, sweeps_n, sweeps_k = _sweeps(machine, tiles, rate)
    sums = groups * m * n
    leaving = np.where(widths.output > 0, out_words, 0.0)
    reads = Operands(
        input=groups * m * k * sweeps_n + widths.extra_words,
        weight=groups * k * n * sweeps_m,
        output=sums * (sweeps_k - 1) + leaving,
    )
    arriving = np.where(widths.input > 0, words_i, 0.0) + widths.extra_words
    writes = Operands(
        input=arriving, weight=np.where(widths.weight > 0, words_w, 0.0), output=sums * sweeps_k
    )
    return Traffic(dram=dram, reads=reads, writes=writes)


def _sweeps(machine: Machine, tiles: Tiles, rate: Rates) -> tuple[Array, Array, Array]:
    """How often the array passes over ``m``, ``n`` and ``k``: how often others are read."""
    array = need(machine.array, machine, "array")
    rows, cols = array.rows * rate.rows, array.cols * rate.cols
    along_m = np.ceil(tiles.tile_m / rate.m_lanes)
    along_n = np.ceil(tiles.tile_n / rate.n_lanes)
    along_k = np.ceil(tiles.tile_k / rate.depth)
    match array.dataflow:
        case "os":
            return tiles.n_m * np.ceil(along_m / rows), tiles.n_n * np.ceil(along_n / cols), tiles.n_k
        case "ws":
            return tiles.n_m, tiles.n_n * np.ceil(along_n / cols), tiles.n_k * np.ceil(along_k / rows)
    return tiles.n_m * np.ceil(along_m / cols), tiles.n_n, tiles.n_k * np.ceil(along_k / rows)


def distinct(prepared: Prepared, widths: Widths) -> Operands:
    """The least bytes that have to move: every element that is needed, once, at its stored width."""
    kernels = prepared.kernels
    groups = kernels.groups[:, None].astype(np.float64)
    inputs = groups * (kernels.batch * kernels.used_h * kernels.used_w * kernels.channels)[:, None]
    weights = groups * (kernels.k * kernels.n)[:, None]
    return Operands(
        input=np.ceil(inputs * widths.input / 8) + np.ceil(widths.extra_bits / 8),
        weight=np.ceil(weights * widths.weight / 8),
        output=np.ceil(kernels.out_elements[:, None] * widths.output / 8),
    )
