"""Error-constrained greedy search, after DyBit (Zhou et al., arXiv:2302.12510).

DyBit bounds the error and minimises the latency; the steps of the search are ours: start where the error is
least, take steps that save most time per error added. With error and cost exchanged it is the same loop, from
inside the budgets to their limits.
"""

from dybitq.allocation.local_search import improve, repair, row_weights, start_with_least
from dybitq.allocation.program import IntegerProgram
from dybitq.allocation.relaxation import Root
from dybitq.allocation.strategies import STRATEGIES, Selection, StrategySettings


@STRATEGIES.register("greedy-error")
def greedy_error(program: IntegerProgram, root: Root, settings: StrategySettings) -> Selection | None:
    """Start with the least use of the budgets; step where the objective falls most per budget used."""
    start = start_with_least(program, row_weights(program) @ program.rows)
    kept = repair(program, start, settings.top_k)
    return None if kept is None else Selection(selection=improve(program, kept))
