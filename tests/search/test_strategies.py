"""Strategies against enumeration: the exact one is exact, no other beats it, bounds hold."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings

from dybitq.allocation import proof
from dybitq.allocation.feasibility import InfeasibleError
from dybitq.allocation.solve import solve
from dybitq.allocation.strategies import STRATEGIES, StrategySettings, ilp
from dybitq.errors import ConfigError
from dybitq.records.allocation import Budget, Choice, ChoiceGroup, Problem, Tie
from tests.search.hawq_resnet18 import INPUTS, SOLUTIONS, TIES
from tests.search.problems import assignments, magnitude, objective, problems

HEURISTICS = ("greedy-speedup", "greedy-error", "lagrangian", "ebs")


def check_exact(problem: Problem) -> None:
    """The exact program finds the least objective of all assignments, or says rightly that there is none."""
    possible = list(assignments(problem))
    if not possible:
        with pytest.raises(InfeasibleError):
            solve(problem)
        return
    solution = solve(problem)
    best = min(map(objective, possible))
    rounding = 1e-15 * magnitude(problem)
    assert abs(solution.objective - best) <= rounding
    assert solution.status == "optimal" and solution.gap == 0 and solution.bound == solution.objective
    assert solution.relaxation <= best + 1e-12 * magnitude(problem)
    assert {name: choice.label for name, choice in solved(problem, solution.choices).items()} in [
        {name: choice.label for name, choice in at.items()} for at in possible
    ]


def solved(problem: Problem, choices: dict[str, str]) -> dict[str, Choice]:
    """The choices behind the labels."""
    return {g.name: next(c for c in g.choices if c.label == choices[g.name]) for g in problem.groups}


@settings(max_examples=150, deadline=None)
@given(problems())
def test_integer_program_equals_enumeration(problem):
    """With ties on labels and parts, two budgets, minima, and numbers of any size."""
    check_exact(problem)


def test_an_optimum_that_highs_reports_with_its_tolerance():
    """HiGHS says 2047.99999999 of 2048, its variables being whole numbers to 1e-9 only; that is no gap."""
    labels = ("w8a8", "w8a4", "w4a8", "w4a4")
    rows = {
        "layer0": ((0, 0), (2, 4), (0, 0), (0, 2)),
        "layer1": ((0, 0), (0, 0), (0, 2), (1, 3)),
        "layer2": ((0, 0), (-1, 0), (0, 0), (0, 3)),
        "layer3": ((0, 0), (0, 0), (0, 0), (0, 3)),
        "layer4": ((0, 4), (0, 0), (1, 3), (0, 2)),
    }
    groups = tuple(
        ChoiceGroup(
            name=name,
            choices=tuple(
                Choice(
                    label=label,
                    objective=float(objective),
                    costs={"size": float(size), "latency": 0.0},
                    parts={"weights": label[1], "inputs": label[3]},
                )
                for label, (objective, size) in zip(labels, row, strict=True)
            ),
        )
        for name, row in rows.items()
    )
    tie = Tie(groups=("layer4", "layer2"), part="weights")
    budget = Budget(cost="size", maximum=None, minimum=12.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ilp, "_FEW_STATES", -1)
        patch.setattr(ilp, "_MANY_STATES", -1)
        check_exact(Problem(groups=groups, ties=(tie,), budgets=(budget,)))


@settings(max_examples=60, deadline=None)
@given(problems())
def test_branch_and_bound_equals_enumeration(problem):
    """The same where the lists give up at once and HiGHS has to find the optimum."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ilp, "_FEW_STATES", -1)
        patch.setattr(ilp, "_MANY_STATES", -1)
        check_exact(problem)


SOLVED = 0.9
"""Share of the solvable problems that a heuristic solves; all of some hundred when this was written."""


@pytest.mark.parametrize("strategy", HEURISTICS)
def test_nothing_beats_the_integer_program(strategy):
    """A heuristic solves most problems, keeps budgets and ties, beats no optimum, and its bound holds."""
    outcomes = []

    @settings(max_examples=60, deadline=None)
    @given(problems())
    def check(problem):
        possible = [{name: c.label for name, c in at.items()} for at in assignments(problem)]
        if not possible:
            return
        try:
            found = solve(problem, strategy)
        except ConfigError:  # found nothing, although there is something
            outcomes.append(False)
            return
        outcomes.append(True)
        best, rounding = solve(problem), 1e-12 * magnitude(problem)
        assert dict(found.choices) in possible
        assert found.objective >= best.objective - rounding
        assert found.bound <= best.objective + rounding
        assert found.gap == pytest.approx(found.objective - found.bound, abs=rounding)

    check()
    assert len(outcomes) >= 20 and sum(outcomes) >= SOLVED * len(outcomes)


@pytest.mark.parametrize("strategy", HEURISTICS)
@settings(max_examples=40, deadline=None)
@given(problem=problems())
def test_heuristics_find_what_needs_no_luck(strategy, problem):
    """With one upper limit and no ties, the cheapest step is always open: every heuristic finds something."""
    limit = min(sum(c.costs["size"] for c in group.choices) for group in problem.groups)
    least = math.fsum(min(c.costs["size"] for c in group.choices) for group in problem.groups)
    budget = Budget(cost="size", maximum=least * (1 + 1e-9) + limit / 7)
    found = solve(replace(problem, ties=(), budgets=(budget,)), strategy)
    assert found.costs["size"] <= budget.maximum * (1 + 1e-12)


@pytest.mark.parametrize("row", SOLUTIONS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_published_configurations(row):
    """All nine bit configurations that HAWQ-V3 publishes for ResNet18, with objective, cost and limit."""
    constraint, ratio, bits, published_objective, cost, limit = row
    problem, base = hawq_problem(constraint, ratio)
    solution = solve(problem)
    assert "".join(solution.choices.values()) == bits
    assert round(solution.objective - base, 6) == published_objective
    assert round(solution.costs[constraint], 5) == cost
    assert round(problem.budgets[0].maximum, 5) == limit
    for strategy in HEURISTICS:
        assert solve(problem, strategy).objective >= solution.objective


def hawq_problem(constraint: str, ratio: float) -> tuple[Problem, float]:
    """One of the published problems, and the objective of all layers at 4 bits."""
    layers = range(len(INPUTS["trace"]))
    unit = {
        "size": {b: [n * b / 8 / 2**20 for n in INPUTS["params"]] for b in (4, 8)},
        "bops": {4: [n / 64e6 for n in INPUTS["macs"]], 8: [n / 16e6 for n in INPUTS["macs"]]},
        "latency": {b: INPUTS[f"lat_int{b}ms"] for b in (4, 8)},
    }[constraint]
    omega = {b: [t * e for t, e in zip(INPUTS["trace"], INPUTS[f"dW{b}_sq"])] for b in (4, 8)}
    groups = tuple(
        ChoiceGroup(
            name=f"{layer}",
            choices=tuple(
                Choice(label=f"{b}", objective=omega[b][layer], costs={constraint: unit[b][layer]})
                for b in (4, 8)
            ),
        )
        for layer in layers
    )
    limit = sum(unit[4]) + ratio * (sum(unit[8]) - sum(unit[4]))
    ties = tuple(Tie(groups=(f"{a}", f"{b}")) for a, b in TIES)
    return Problem(groups=groups, ties=ties, budgets=(Budget(cost=constraint, maximum=limit),)), sum(omega[4])


def layers(
    *objectives: tuple[float, float], costs: tuple[float, float] = (1.0, 2.0)
) -> tuple[ChoiceGroup, ...]:
    """Groups a, b, ... with labels 4 and 8."""
    return tuple(
        ChoiceGroup(
            name=chr(97 + index),
            choices=tuple(
                Choice(label=label, objective=value, costs={"latency": cost})
                for label, value, cost in zip(("4", "8"), pair, costs)
            ),
        )
        for index, pair in enumerate(objectives)
    )


def test_every_magnitude_counts():
    """A gain of 1e-12 beside one of 1e3 is not lost, and a byte in a gigabyte is not spent."""
    problem = Problem(
        groups=layers((1e3, 0.0), (3e-12, 2e-12), (3e-12, 1e-12)),
        budgets=(Budget(cost="latency", maximum=5.0),),
    )
    assert dict(solve(problem).choices) == {"a": "8", "b": "4", "c": "8"}
    large = Problem(
        groups=layers((1.0, 0.0), (1.0, 0.0), costs=(1.0, 1e9)),
        budgets=(Budget(cost="latency", maximum=2e9 - 1),),
    )
    assert solve(large).costs["latency"] == 1e9 + 1


def test_decimals_add_up():
    """Costs of 0.1 and 0.2 keep a budget of 0.3, although their sum in float64 is above it."""
    groups = layers((1.0, 0.0), (1.0, 0.0), costs=(0.05, 0.1))
    third = ChoiceGroup(name="c", choices=(Choice(label="8", objective=0.0, costs={"latency": 0.1}),))
    problem = Problem(groups=(*groups, third), budgets=(Budget(cost="latency", maximum=0.3),))
    assert math.fsum((0.1, 0.1, 0.1)) > 0.3
    assert dict(solve(problem).choices) == {"a": "8", "b": "8", "c": "8"}


def test_ties_in_the_objective():
    """Equal objectives: least use of the budgets in their order, then the earliest listed choices."""
    groups = tuple(
        ChoiceGroup(
            name=name,
            choices=tuple(
                Choice(label=label, objective=1.0, costs={"latency": latency, "size": size})
                for label, latency, size in (("x", 2, 1), ("y", 1, 2), ("z", 1, 2))
            ),
        )
        for name in "ab"
    )
    budgets = (Budget(cost="latency", maximum=9), Budget(cost="size", maximum=9))
    problem = Problem(groups=groups, budgets=budgets)
    assert dict(solve(problem).choices) == {"a": "y", "b": "y"}
    assert dict(solve(replace(problem, budgets=budgets[::-1])).choices) == {"a": "x", "b": "x"}
    assert dict(solve(replace(problem, budgets=())).choices) == {"a": "x", "b": "x"}
    swap = Problem(groups=layers((1, 0), (1, 0), (1, 0)), budgets=(Budget(cost="latency", maximum=4),))
    assert dict(solve(swap).choices) == {"a": "4", "b": "4", "c": "8"}


def test_shadow_price():
    """The price of a budget is what the relaxation gains by one more unit; 0 where it does not bind."""
    problem = Problem(
        groups=layers((6, 0), (4, 0), (2, 0)),
        budgets=(Budget(cost="latency", maximum=4.5),),
    )
    (use,) = solve(problem).budgets
    assert use.price == pytest.approx(4.0) and use.used == 4 and use.limit == 4.5
    loose = replace(problem, budgets=(Budget(cost="latency", maximum=7),))
    assert solve(loose).budgets[0].price == 0


def test_node_limit_leaves_an_honest_gap(monkeypatch):
    """Where neither the lists nor the search tree may finish, the status is feasible and the gap is told."""
    monkeypatch.setattr(proof, "best_selection", lambda *arguments: None)
    monkeypatch.setattr(ilp, "best_selection", lambda *arguments: None)
    items = [
        (37, 21),
        (43, 25),
        (29, 17),
        (51, 30),
        (47, 28),
        (31, 18),
        (53, 31),
        (41, 24),
        (39, 23),
        (59, 35),
    ]
    groups = tuple(
        ChoiceGroup(
            name=f"g{index}",
            choices=(
                Choice(label="4", objective=float(gain), costs={"latency": 0.0}),
                Choice(label="8", objective=0.0, costs={"latency": float(cost)}),
            ),
        )
        for index, (gain, cost) in enumerate(items * 3)
    )
    problem = Problem(groups=groups, budgets=(Budget(cost="latency", maximum=347.0),))
    solution = solve(problem, settings=StrategySettings(most_nodes=1))
    assert solution.bound <= solution.objective == solution.bound + solution.gap
    assert solution.status == ("feasible" if solution.gap else "optimal")


def test_same_problem_same_answer():
    """Every strategy answers the same way twice."""
    problem, _ = hawq_problem("latency", 0.5)
    for strategy in STRATEGIES:
        assert solve(problem, strategy) == solve(problem, strategy)


def test_numbers_as_large_as_their_count_allows():
    """Sums near 2**60 quanta are coarse in float64; no optimum is cut off by that."""

    def choice(label: str, objective: float, latency: float, size: float) -> Choice:
        return Choice(label=label, objective=objective, costs={"latency": latency, "size": size})

    groups = (
        ChoiceGroup(name="a", choices=(choice("8", -1.0, 1.0, 1.0), choice("4", 0.0, 100.0, 1.0))),
        ChoiceGroup(name="b", choices=(choice("8", 0.0, 100.0, 1.0), choice("4", -0.0001, 10.0, 0.5))),
        ChoiceGroup(name="c", choices=(choice("8", 0.0, 0.5, 0.25), choice("4", 0.0, 1.0, 0.5))),
    )
    budgets = (Budget(cost="latency", minimum=101.5), Budget(cost="size", maximum=2.25))
    solution = solve(Problem(groups=groups, budgets=budgets))
    assert dict(solution.choices) == {"a": "8", "b": "8", "c": "8"} and solution.status == "optimal"


def test_a_known_assignment_changes_nothing():
    """A good start, a bad one and one that breaks a budget lead to the same optimum."""
    groups = tuple(
        ChoiceGroup(
            name=name,
            choices=tuple(
                Choice(label=str(bits), objective=4.0**-bits * weight, costs={"size": float(bits)})
                for bits in (8, 4, 2)
            ),
        )
        for name, weight in (("a", 1.0), ("b", 3.0), ("c", 0.5))
    )
    problem = Problem(groups=groups, budgets=(Budget(cost="size", maximum=14.0),))
    best = solve(problem)
    for known in (best.choices, dict.fromkeys("abc", "2"), dict.fromkeys("abc", "8"), {"a": "7"}):
        assert solve(problem, known=known).choices == best.choices
