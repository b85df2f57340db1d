"""Time by Bit Fusion's and ANT's rule: the larger of computing and memory traffic, and the ends.

Those simulators search tiles for the least time under ``max(compute, traffic / bandwidth)``, plus the first
load and the last store. The tiles here come from the candidates of ``tiling``, so compute cycles are
theirs exactly and memory cycles are close to theirs.
"""

import numpy as np

from dybitq.hardware.costs import Array, Costs, Widths
from dybitq.hardware.engine import Machine, Prepared, need
from dybitq.hardware.precision import Rates
from dybitq.hardware.selection import (
    best_tiles,
    distinct_products,
    ends_and_moving,
    ports,
    tile_numbers,
)
from dybitq.hardware.traffic import Tiles, distinct, tile_bytes, traffic
from dybitq.hardware.vector import merged, no_products, vector_launches


def bounded_costs(
    machine: Machine, prepared: Prepared, widths: Widths, rate: Rates, compute: Array, folds: Array
) -> Costs:
    """Costs of products that take ``compute`` cycles ``[L, P]`` on the array, and of vector launches.

    Raises:
        ConfigError: the machine cannot hold one tile of a layer.
    """
    array = need(machine.array, machine, "array")
    beside = vector_launches(machine, prepared, widths)
    if not prepared.launches.is_gemm.any():
        return merged(prepared, no_products(rate, widths), beside)
    products = distinct_products(prepared, widths, rate, np.ones(compute.shape))

    def busy(tiles: Tiles, _: Rates) -> Array:
        return np.zeros_like(tiles.order, dtype=np.float64)

    tiles = best_tiles(machine, prepared, products, busy, None)
    size = tile_bytes(machine, products.widths, tiles)
    fill, moving = ends_and_moving(tiles, ports(machine, size))
    flow = traffic(machine, products.widths, tiles, size, products.rate)
    busy_cycles = compute[products.places]
    vector = 0.0 if machine.vector is None else np.ceil(tiles.vector_ops / machine.vector.ops_per_cycle)
    cycles = np.maximum(busy_cycles, vector)
    stall = np.maximum(moving - cycles, 0.0)
    total = cycles + stall + fill
    macs = tiles.groups * tiles.m * tiles.k * tiles.n
    peak = array.rows * array.cols * products.rate.peak
    bound = np.where(stall > cycles, 1, np.where(fill > cycles, 2, np.where(cycles > busy_cycles, 3, 0)))
    costs = Costs(
        w_run=products.rate.w_run,
        a_run=products.rate.a_run,
        folds=folds[products.places] + np.zeros(busy_cycles.shape),
        cycles=cycles,
        fill=fill,
        stall=stall,
        total=total,
        overhead_us=np.full(cycles.shape, machine.overhead.per_layer_us),
        utilisation=macs / (cycles * peak),
        mapping=macs / (busy_cycles * peak),
        end_to_end=macs / (total * peak),
        sram_reads=flow.reads,
        sram_writes=flow.writes,
        dram=flow.dram,
        distinct=distinct(prepared, widths).at(products.places),
        bound=bound,
        extra=tile_numbers(tiles),
    )
    return merged(prepared, costs.at(products.inverse), beside)
