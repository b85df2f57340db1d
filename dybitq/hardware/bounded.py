"""Time as Bit Fusion's and ANT's simulators take it: the larger of computing and moving, and the ends.

Those simulators search tiles for the least time under ``max(compute, traffic / bandwidth)``, plus the first
load and the last store. The tiles here come from the candidates of ``tiling``, so compute cycles are
theirs exactly and memory cycles are close to theirs.
"""

import numpy as np

from dybitq.hardware.costs import Array, Costs, Widths
from dybitq.hardware.engine import Machine, Prepared, need
from dybitq.hardware.precision import Rates
from dybitq.hardware.selection import candidates, chosen, fitting, tile_numbers
from dybitq.hardware.traffic import bytes_per_cycle, distinct, tile_bytes, traffic
from dybitq.hardware.vector import vector_cycles, with_vector_launches


def bounded_costs(
    machine: Machine, prepared: Prepared, widths: Widths, rate: Rates, compute: Array, folds: Array
) -> Costs:
    """Costs of products that take ``compute`` cycles ``[L, P]`` on the array.

    Raises:
        ConfigError: the machine cannot hold one tile of a layer.
    """
    array, per_cycle = need(machine.array, machine, "array"), bytes_per_cycle(machine)
    every = candidates(prepared, np.ones(compute.shape))
    size = tile_bytes(machine, prepared, widths, every)
    moved = traffic(machine, prepared, widths, every, size, rate).dram.total / per_cycle
    ends = np.ceil((size.input + size.weight + size.extra) / per_cycle) + np.ceil(size.output / per_cycle)
    best = fitting(machine, prepared, every, size, np.maximum(compute, moved) + ends)
    tiles = chosen(every, best)
    size = tile_bytes(machine, prepared, widths, tiles)
    flow = traffic(machine, prepared, widths, tiles, size, rate)
    cycles = np.maximum(compute, np.ceil(vector_cycles(machine, prepared)))
    moving = np.ceil(flow.dram.total / per_cycle)
    fill = np.ceil((size.input + size.weight + size.extra) / per_cycle) + np.ceil(size.output / per_cycle)
    stall = np.maximum(moving - cycles, 0.0)
    macs = prepared.kernels.macs[:, None].astype(np.float64)
    total = cycles + stall + fill
    peak = array.rows * array.cols * rate.peak
    bound = np.where(stall > cycles, 1, np.where(fill > cycles, 2, np.where(cycles > compute, 3, 0)))
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
        mapping=macs / (compute * peak),
        end_to_end=macs / (total * peak),
        sram_reads=flow.reads,
        sram_writes=flow.writes,
        dram=flow.dram,
        distinct=distinct(prepared, widths),
        bound=bound,
        extra=tile_numbers(tiles),
    )
    return with_vector_launches(machine, prepared, widths, costs)
