"""From shares of choices (a relaxed solution) to a selection that keeps budgets and links."""

import numpy as np

from dybitq.search.local_search import improve, repair, row_weights, start_with_least
from dybitq.search.program import IntegerProgram


def round_shares(program: IntegerProgram, shares: np.ndarray) -> np.ndarray | None:
    """The choice with the largest share everywhere, then into the budgets, then up to their edge.

    Args:
        shares: float64 ``[variables]``.

    Returns:
        int64 ``[units]``; None where the walk into the budgets got stuck, from the least use of them too.
    """
    everywhere = len(program.units) + len(program.links)
    for value in (-shares, row_weights(program) @ program.rows):
        kept = repair(program, start_with_least(program, value), everywhere)
        if kept is not None:
            return improve(program, kept)
    return None
