"""A systolic array with double-buffered memories and one DRAM port: the native timing model.

Array cycles are the closed forms of ``array_core`` on every tile, at the rates of the machine's multiplier;
tiles, loop order and the pipeline come from ``tiling``. Requantization of results is taken to be
part of the output path; a layer's fused operators run on the vector unit beside the array.
"""

from typing import NamedTuple

import numpy as np

from dybitq.hardware.array_core import array_cycles, layout
from dybitq.hardware.costs import Array, Costs, Widths
from dybitq.hardware.engine import Machine, Prepared, engines, need
from dybitq.hardware.precision import Rates, rates
from dybitq.hardware.selection import Ports, Products, best_tiles, distinct_products, ports, tile_numbers
from dybitq.hardware.tiling import N_OUTER_HOLD, pipeline, transfers
from dybitq.hardware.traffic import Tiles, distinct, tile_bytes, traffic
from dybitq.hardware.vector import merged, no_products, vector_launches


class _Work(NamedTuple):
    """Array work of one tile: cycles, folds, streaming time of a fold; and with the vector unit's share."""

    cycles: Array
    folds: Array
    time: Array
    step: Array


def _packed_groups(machine: Machine, prepared: Prepared, rate: Rates) -> Array:
    """Count groups of a grouped convolution that fit on the array block-diagonally, float64 ``[L, P]``.

    Powers of two, so that twice the array never does more than twice the work.
    """
    array, launches = need(machine.array, machine, "array"), prepared.launches
    shape = np.broadcast_shapes((len(launches.heads), 1), rate.serial.shape)
    if not array.pack_groups:
        return np.ones(shape)
    spread = layout(
        array.dataflow,
        -(-launches.m[:, None] // rate.m_lanes),
        -(-launches.k[:, None] // rate.depth),
        -(-launches.n[:, None] // rate.n_lanes),
    )
    room = np.minimum(array.rows * rate.rows // spread.rows, array.cols * rate.cols // spread.cols)
    most = np.ceil(np.log2(launches.groups[:, None]))
    return 2.0 ** np.minimum(np.floor(np.log2(np.maximum(room, 1))), most)


def _work(machine: Machine, tiles: Tiles, rate: Rates) -> _Work:
    array = need(machine.array, machine, "array")
    spread = layout(
        array.dataflow,
        np.ceil(tiles.tile_m / rate.m_lanes),
        np.ceil(tiles.tile_k / rate.depth),
        np.ceil(tiles.tile_n / rate.n_lanes),
    )
    folds = np.ceil(spread.rows / (array.rows * rate.rows)) * np.ceil(spread.cols / (array.cols * rate.cols))
    # Groups that share the array lie along its diagonal, so together they are one fold.
    folds = folds * np.ceil(tiles.together / tiles.packed)
    time = spread.time * rate.serial
    latency = getattr(machine.precision, "decoder_latency_cycles", 0)
    cycles = array_cycles(
        array.dataflow, folds, time, array.rows, array.cols, overlap=array.overlap_folds, extra=latency
    )
    if machine.vector is None:
        return _Work(cycles, folds, time, cycles)
    vector = np.ceil(tiles.vector_ops / machine.vector.ops_per_cycle / tiles.steps)
    return _Work(cycles, folds, time, np.maximum(cycles, vector))


def _total(tiles: Tiles, step: Array, port: Ports) -> tuple[Array, Array]:
    """Cycles from first load to last store, and of waiting in between."""
    moves = transfers(tiles.order, (tiles.n_m, tiles.n_n, tiles.n_k), *port)
    m_inside = tiles.order <= N_OUTER_HOLD
    inner, outer = np.where(m_inside, tiles.n_m, tiles.n_n), np.where(m_inside, tiles.n_n, tiles.n_m)
    return pipeline(step, moves, (tiles.n_k, inner, outer, tiles.n_g))


@engines.register("systolic")
def price(machine: Machine, prepared: Prepared, widths: Widths) -> Costs:
    """Price every launch: products on the array, everything else on the vector unit.

    Raises:
        ConfigError: the machine cannot hold one tile of a layer.
    """
    rate = rates(machine, widths.w, widths.a, (prepared.launches.m == 1)[:, None])
    beside = vector_launches(machine, prepared, widths)
    if not prepared.launches.is_gemm.any():
        return merged(prepared, no_products(rate, widths), beside)
    products = distinct_products(prepared, widths, rate, _packed_groups(machine, prepared, rate))

    def busy(tiles: Tiles, speed: Rates) -> Array:
        return tiles.steps * _work(machine, tiles, speed).step

    def exact(tiles: Tiles, speed: Rates, port: Ports) -> Array:
        return _total(tiles, _work(machine, tiles, speed).step, port)[0]

    tiles = best_tiles(machine, prepared, products, busy, exact)
    return merged(prepared, _gemm_costs(machine, prepared, widths, products, tiles), beside)


def _gemm_costs(
    machine: Machine, prepared: Prepared, widths: Widths, products: Products, tiles: Tiles
) -> Costs:
    """Costs of all launches from the chosen tiles of the distinct products."""
    array, rate = need(machine.array, machine, "array"), products.rate
    size, work = tile_bytes(machine, products.widths, tiles), _work(machine, tiles, rate)
    total, stall = _total(tiles, work.step, ports(machine, size))
    cycles, folds = tiles.steps * work.step, tiles.steps * work.folds
    fill = total - cycles - stall
    macs = tiles.groups * tiles.m * tiles.k * tiles.n
    peak = array.rows * array.cols * rate.peak
    moved = traffic(machine, products.widths, tiles, size, rate)
    bound = np.where(work.step > work.cycles, 3, 0)
    bound = np.where(stall > np.maximum(cycles, fill), 1, np.where(fill > cycles, 2, bound))
    costs = Costs(
        w_run=rate.w_run,
        a_run=rate.a_run,
        folds=folds,
        cycles=cycles,
        fill=fill,
        stall=stall,
        total=total,
        overhead_us=np.full(cycles.shape, machine.overhead.per_layer_us),
        utilisation=macs / (cycles * peak),
        mapping=macs / (folds * work.time * peak),
        end_to_end=macs / (total * peak),
        sram_reads=moved.reads,
        sram_writes=moved.writes,
        dram=moved.dram,
        distinct=distinct(prepared, widths).at(products.places),
        bound=bound,
        extra=tile_numbers(tiles),
    )
    return costs.at(products.inverse)
