"""Speed-up-constrained greedy search, after DyBit (Zhou et al., arXiv:2302.12510).

DyBit asks for a speed-up and keeps the error small; the steps of the search are ours: start with the least
error, and step down until all budgets are kept.
"""

import numpy as np

from dybitq.allocation.local_search import repair, start_with_least
from dybitq.allocation.program import IntegerProgram
from dybitq.allocation.relaxation import Root
from dybitq.allocation.strategies import STRATEGIES, Selection, StrategySettings


@STRATEGIES.register("greedy-speedup")
def greedy_speedup(program: IntegerProgram, root: Root, settings: StrategySettings) -> Selection | None:
    """Start with the least objective; step down where the objective suffers least per cost saved."""
    start = start_with_least(program, program.objective.astype(np.float64))
    selection = repair(program, start, settings.top_k)
    return None if selection is None else Selection(selection=selection)
