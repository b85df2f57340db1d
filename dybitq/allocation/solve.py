"""Solving of a problem by a named strategy, with a certificate."""

import math
from collections.abc import Mapping

import numpy as np

from dybitq.allocation.feasibility import diagnose
from dybitq.allocation.program import IntegerProgram, compile_problem
from dybitq.allocation.relaxation import Bound, root_of
from dybitq.allocation.solution import BudgetUse, Solution
from dybitq.allocation.strategies import STRATEGIES, StrategySettings
from dybitq.errors import ConfigError
from dybitq.records.allocation import Choice, Problem


def solve(
    problem: Problem,
    strategy: str = "ilp",
    settings: StrategySettings | None = None,
    known: Mapping[str, str] | None = None,
) -> Solution:
    """Choose a label for every group.

    Args:
        problem: to be solved; units are the caller's.
        strategy: registered name (``ilp``, ``greedy-speedup``, ``greedy-error``, ``ebs``, ``lagrangian``).
        settings: of the strategies; the defaults if None.
        known: an assignment that may be good, label by name of group; it saves time and changes no optimum.

    Raises:
        InfeasibleError: no assignment keeps all budgets; says how close one can come.
        ConfigError: the problem is not sound, the strategy is unknown, or a heuristic one found nothing
            although there is a solution.
    """
    run = STRATEGIES.get(strategy)
    program = compile_problem(problem)
    root = root_of(program, known)
    outcome = None if root is None else run(program, root, settings or StrategySettings())
    if root is None or outcome is None:
        raise diagnose(program) or ConfigError(
            f"strategy {strategy!r} found no assignment within the budgets, although there is one; use 'ilp'"
        )
    relaxed = root.bound
    objective = int(program.objective[outcome.selection].sum())
    bound = max(relaxed.value if outcome.bound is None else outcome.bound, relaxed.value)
    gap = max(objective - bound, 0.0)
    if gap <= relaxed.rounding:
        gap = 0.0  # what is left is float64, not a better assignment
    gap = math.ldexp(gap, -program.objective_exponent)
    chosen = _chosen(problem, program, outcome.selection)
    total = math.fsum(choice.objective for choice in chosen.values())
    return Solution(
        status="feasible" if gap else "optimal",
        strategy=strategy,
        objective=total,
        choices={name: choice.label for name, choice in chosen.items()},
        costs=_costs(problem, chosen),
        budgets=_uses(program, outcome.selection, relaxed, chosen),
        bound=total - gap,
        gap=gap,
        relaxation=min(math.ldexp(relaxed.value, -program.objective_exponent), total),
        proof=outcome.proof or "linear relaxation",
    )


def _chosen(problem: Problem, program: IntegerProgram, selection: np.ndarray) -> dict[str, Choice]:
    """Return the choice of every group, in the order of the problem."""
    label_of = {name: program.labels[pick] for names, pick in zip(program.units, selection) for name in names}
    return {
        group.name: next(choice for choice in group.choices if choice.label == label_of[group.name])
        for group in problem.groups
    }


def _costs(problem: Problem, chosen: dict[str, Choice]) -> dict[str, float]:
    names = [set(choice.costs) for group in problem.groups for choice in group.choices]
    common = set.intersection(*names)
    first = next(iter(chosen.values()))
    return {k: math.fsum(choice.costs[k] for choice in chosen.values()) for k in first.costs if k in common}


def _uses(
    program: IntegerProgram, selection: np.ndarray, relaxed: Bound, chosen: dict[str, Choice]
) -> tuple[BudgetUse, ...]:
    uses = []
    for index, fact in enumerate(program.row_facts):
        exponent = program.row_exponents[index] - program.objective_exponent
        uses.append(
            BudgetUse(
                cost=fact.cost,
                side=fact.side,
                limit=fact.limit,
                used=math.fsum(choice.costs[fact.cost] for choice in chosen.values()),
                price=float(np.ldexp(relaxed.prices[index], exponent)),
            )
        )
    return tuple(uses)
