"""The exact integer program: HAWQ-V3 section 3.6 with any number of choices, budgets and ties.

HiGHS solves the relaxation, and the lists of :mod:`dybitq.search.proof` close its gap, exact to the last
bit of the numbers given. Where the lists would grow too long HiGHS first finds a better selection by branch
and bound, and where they still do its word stands, exact to about 1e-12 of the objective's range.
"""

import numpy as np

from dybitq.search.program import Program, survivors
from dybitq.search.proof import best_selection
from dybitq.search.relaxation import distance, relax
from dybitq.search.rounding import round_shares
from dybitq.search.solver import minimise
from dybitq.search.strategies import STRATEGIES, Found, Settings

_FIRST_GAP = 1e-4
"""Gap at which HiGHS hands over to the lists, which are faster at closing the last of it."""
_FEW_STATES, _MANY_STATES = 6_000, 40_000
"""Length of lists worth trying before HiGHS has run, and after."""


@STRATEGIES.register("ilp")
def integer_program(program: Program, settings: Settings) -> Found | None:
    """The optimum, proven; None only if no selection keeps everything."""
    alive = survivors(program)
    bound = relax(program, alive)
    if bound is None:
        return None
    rounded = round_shares(program, bound.shares)
    if rounded is not None:
        alive &= bound.excess <= distance(program, bound, rounded)
        best = best_selection(program, alive, bound, rounded, _FEW_STATES)
        if best is not None:
            return _listed(program, best)
    solved = minimise(program, alive, relative_gap=_FIRST_GAP, most_nodes=settings.most_nodes)
    if solved is None:
        return None
    best = best_selection(program, alive, bound, solved.selection, _MANY_STATES)
    if best is not None:
        return _listed(program, best)
    closed = minimise(program, alive, most_nodes=settings.most_nodes) or solved
    best = min((closed.selection, solved.selection), key=lambda picks: int(program.objective[picks].sum()))
    return Found(selection=best, bound=max(closed.bound, solved.bound), proof="branch and bound by HiGHS")


def _listed(program: Program, best: np.ndarray) -> Found:
    value = float(program.objective[best].sum())
    return Found(selection=best, bound=value, proof="every assignment below the relaxation's gap was listed")
