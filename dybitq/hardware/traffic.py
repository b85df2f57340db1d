"""Bytes and words: room and transfers of one tile of each operand, and traffic of all tiles."""

from typing import NamedTuple

import numpy as np

from dybitq.hardware.costs import Array, Operands, Widths
from dybitq.hardware.engine import Machine, Prepared, need
from dybitq.hardware.launches import Launches
from dybitq.hardware.precision import Rates, packed_bits


class Tiles(NamedTuple):
    """Tiles of candidates or of launches, float64 arrays that broadcast; see ``tiling.Grid``.

    After the fields of the grid come: extents of the whole product (``groups``, ``m``, ``k``, ``n``, input
    channels ``depth``), elements written, vector operations, elements written per accumulator, and how many
    groups fit side by side on the array.
    """

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
    again_i: Array
    again_w: Array
    held_i: Array
    held_w: Array
    together: Array
    n_g: Array
    groups: Array
    m: Array
    k: Array
    n: Array
    depth: Array
    out_elements: Array
    vector_ops: Array
    scale: Array
    packed: Array

    @property
    def in_words(self) -> Array:
        """Input elements of one tile."""
        return self.in_elements * self.channels * self.together

    @property
    def weight_words(self) -> Array:
        """Weights of one tile."""
        return self.tile_k * self.tile_n * self.together

    @property
    def sums(self) -> Array:
        """Accumulators of one tile."""
        return self.tile_m * self.tile_n * self.together

    @property
    def out_words(self) -> Array:
        """Elements that one tile writes; fewer than accumulators where pooling is fused into the product."""
        return self.sums * self.scale

    @property
    def out_tiles(self) -> Array:
        """Number of output tiles."""
        return self.n_m * self.n_n * self.n_g

    @property
    def steps(self) -> Array:
        """Number of tiles."""
        return self.out_tiles * self.n_k


def constants(launches: Launches, places: Array) -> tuple[Array, ...]:
    """Return the fields of :class:`Tiles` between the grid's and ``packed``, for launches ``places``."""
    names = ("groups", "m", "k", "n", "channels", "out_elements", "vector_ops")
    values = [getattr(launches, name)[places].astype(np.float64) for name in names]
    return (*values, values[5] / (values[0] * values[1] * values[3]))


GEOMETRY = Tiles._fields[: Tiles._fields.index("groups")]
"""The fields that come from the grid."""


class TileBytes(NamedTuple):
    """Bytes of one tile that move through DRAM in bursts; ``extra`` comes with every output tile."""

    input: Array
    weight: Array
    output: Array
    extra: Array


def bytes_per_cycle(machine: Machine) -> float:
    """Bytes that the DRAM port moves in one cycle of the array's clock."""
    return need(machine.dram, machine, "dram").gb_per_s * 1e3 / machine.clock_mhz


def packed_width(bits: Array, packing: str) -> Array:
    """Bits of memory per element, 0 where the tensor does not move."""
    if packing == "dense":
        return bits.astype(np.float64)
    return np.where(bits > 0, packed_bits(np.maximum(bits, 1), packing), 0.0)


def _bursts(elements: Array, runs: Array | float, bits: Array, burst: int) -> Array:
    size = np.ceil(elements / runs * bits / 8)
    return runs * (size if burst == 1 else np.ceil(size / burst) * burst)


def tile_bytes(machine: Machine, widths: Widths, tiles: Tiles) -> TileBytes:
    """Bytes that one tile of each operand moves, packed at its stored width."""
    packing = need(machine.buffers, machine, "buffers").packing
    burst = need(machine.dram, machine, "dram").burst_bytes
    return TileBytes(
        input=_bursts(tiles.in_words, tiles.in_runs, packed_width(widths.input, packing), burst),
        weight=_bursts(tiles.weight_words, 1.0, packed_width(widths.weight, packing), burst),
        output=_bursts(tiles.out_words, tiles.out_runs, packed_width(widths.output, packing), burst),
        extra=np.ceil(widths.extra_bits / 8 / tiles.out_tiles / burst) * burst,
    )


class Room(NamedTuple):
    """Bytes that a tile occupies in each buffer."""

    input: Array
    weight: Array
    output: Array


def room(machine: Machine, widths: Widths, tiles: Tiles) -> Room:
    """Bytes that a tile occupies on chip; an operand that is held for all of k occupies all its k tiles."""
    buffers = need(machine.buffers, machine, "buffers")
    return Room(
        input=np.ceil(tiles.in_words * tiles.held_i * packed_width(widths.input_stored, buffers.packing) / 8),
        weight=np.ceil(tiles.weight_words * tiles.held_w * packed_width(widths.weight, buffers.packing) / 8),
        output=np.ceil(tiles.sums * buffers.acc_bits / 8),
    )


class Traffic(NamedTuple):
    """Everything that moves: DRAM bytes, buffer reads and writes in words."""

    dram: Operands
    reads: Operands
    writes: Operands


def _moved(words: Array, count: Array, tile_words: Array, tile_size: Array, bits: Array) -> Array:
    """Bytes for ``words`` that come in ``count`` tiles of ``tile_words``, each moving ``tile_size`` bytes."""
    exact = np.ceil(tile_words * bits / 8)
    waste = np.where(exact > 0, tile_size / np.maximum(exact, 1.0), 1.0)
    return np.minimum(np.ceil(np.ceil(words * bits / 8) * waste), count * tile_size)


def traffic(machine: Machine, widths: Widths, tiles: Tiles, size: TileBytes, rate: Rates) -> Traffic:
    """Traffic of all tiles. Edge tiles move only their own elements; bursts round up as in full tiles."""
    packing = need(machine.buffers, machine, "buffers").packing
    again_i, again_w = tiles.again_i, tiles.again_w
    words_i = tiles.groups * tiles.in_total * tiles.depth * again_i
    words_w = tiles.groups * tiles.k * tiles.n * again_w
    in_bits, weight_bits, out_bits = (
        packed_width(bits, packing) for bits in (widths.input, widths.weight, widths.output)
    )
    parts = tiles.n_k * tiles.n_g
    inputs = _moved(words_i, tiles.n_m * again_i * parts, tiles.in_words, size.input, in_bits)
    dram = Operands(
        input=inputs + size.extra * tiles.out_tiles,
        weight=_moved(words_w, tiles.n_n * again_w * parts, tiles.weight_words, size.weight, weight_bits),
        output=_moved(tiles.out_elements, tiles.out_tiles, tiles.out_words, size.output, out_bits),
    )
    sweeps_m, sweeps_n, sweeps_k = _sweeps(machine, tiles, rate)
    sums = tiles.groups * tiles.m * tiles.n
    reads = Operands(
        input=tiles.groups * tiles.m * tiles.k * sweeps_n + widths.extra_words,
        weight=tiles.groups * tiles.k * tiles.n * sweeps_m,
        output=sums * (sweeps_k - 1) + np.where(widths.output > 0, tiles.out_elements, 0.0),
    )
    writes = Operands(
        input=np.where(widths.input > 0, words_i, 0.0) + widths.extra_words,
        weight=np.where(widths.weight > 0, words_w, 0.0),
        output=sums * sweeps_k,
    )
    return Traffic(dram, reads, writes)


def _sweeps(machine: Machine, tiles: Tiles, rate: Rates) -> tuple[Array, Array, Array]:
    """Count passes of the array over ``m``, ``n`` and ``k``: times that the other operands are read."""
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
    """Return the least bytes that have to move: every element that is needed, once, at its stored width."""
    launches = prepared.launches
    groups = launches.groups[:, None].astype(np.float64)
    inputs = groups * (launches.batch * launches.used_h * launches.used_w * launches.channels)[:, None]
    weights = groups * (launches.k * launches.n)[:, None]
    return Operands(
        input=np.ceil(inputs * widths.input / 8) + np.ceil(widths.extra_bits / 8),
        weight=np.ceil(weights * widths.weight / 8),
        output=np.ceil(launches.out_elements[:, None] * widths.output / 8),
    )
