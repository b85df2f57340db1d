"""ANT (Guo et al., MICRO 2022), equal to the compute cycles of its own simulator.

Rows serve ``8 / a`` activations and columns ``8 / w`` weights each:

    output-stationary: ceil(M / (rows * 8/a)) * ceil(N / (cols * 8/w)) * K
    weight-stationary: M * ceil(N / (cols * 8/w)) * ceil(K / (rows * 8/a))

with the whole batch in ``M``; there is no fill or drain. Memory follows ``bounded``.
"""

import numpy as np

from dybitq.hardware.array_core import layout
from dybitq.hardware.bounded import bounded_costs
from dybitq.hardware.costs import Costs, Widths
from dybitq.hardware.engine import Machine, Prepared, engines, need
from dybitq.hardware.precision import rates


@engines.register("ant")
def price(machine: Machine, prepared: Prepared, widths: Widths) -> Costs:
    """Price every launch.

    Raises:
        ConfigError: the machine cannot hold one tile of a layer.
    """
    array, launches = need(machine.array, machine, "array"), prepared.launches
    rate = rates(machine, widths.w, widths.a, (launches.m == 1)[:, None])
    spread = layout(
        array.dataflow, launches.m[:, None], -(-launches.k[:, None] // rate.depth), launches.n[:, None]
    )
    fold_r = np.ceil(spread.rows / (array.rows * rate.rows))
    fold_c = np.ceil(spread.cols / (array.cols * rate.cols))
    folds = launches.groups[:, None] * fold_r * fold_c
    return bounded_costs(machine, prepared, widths, rate, folds * spread.time * rate.serial, folds)
