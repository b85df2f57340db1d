"""Measured latencies, looked up by layer name or by shape and by widths; nothing is computed.

A pair of widths that was not measured runs at the next measured pair that is wide enough. A layer that was
not measured is an error: a table says nothing about it.
"""

import numpy as np

from dybitq.errors import ConfigError
from dybitq.hardware.costs import Array, Costs, Widths
from dybitq.hardware.engine import Machine, Prepared, engines
from dybitq.hardware.precision import rates
from dybitq.hardware.streaming import moved_once, streaming_costs
from dybitq.schema.machine import TableRow


def _rows(machine: Machine, prepared: Prepared, place: int) -> list[TableRow]:
    launches = prepared.launches
    op = prepared.workload.ops[launches.heads[place]]
    named = [row for row in machine.table if row.layer == op.name]
    shape = (op.groups, op.m, op.k, op.n)
    rows = named or [row for row in machine.table if row.shape == shape]
    if not rows:
        raise ConfigError(
            f"machine {machine.name!r} has no measurement of layer {op.name!r}, shape {list(shape)}; add a "
            "row with its name or shape to the table"
        )
    return sorted(rows, key=lambda row: (row.w_bits * row.a_bits, row.w_bits))


def _looked_up(machine: Machine, prepared: Prepared, widths: Widths) -> tuple[Array, Array, Array]:
    """Microseconds and widths run, ``[L, P]``; 0 for vector launches, which the table has as fused."""
    times = np.zeros(widths.w.shape)
    w_run, a_run = widths.w.copy(), widths.a.copy()
    for place in np.flatnonzero(prepared.launches.is_gemm):
        rows = _rows(machine, prepared, int(place))
        times[place], w_run[place], a_run[place] = rows[-1].latency_us, rows[-1].w_bits, rows[-1].a_bits
        for row in reversed(rows[:-1]):
            here = (widths.w[place] <= row.w_bits) & (widths.a[place] <= row.a_bits)
            times[place] = np.where(here, row.latency_us, times[place])
            w_run[place] = np.where(here, row.w_bits, w_run[place])
            a_run[place] = np.where(here, row.a_bits, a_run[place])
    return times, w_run, a_run


@engines.register("table")
def price(machine: Machine, prepared: Prepared, widths: Widths) -> Costs:
    """Price every launch.

    Raises:
        ConfigError: a layer is not in the table.
    """
    times, w_run, a_run = _looked_up(machine, prepared, widths)
    cycles = times * machine.clock_mhz
    rate = rates(machine, w_run, a_run, np.zeros(times.shape, dtype=bool))
    macs = prepared.launches.macs[:, None].astype(np.float64)
    fastest = float((macs / np.maximum(cycles, 1e-9))[cycles > 0].max(initial=1.0))
    return streaming_costs(
        machine,
        prepared,
        widths,
        rate,
        compute=cycles,
        total=cycles,
        dram=moved_once(prepared, widths),
        peak=fastest,
        overhead_us=np.full(times.shape, machine.overhead.per_layer_us),
        bound=np.full(times.shape, 5),
    )
