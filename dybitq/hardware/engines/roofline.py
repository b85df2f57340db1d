"""Time from sustained rates: multiplications over a rate, bytes over a bandwidth, and a fixed time.

Each operating point holds for operands up to its widths; wider operands run at the widest point. The two
times add up or overlap, as the machine says. With ``out_bits`` results leave at that width (a GPU kernel that
writes its 32-bit sums).
"""

import numpy as np

from dybitq.hardware.costs import Array, Costs, Operands, Widths
from dybitq.hardware.engine import Machine, Prepared, engines, need
from dybitq.hardware.precision import Rates, rates
from dybitq.hardware.streaming import moved_once, streaming_costs


def _points(machine: Machine, widths: Widths) -> tuple[Array, Array, Array, Array, Array]:
    """Rate, bandwidth, fixed time and widths run of the point that holds for each pair."""
    points = sorted(
        need(machine.roofline, machine, "roofline").points, key=lambda p: (p.w_bits * p.a_bits, p.w_bits)
    )
    last = points[-1]
    values = [
        np.full(widths.w.shape, float(getattr(last, name)))
        for name in ("tera_macs_per_s", "gb_per_s", "fixed_us", "w_bits", "a_bits")
    ]
    for point in reversed(points[:-1]):
        here = (widths.w <= point.w_bits) & (widths.a <= point.a_bits)
        given = (point.tera_macs_per_s, point.gb_per_s, point.fixed_us, point.w_bits, point.a_bits)
        values = [np.where(here, new, old) for new, old in zip(given, values)]
    return values[0], values[1], values[2], values[3], values[4]


def _run_at(rate: Rates, w: Array, a: Array) -> Rates:
    one = np.ones_like(rate.serial)
    whole = dict.fromkeys(("rows", "cols", "depth", "m_lanes", "n_lanes", "serial"), one)
    return Rates(w_run=w.astype(np.int64), a_run=a.astype(np.int64), **whole)


@engines.register("roofline")
def price(machine: Machine, prepared: Prepared, widths: Widths) -> Costs:
    """Price every launch; cycles are those of the machine's clock."""
    roofline = need(machine.roofline, machine, "roofline")
    rate, bandwidth, fixed, w, a = _points(machine, widths)
    macs = prepared.launches.macs[:, None].astype(np.float64)
    dram = moved_once(prepared, widths)
    if roofline.out_bits is not None:
        wide = np.ceil(prepared.launches.out_elements[:, None] * roofline.out_bits / 8.0)
        gemm = prepared.launches.is_gemm[:, None]
        dram = Operands(input=dram.input, weight=dram.weight, output=np.where(gemm, wide, dram.output))
    computing = macs / (rate * 1e6) * machine.clock_mhz
    moving = dram.total / (bandwidth * 1e3) * machine.clock_mhz
    total = computing + moving if roofline.combine == "add" else np.maximum(computing, moving)
    every = rates(machine, widths.w, widths.a, np.zeros(widths.w.shape, dtype=bool))
    return streaming_costs(
        machine,
        prepared,
        widths,
        _run_at(every, w, a),
        compute=computing,
        total=total,
        dram=dram,
        peak=1e6 / machine.clock_mhz * float(max(point.tera_macs_per_s for point in roofline.points)),
        overhead_us=fixed + machine.overhead.per_layer_us,
        bound=np.where(moving > computing, 1, 0),
    )
