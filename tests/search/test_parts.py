"""The parts of a search: programs, bounds, lists, local search, EBS, feasibility, explanations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dybitq.allocation.dominance import front
from dybitq.allocation.explain import explain
from dybitq.allocation.feasibility import InfeasibleError
from dybitq.allocation.local_search import improve, repair
from dybitq.allocation.program import compile_problem, survivors
from dybitq.allocation.relaxation import relax, relax_at
from dybitq.allocation.solve import solve
from dybitq.allocation.strategies import STRATEGIES
from dybitq.allocation.strategies.ebs import descend, loss, relaxed_problem, shares
from dybitq.errors import ConfigError
from dybitq.records.allocation import Budget, Choice, ChoiceGroup, Problem, Tie
from tests.search.problems import assignments, objective, problems


def pair(name: str, *entries: tuple[str, str, float, float]) -> ChoiceGroup:
    """A group with choices of weights and inputs: (weights, inputs, objective, latency)."""
    return ChoiceGroup(
        name=name,
        choices=tuple(
            Choice(
                label=f"{w}/{a}", objective=value, costs={"latency": cost}, parts={"weights": w, "inputs": a}
            )
            for w, a, value, cost in entries
        ),
    )


GRID = (("8", "8", 1.0, 16.0), ("4", "8", 3.0, 8.0), ("8", "4", 5.0, 8.0), ("4", "4", 7.0, 4.0))


def test_ties_merge_transitively():
    """a-b and b-c make one unit with the sums of all three; d stays alone."""
    groups = tuple(pair(name, *GRID) for name in "abcd")
    ties = (Tie(groups=("b", "c")), Tie(groups=("a", "b")))
    program = compile_problem(Problem(groups=groups, ties=ties))
    assert program.units == (("a", "b", "c"), ("d",))
    quantum = 2.0**-program.objective_exponent
    assert (program.objective * quantum).tolist() == [3, 9, 15, 21, 1, 3, 5, 7]


def test_links_share_the_values_all_have():
    """A tie on a part numbers the common values; choices with others are out."""
    groups = (pair("a", *GRID), pair("b", *GRID[:2]), pair("c", *GRID))
    tie = Tie(groups=("a", "b"), part="inputs")
    program = compile_problem(Problem(groups=groups, ties=(tie,)))
    (link,) = program.links
    assert link.units == (0, 1)
    assert link.value_of.tolist() == [0, 0, -1, -1, 0, 0, -1, -1, -1, -1]
    assert survivors(program).tolist() == [True, False] + [False] * 2 + [True, False] + [True] + [False] * 3


def test_ties_without_a_common_value():
    """Chained ties whose values exclude each other are refused."""
    groups = (pair("a", *GRID[:2]), pair("b", *GRID), pair("c", GRID[2]))
    ties = (Tie(groups=("a", "b"), part="inputs"), Tie(groups=("b", "c"), part="inputs"))
    with pytest.raises(ConfigError, match="leave group 'a' no choice"):
        compile_problem(Problem(groups=groups, ties=ties))


@settings(max_examples=60, deadline=None)
@given(problems(), st.floats(0, 3), st.floats(0, 3))
def test_any_prices_bound(problem, first, second):
    """The Lagrangian is below every assignment, at the best prices and at any others."""
    possible = list(assignments(problem))
    program = compile_problem(problem)
    alive = survivors(program)
    bound = relax(program, alive)
    if not possible or bound is None:
        return
    best = min(map(objective, possible)) * 2.0**program.objective_exponent
    prices = bound.prices * np.array([first, second][: len(bound.prices)])
    for other in (bound, relax_at(program, alive, prices)):
        assert other.value <= best + other.rounding + len(problem.groups)  # each is rounded to quanta
        assert (other.excess >= 0).all()


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 4), st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_front(rows, count, seed):
    """Up to two rows exactly the columns that no earlier one beats; beyond, at least those."""
    values = np.random.default_rng(seed).integers(0, 12, (rows, count))
    kept = front(values)
    beaten = np.array(
        [(values[:, :index] <= values[:, [index]]).all(axis=0).any() for index in range(count)], dtype=bool
    )
    assert rows > 2 or not (beaten & kept).any()
    assert not (~beaten & ~kept).any()


def test_speed_up_constrained_search():
    """DyBit's first search by hand: 32 cycles to 20, the cheapest step of the largest layers first."""
    groups = (pair("a", *GRID), pair("b", *((w, a, 10 * e, c) for w, a, e, c in GRID)))
    program = compile_problem(Problem(groups=groups, budgets=(Budget(cost="latency", maximum=20),)))
    # a to 4/8 costs 2 for 8 cycles; then a to 4/4 costs 4 for 4, b to 4/8 costs 20 for 8.
    assert repair(program, np.array([0, 4]), top_k=2).tolist() == [3, 4]
    # With k = 1 only the layer with the largest latency is looked at: first a, then b.
    assert repair(program, np.array([0, 4]), top_k=1).tolist() == [1, 5]


def test_error_constrained_search():
    """DyBit's second search by hand: objective is latency, the budget is on the error."""
    swapped = [(w, a, c, e) for w, a, e, c in GRID]
    groups = (pair("a", *swapped), pair("b", *((w, a, c, 10 * e) for w, a, c, e in swapped)))
    program = compile_problem(Problem(groups=groups, budgets=(Budget(cost="latency", maximum=33),)))
    # From error 1 + 10: a to 4/8 (+2 for 8 cycles), a to 4/4 (+4 for 4), b to 4/8 (+20 for 8) would be 37.
    assert improve(program, np.array([0, 4])).tolist() == [3, 4]


def test_linked_step():
    """Where the inputs of two layers are tied, both step together and keep their weights."""
    groups = (pair("a", *GRID), pair("b", *GRID))
    tie = Tie(groups=("a", "b"), part="inputs")
    budget = Budget(cost="latency", maximum=16)
    program = compile_problem(Problem(groups=groups, ties=(tie,), budgets=(budget,)))
    assert repair(program, np.array([0, 4]), top_k=9).tolist() == [1, 5]
    assert repair(program, np.array([2, 6]), top_k=9).tolist() == [2, 6]


@settings(max_examples=30, deadline=None)
@given(problems(), st.integers(0, 2**32 - 1))
def test_ebs_gradient(problem, seed):
    """The analytic gradient is that of finite differences, penalty and shared strengths included."""
    relaxed = relaxed_problem(compile_problem(problem))
    random = np.random.default_rng(seed)
    strengths = random.standard_normal(relaxed.count)
    strengths[-1] = 0
    multipliers = random.uniform(0, 1, len(relaxed.limits))
    gradient = loss(relaxed, strengths, multipliers, 2.0)[1]
    for index in range(relaxed.count - 1):
        step = np.zeros(relaxed.count)
        step[index] = 1e-6
        above = loss(relaxed, strengths + step, multipliers, 2.0)[0]
        below = loss(relaxed, strengths - step, multipliers, 2.0)[0]
        assert gradient[index] == pytest.approx((above - below) / 2e-6, abs=1e-6)


def test_ebs_relaxation_reaches_the_bound():
    """On choices without parts the expected objective comes down to the linear relaxation."""
    random = np.random.default_rng(5)
    groups = tuple(
        ChoiceGroup(
            name=f"g{index}",
            choices=tuple(
                Choice(
                    label=f"{bits}", objective=float(4.0**-bits * scale), costs={"size": float(bits * count)}
                )
                for bits in range(2, 9)
            ),
        )
        for index, (scale, count) in enumerate(zip(random.uniform(0.5, 2, 20), random.uniform(0.5, 2, 20)))
    )
    total = sum(group.choices[-1].costs["size"] for group in groups)
    program = compile_problem(Problem(groups=groups, budgets=(Budget(cost="size", maximum=total / 2),)))
    relaxed = relaxed_problem(program)
    share = shares(relaxed, descend(relaxed))
    bound = relax(program, survivors(program)).value * 2.0**-program.objective_exponent
    expected = float(program.objective @ share) * 2.0**-program.objective_exponent
    assert (relaxed.rows @ share <= relaxed.limits * 1.01).all()
    assert expected == pytest.approx(bound, rel=0.2)


def test_out_of_reach():
    """A budget that nothing keeps: the message and the record say what is reachable."""
    problem = Problem(groups=(pair("a", *GRID),), budgets=(Budget(cost="latency", maximum=3),))
    with pytest.raises(InfeasibleError, match=r"latency <= 3: the least reachable is 4 \(binds\)") as caught:
        solve(problem)
    (reach,) = caught.value.reaches
    assert (reach.alone, reach.binds, reach.out_of_reach) == (4.0, True, True)


def test_budgets_that_exclude_each_other():
    """Two budgets, each within reach, not together; a third has nothing to do with it."""
    choices = tuple(
        Choice(label=f"{n}", objective=0.0, costs={"latency": n, "size": 3.0 - n, "energy": 1.0})
        for n in (0, 1, 2)
    )
    budgets = [
        Budget(cost=cost, maximum=limit) for cost, limit in (("latency", 1), ("size", 1), ("energy", 5))
    ]
    problem = Problem(groups=(ChoiceGroup(name="a", choices=choices),), budgets=tuple(budgets))
    for strategy in STRATEGIES:
        with pytest.raises(InfeasibleError, match="keep the budgets latency <= 1 and size <= 1 at") as caught:
            solve(problem, strategy)
    assert [(r.alone, r.with_others, r.binds) for r in caught.value.reaches] == [
        (0.0, 2.0, True),
        (1.0, 2.0, True),
        (1.0, None, False),
    ]


def test_minimum_out_of_reach():
    """For a minimum the largest reachable value is named."""
    problem = Problem(groups=(pair("a", *GRID),), budgets=(Budget(cost="latency", minimum=20),))
    with pytest.raises(InfeasibleError, match="latency >= 20: the most reachable is 16"):
        solve(problem)


def test_explain():
    """What the nearest better and cheaper choices change, tied parts as one."""
    groups = (pair("a", *GRID), pair("b", *GRID), pair("c", *GRID))
    ties = (Tie(groups=("a", "b"), part="inputs"),)
    problem = Problem(groups=groups, ties=ties, budgets=(Budget(cost="latency", maximum=32),))
    solution = solve(problem)
    assert dict(solution.choices) == {"a": "8/8", "b": "4/8", "c": "4/8"}
    a, b, c, inputs = explain(problem, solution)
    assert (a.groups, a.chosen, a.better, a.cheaper.labels) == (("a",), "8/8", None, {"a": "4/8"})
    assert (b.chosen, b.better.labels, b.cheaper) == ("4/8", {"b": "8/8"}, None)
    assert (b.better.objective, b.better.costs, b.better.fits) == (-2.0, {"latency": 8.0}, False)
    assert b.better.price == pytest.approx(8 * solution.budgets[0].price)
    assert (c.better.labels, c.cheaper.labels) == ({"c": "8/8"}, {"c": "8/4"})
    assert (inputs.groups, inputs.part, inputs.chosen) == (("a", "b"), "inputs", "8")
    assert inputs.cheaper.labels == {"a": "8/4", "b": "4/4"} and inputs.cheaper.objective == 8.0
