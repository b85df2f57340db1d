"""Lagrangian search: every group takes what is best at the shadow prices of the budgets.

The prices come from the linear relaxation; what rounding leaves over or short is settled by the two
greedy walks. Fast, and usually within a step or two of the optimum.
"""

from dybitq.search.program import Program, survivors
from dybitq.search.relaxation import relax
from dybitq.search.rounding import round_shares
from dybitq.search.strategies import STRATEGIES, Found, Settings


@STRATEGIES.register("lagrangian")
def lagrangian(program: Program, settings: Settings) -> Found | None:
    """Round the relaxed solution and polish it."""
    bound = relax(program, survivors(program))
    if bound is None:
        return None
    selection = round_shares(program, bound.shares)
    return None if selection is None else Found(selection=selection)
