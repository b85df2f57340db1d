"""Exact integer linear program of HAWQ-V3 (Yao et al., arXiv:2011.10680), for more choices, budgets and ties.

HiGHS solves the relaxation, and the lists of :mod:`dybitq.allocation.proof` close the gap, exact to the last
bit of the numbers given. Where the lists would grow too long, HiGHS first finds a better selection by branch
and bound; where they still do, its result stands, exact to about 1e-12 of the objective's range.
"""

from collections.abc import Sequence

import numpy as np

from dybitq.allocation.program import IntegerProgram
from dybitq.allocation.proof import best_selection
from dybitq.allocation.relaxation import Root, distance
from dybitq.allocation.rounding import round_shares
from dybitq.allocation.solver import minimise
from dybitq.allocation.strategies import STRATEGIES, Selection, StrategySettings

_FIRST_GAP = 1e-4
"""Gap at which HiGHS stops and the lists take over, which are faster at closing the rest."""
_FEW_STATES, _MANY_STATES = 6_000, 40_000
"""Length of lists worth trying before HiGHS has run, and after."""


@STRATEGIES.register("ilp")
def integer_program(program: IntegerProgram, root: Root, settings: StrategySettings) -> Selection | None:
    """Find the proven optimum; None only if no selection keeps all budgets and ties."""
    alive, bound = root.alive, root.bound
    starts = [start for start in (round_shares(program, bound.shares), root.known) if start is not None]
    if starts:
        good = _best(program, starts)
        alive = alive & (bound.excess <= distance(program, bound, good))
        best = best_selection(program, alive, bound, good, _FEW_STATES)
        if best is not None:
            return _listed(program, best)
    solved = minimise(program, alive, relative_gap=_FIRST_GAP, most_nodes=settings.most_nodes)
    if solved is None:
        return None
    best = best_selection(program, alive, bound, solved.selection, _MANY_STATES)
    if best is not None:
        return _listed(program, best)
    closed = minimise(program, alive, most_nodes=settings.most_nodes) or solved
    best = _best(program, [closed.selection, solved.selection, *starts])
    return Selection(selection=best, bound=max(closed.bound, solved.bound), proof="branch and bound by HiGHS")


def _best(program: IntegerProgram, selections: Sequence[np.ndarray]) -> np.ndarray:
    return min(selections, key=lambda picks: int(program.objective[picks].sum()))


def _listed(program: IntegerProgram, best: np.ndarray) -> Selection:
    value = float(program.objective[best].sum())
    return Selection(
        selection=best, bound=value, proof="every assignment below the relaxation's gap was listed"
    )
