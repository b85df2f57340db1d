"""A systolic array behind double-buffered memories and one DRAM port: the native timing model.

Array cycles are the closed forms of ``array_core`` on every tile, at the rates of the machine's multiplier;
tiles, loop order and the pipeline come from ``tiling``. Requantization of results is taken to ride on the
output path; what a layer's fused operators compute runs on the vector unit beside the array.
"""

from typing import NamedTuple

import numpy as np

from dybitq.hardware.array_core import array_cycles, layout
from dybitq.hardware.costs import Array, Costs, Widths
from dybitq.hardware.engine import Machine, Prepared, engines, need
from dybitq.hardware.precision import Rates, rates
from dybitq.hardware.selection import candidates, chosen, fitting, tile_numbers
from dybitq.hardware.tiling import N_OUTER_HOLD, pipeline, transfers
from dybitq.hardware.traffic import TileBytes, Tiles, bytes_per_cycle, distinct, tile_bytes, traffic
from dybitq.hardware.vector import vector_cycles, with_vector_launches


class _Work(NamedTuple):
    """Array work of one tile: cycles, folds, streaming time of a fold."""

    cycles: Array
    folds: Array
    time: Array


class _Timing(NamedTuple):
    """Cycles of a launch: from first load to last store, waiting in between, and of one tile."""

    total: Array
    stall: Array
    step: Array


def _packed_groups(machine: Machine, prepared: Prepared, rate: Rates) -> Array:
    """Groups of a grouped convolution that share the array block-diagonally, float64 ``[L, P]``.

    Powers of two, so that twice the array never does more than twice the work.
    """
    array, kernels = need(machine.array, machine, "array"), prepared.kernels
    shape = np.broadcast_shapes((len(kernels.heads), 1), rate.serial.shape)
    if not array.pack_groups:
        return np.ones(shape)
    spread = layout(
        array.dataflow,
        -(-kernels.m[:, None] // rate.m_lanes),
        -(-kernels.k[:, None] // rate.depth),
        -(-kernels.n[:, None] // rate.n_lanes),
    )
    room = np.minimum(array.rows * rate.rows // spread.rows, array.cols * rate.cols // spread.cols)
    return 2.0 ** np.floor(np.log2(np.clip(room, 1, kernels.groups[:, None])))


def _work(machine: Machine, rate: Rates, tiles: Tiles) -> _Work:
    array = need(machine.array, machine, "array")
    spread = layout(
        array.dataflow,
        np.ceil(tiles.tile_m / rate.m_lanes),
        np.ceil(tiles.tile_k / rate.depth),
        np.ceil(tiles.tile_n / rate.n_lanes),
    )
    # Groups that share the array lie along its diagonal, so together they are one fold.
    folds = np.ceil(spread.rows / (array.rows * rate.rows)) * np.ceil(spread.cols / (array.cols * rate.cols))
    folds = np.where(tiles.packed > 1, 1.0, folds)
    time = spread.time * rate.serial
    latency = getattr(machine.precision, "decoder_latency_cycles", 0)
    cycles = array_cycles(
        array.dataflow, folds, time, array.rows, array.cols, overlap=array.overlap_folds, extra=latency
    )
    return _Work(cycles, folds, time)


def _timing(machine: Machine, prepared: Prepared, tiles: Tiles, size: TileBytes, work: _Work) -> _Timing:
    per_cycle = bytes_per_cycle(machine)
    step = np.maximum(work.cycles, np.ceil(vector_cycles(machine, prepared) / tiles.steps))
    moves = transfers(
        tiles.order,
        (tiles.n_m, tiles.n_n, tiles.n_k),
        np.ceil(size.input / per_cycle),
        np.ceil(size.weight / per_cycle),
        np.ceil(size.output / per_cycle),
        np.ceil(size.extra / per_cycle),
    )
    m_inside = tiles.order <= N_OUTER_HOLD
    inner, outer = np.where(m_inside, tiles.n_m, tiles.n_n), np.where(m_inside, tiles.n_n, tiles.n_m)
    total, stall = pipeline(step, moves, (tiles.n_k, inner, outer, tiles.packs))
    return _Timing(total, stall, step)


@engines.register("systolic")
def price(machine: Machine, prepared: Prepared, widths: Widths) -> Costs:
    """Price every launch: products on the array, everything else on the vector unit.

    Raises:
        ConfigError: the machine cannot hold one tile of a layer.
    """
    rate = rates(machine, widths.w, widths.a, (prepared.kernels.m == 1)[:, None])
    every = candidates(prepared, _packed_groups(machine, prepared, rate))
    size = tile_bytes(machine, prepared, widths, every)
    timing = _timing(machine, prepared, every, size, _work(machine, rate, every))
    tiles = chosen(every, fitting(machine, prepared, every, size, timing.total))
    return with_vector_launches(
        machine, prepared, widths, _gemm_costs(machine, prepared, widths, rate, tiles)
    )


def _gemm_costs(machine: Machine, prepared: Prepared, widths: Widths, rate: Rates, tiles: Tiles) -> Costs:
    array = need(machine.array, machine, "array")
    size, work = tile_bytes(machine, prepared, widths, tiles), _work(machine, rate, tiles)
    timing = _timing(machine, prepared, tiles, size, work)
    cycles, folds = tiles.steps * timing.step, tiles.steps * work.folds
    fill = timing.total - cycles - timing.stall
    macs = prepared.kernels.macs[:, None].astype(np.float64)
    peak = array.rows * array.cols * rate.peak
    moved = traffic(machine, prepared, widths, tiles, size, rate)
    bound = np.where(timing.step > work.cycles, 3, 0)
    bound = np.where(fill > cycles, 2, bound)
    return Costs(
        w_run=rate.w_run,
        a_run=rate.a_run,
        folds=folds,
        cycles=cycles,
        fill=fill,
        stall=timing.stall,
        total=timing.total,
        overhead_us=np.broadcast_to(np.float64(machine.overhead.per_layer_us), cycles.shape),
        utilisation=macs / (cycles * peak),
        mapping=macs / (folds * work.time * peak),
        end_to_end=macs / (timing.total * peak),
        sram_reads=moved.reads,
        sram_writes=moved.writes,
        dram=moved.dram,
        distinct=distinct(prepared, widths),
        bound=np.where(timing.stall > np.maximum(cycles, fill), 1, bound),
        extra=tile_numbers(tiles),
    )
