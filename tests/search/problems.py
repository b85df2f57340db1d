"""Random problems small enough to enumerate, and the enumeration."""

import itertools
import math
from collections.abc import Iterator

from hypothesis import strategies as st

from dybitq.records.allocation import Budget, Choice, ChoiceGroup, Problem, Tie

COSTS = ("latency", "size")


def assignments(problem: Problem) -> Iterator[dict[str, Choice]]:
    """All assignments that keep ties and budgets, sums to 1e-12."""
    names = [group.name for group in problem.groups]
    for picks in itertools.product(*(group.choices for group in problem.groups)):
        at = dict(zip(names, picks))
        if not all(_agrees(tie, at) for tie in problem.ties):
            continue
        sums = {cost: math.fsum(choice.costs[cost] for choice in picks) for cost in COSTS}
        if all(_keeps(budget, sums[budget.cost]) for budget in problem.budgets):
            yield at


def _agrees(tie: Tie, at: dict[str, Choice]) -> bool:
    taken = {at[name].label if tie.part is None else at[name].parts[tie.part] for name in tie.groups}
    return len(taken) == 1


def _keeps(budget: Budget, value: float) -> bool:
    low, high = budget.minimum or 0.0, math.inf if budget.maximum is None else budget.maximum
    return low * (1 - 1e-12) <= value <= high * (1 + 1e-12)


def objective(at: dict[str, Choice]) -> float:
    """Sum of the objectives of an assignment."""
    return math.fsum(choice.objective for choice in at.values())


def magnitude(problem: Problem) -> float:
    """Sum over the groups of the largest objective; the yardstick of rounding."""
    return math.fsum(max(abs(c.objective) for c in group.choices) for group in problem.groups)


NUMBERS = {
    "whole": (st.integers(-3, 3).map(float), st.integers(0, 4).map(float)),
    "decimal": (
        st.integers(-999, 999).map(lambda n: n / 100),
        st.integers(0, 999).map(lambda n: n / 100),
    ),
    "decades": (
        st.tuples(st.floats(-1, 1), st.integers(-12, 3)).map(lambda t: t[0] * 10.0 ** t[1]),
        st.tuples(st.floats(0.1, 1), st.integers(-6, 6)).map(lambda t: t[0] * 10.0 ** t[1]),
    ),
}
"""Objectives and costs: full of equal sums; full of decimals that float64 cannot hold; of sizes that
float64 can add (beyond that a limit of the smallest is not told from its neighbours)."""


@st.composite
def problems(draw: st.DrawFn, kinds: tuple[str, ...] = tuple(NUMBERS)) -> Problem:
    """Up to 5 groups of up to 6 choices in two parts, ties on labels and parts, two budgets."""
    objectives, amounts = NUMBERS[draw(st.sampled_from(kinds))]
    weights = draw(st.sampled_from((("4",), ("8", "4"), ("2", "4", "8"))))
    inputs = draw(st.sampled_from((("8",), ("8", "4"))))
    names = [f"layer{index}" for index in range(draw(st.integers(1, 5)))]
    groups = []
    for name in names:
        choices = [
            Choice(
                label=f"w{w}a{a}",
                objective=draw(objectives),
                costs={cost: draw(amounts) for cost in COSTS},
                parts={"weights": w, "inputs": a},
            )
            for w in weights
            for a in inputs
        ]
        groups.append(ChoiceGroup(name=name, choices=tuple(choices)))
    ties = []
    for _ in range(draw(st.integers(0, 2)) if len(names) > 1 else 0):
        tied = draw(st.lists(st.sampled_from(names), min_size=2, max_size=3, unique=True))
        ties.append(Tie(groups=tuple(tied), part=draw(st.sampled_from((None, "weights", "inputs")))))
    return Problem(groups=tuple(groups), ties=tuple(ties), budgets=_budgets(draw, groups))


def _budgets(draw: st.DrawFn, groups: list[ChoiceGroup]) -> tuple[Budget, ...]:
    """Limits that a random assignment just keeps, or somewhere between least and most."""
    budgets = []
    for cost in COSTS:
        at_hand = [draw(st.sampled_from(group.choices)) for group in groups]
        limit = math.fsum(choice.costs[cost] for choice in at_hand) * draw(
            st.sampled_from((1.0, 1.0, 0.9, 1.2))
        )
        if draw(st.integers(0, 4)) == 0:
            budgets.append(Budget(cost=cost, minimum=limit))
        else:
            budgets.append(Budget(cost=cost, maximum=limit))
    return tuple(budgets)
