"""Bit Fusion (Sharma et al., ISCA 2018), equal to the compute cycles of its own simulator.

A row of units broadcasts along the reduction, a column holds an output channel, and the products that
split multipliers gain all go to the input channels:

    batch * OH * OW * KH * KW * ceil(OC / cols) * ceil(IC / (rows * split))

The first layer and dense layers are lowered to one reduction ``ceil(K / (rows * split))``. There is no
fill or drain. Memory follows ``bounded``.
"""

import numpy as np

from dybitq.hardware.bounded import bounded_costs
from dybitq.hardware.costs import Array, Costs, Widths
from dybitq.hardware.engine import Machine, Prepared, engines, need
from dybitq.hardware.precision import rates


def _first(prepared: Prepared) -> Array:
    """Mark launches that read an input of the network, bool ``[L, 1]``."""
    written = set(prepared.launches.output.tolist())
    return np.array([index not in written for index in prepared.launches.input.tolist()])[:, None]


@engines.register("bitfusion")
def price(machine: Machine, prepared: Prepared, widths: Widths) -> Costs:
    """Price every launch; widths of 3 bits run as 4, of 5 to 7 as 8.

    Raises:
        ConfigError: the machine cannot hold one tile of a layer.
    """
    array, launches = need(machine.array, machine, "array"), prepared.launches
    rate = rates(machine, widths.w, widths.a, (launches.m == 1)[:, None])
    depth = array.rows * rate.depth
    whole = np.ceil(launches.k[:, None] / depth)
    by_channel = launches.taps[:, None] * np.ceil(launches.channels[:, None] / depth)
    if prepared.workload.convention == "scalesim":
        lowered = launches.taps[:, None] == 1
    else:
        lowered = _first(prepared) | (launches.taps[:, None] == 1)
    passes = np.where(lowered, whole, by_channel) * np.ceil(launches.n[:, None] / array.cols)
    groups = launches.groups[:, None].astype(np.float64)
    compute = groups * launches.m[:, None] * passes
    return bounded_costs(machine, prepared, widths, rate, compute, groups * passes)
