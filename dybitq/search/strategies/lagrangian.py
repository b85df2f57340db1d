"""Lagrangian search: every group takes what is best at the shadow prices of the budgets.

The prices come from the linear relaxation; what rounding leaves over or short is settled by the two
greedy walks. Fast, and usually within a step or two of the optimum.
"""

from dybitq.search.program import IntegerProgram
from dybitq.search.relaxation import Root
from dybitq.search.rounding import round_shares
from dybitq.search.strategies import STRATEGIES, Selection, StrategySettings


@STRATEGIES.register("lagrangian")
def lagrangian(program: IntegerProgram, root: Root, settings: StrategySettings) -> Selection | None:
    """Round the relaxed solution and polish it."""
    selection = round_shares(program, root.bound.shares)
    return None if selection is None else Selection(selection=selection)
