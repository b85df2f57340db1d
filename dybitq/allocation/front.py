"""A front of plans: the least error at several limits of one cost, from cheap to accurate."""

from dataclasses import replace

import numpy as np

from dybitq.allocation.formulation import ERROR, Goal
from dybitq.allocation.iterate import FoundPlan, Searcher
from dybitq.records.progress import Progress


def front(
    searcher: Searcher, goal: Goal, cost: str, count: int, progress: Progress | None = None
) -> list[FoundPlan]:
    """Find at most ``count`` plans of which none is both cheaper and more accurate than another.

    Limits are spread evenly between the costs of the cheapest plan and of the most accurate one; all limits
    of ``goal`` are kept.

    Raises:
        InfeasibleError: no plan keeps the limits of ``goal``.
    """
    cheapest = searcher.search(replace(goal, minimise=cost))
    best = searcher.search(replace(goal, minimise=ERROR))
    plans = [best]
    limits = np.linspace(cheapest.costs[cost], best.costs[cost], count)[:-1]
    for done, limit in enumerate(limits):
        if progress is not None:
            progress("plans", done, count)
        tighter = min(float(limit) * (1 + 1e-12), goal.limits.get(cost, float("inf")))
        plans.append(searcher.search(replace(goal, minimise=ERROR, limits={**goal.limits, cost: tighter})))
    plans.sort(key=lambda plan: (plan.costs[cost], plan.error))
    kept: list[FoundPlan] = []
    for plan in plans:
        if not kept or plan.error < kept[-1].error:
            kept.append(plan)
    return kept
