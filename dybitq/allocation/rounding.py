"""Rounding of a relaxed solution (shares of choices) to a selection that keeps budgets and links."""

import numpy as np

from dybitq.allocation.local_search import improve, repair, row_weights, start_with_least
from dybitq.allocation.program import IntegerProgram


def round_shares(program: IntegerProgram, shares: np.ndarray) -> np.ndarray | None:
    """Take the largest share of every unit, repair exceeded budgets, then use up what they leave.

    Args:
        shares: float64 ``[variables]``.

    Returns:
        int64 ``[units]``; None where the repair failed, also from the selection with the least use of
        budgets.
    """
    everywhere = len(program.units) + len(program.links)
    for value in (-shares, row_weights(program) @ program.rows):
        kept = repair(program, start_with_least(program, value), everywhere)
        if kept is not None:
            return improve(program, kept)
    return None
