"""The search loop: solve by a table of prices, price the plan exactly, make a new table around it, repeat.

A table is exact for the plan around which it was made. The first one, around the widest plan, is far from
the result, so its problem is only solved by rounding its relaxation. The loop ends when the best plan by a
table is the plan that the table was made around; if plans repeat in a cycle, the best plan that keeps all
budgets at its exact prices is taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dybitq.allocation.feasibility import InfeasibleError, Reach
from dybitq.allocation.formulation import ERROR, Goal, assignment_of, error_of, formulate, labels_of
from dybitq.allocation.prices import Prices
from dybitq.allocation.sensitivity import Scores
from dybitq.allocation.solution import Solution
from dybitq.allocation.solve import solve
from dybitq.allocation.space import Assignment
from dybitq.allocation.strategies import StrategySettings
from dybitq.errors import ConfigError
from dybitq.hardware.costs import Array
from dybitq.records.allocation import Problem
from dybitq.records.plan import Plan

_FIRST = "lagrangian"
_ROUNDS = 6  # after the first table
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoundPlan:
    """A plan with its costs, its error and the problem that it solves.

    Attributes:
        plan: every decision.
        assignment: settings by layer.
        costs: exact, by name, see :meth:`Prices.exact`.
        error: predicted, in the unit of the sensitivity.
        problem, solution: the problem that it solves, at prices around the previous plan, and its
            certificate.
        rounds: number of tables that were made.
    """

    plan: Plan
    assignment: Assignment
    costs: Mapping[str, float]
    error: float
    problem: Problem
    solution: Solution
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Searcher:
    """Facts that stay the same between searches of one network.

    Attributes:
        prices: of plans.
        scores: of choices.
        allowed: choices that may be taken, by layer.
        strategy, settings: of the solver.
    """

    prices: Prices
    scores: Scores
    allowed: Mapping[str, Array]
    strategy: str = "ilp"
    settings: StrategySettings = field(default_factory=StrategySettings)

    def search(self, goal: Goal) -> FoundPlan:
        """Find the best plan.

        Raises:
            InfeasibleError: no plan keeps all limits; says how close one can come.
            ConfigError: the strategy found none though there may be one.
        """
        space = self.prices.space
        try:
            return self._iterate(goal, self._within(space.widest()))
        except InfeasibleError:
            # Prices around wide neighbours are not those of a plan in which everything is narrow.
            return self._iterate(goal, self._within(space.narrowest()))

    def _within(self, assignment: Assignment) -> dict[str, tuple[str, str]]:
        """Replace every pair that may not be taken by the layer's first pair."""
        changed = dict(assignment)
        for choice in self.prices.space.choices:
            weights, activations = assignment[choice.layer]
            allowed = self.allowed[choice.layer]
            if not allowed[choice.weights.index(weights), choice.activations.index(activations)]:
                changed[choice.layer] = (choice.weights[0], choice.activations[0])
        return changed

    def _iterate(self, goal: Goal, around: Assignment) -> FoundPlan:
        best: FoundPlan | None = None
        around = self._first(goal, around)
        slack = dict.fromkeys(goal.limits, 0.0)
        tried: set[tuple[tuple[str, tuple[str, str]], ...]] = set()
        for number in range(2, _ROUNDS + 2):
            try:
                current = self._step(self.strategy, goal, around, slack, number)
            except InfeasibleError:
                if best is None and not any(slack.values()):
                    raise
                break
            over = {name: self._value(current, name) - limit for name, limit in goal.limits.items()}
            kept = all(excess <= _TOLERANCE * goal.limits[name] for name, excess in over.items())
            if kept and (best is None or self._objective(current, goal) < self._objective(best, goal)):
                best = current
            key = tuple(sorted(current.assignment.items()))
            if kept and (dict(current.assignment) == dict(around) or key in tried):
                break
            if not kept and key in tried:
                slack = {n: slack[n] + max(excess, 0.0) for n, excess in over.items()}
            tried.add(key)
            around = current.assignment
        if best is None:
            raise ConfigError(
                "no plan was found that keeps all budgets at its exact price, although the prices of single "
                "layers allow one: the budgets are close to the limit of what can be reached; loosen them a "
                "little"
            )
        return replace(best, rounds=number)

    def _first(self, goal: Goal, around: Assignment) -> Assignment:
        """Choose the first plan: near the best one by the prices around ``around``."""
        try:
            return self._step(_FIRST, goal, around, dict.fromkeys(goal.limits, 0.0), 1).assignment
        except InfeasibleError:
            raise
        except ConfigError:  # the rounding found nothing, which proves nothing
            return around

    def _step(
        self, strategy: str, goal: Goal, around: Assignment, slack: Mapping[str, float], number: int
    ) -> FoundPlan:
        space = self.prices.space
        needed = [
            *(name for name in goal.limits if name != ERROR),
            *([goal.minimise] if goal.minimise != ERROR else []),
        ]
        table = self.prices.table(space.plan(around), around, needed)
        tight = replace(goal, limits={name: limit - slack[name] for name, limit in goal.limits.items()})
        problem = formulate(space, table, self.scores, tight, self.allowed)
        try:
            solution = solve(problem, strategy, self.settings, labels_of(around))
        except InfeasibleError as error:
            raise _absolute(error, goal, {**table.fixed, ERROR: self.scores.fixed}) from None
        assignment = assignment_of(solution.choices)
        plan = space.plan(assignment)
        return FoundPlan(
            plan=plan,
            assignment=assignment,
            costs=self.prices.exact(plan, assignment),
            error=error_of(self.scores, assignment),
            problem=problem,
            solution=solution,
            rounds=number,
        )

    def _value(self, found: FoundPlan, name: str) -> float:
        return found.error if name == ERROR else found.costs[name]

    def _objective(self, found: FoundPlan, goal: Goal) -> float:
        return self._value(found, goal.minimise)


def _absolute(error: InfeasibleError, goal: Goal, fixed: Mapping[str, float]) -> InfeasibleError:
    """Convert the error to the units of the goal, with one memory budget for all launches."""
    by_name: dict[str, Reach] = {}
    for reach in error.reaches:
        name, left_out = reach.row.cost.partition("@")[0], min(fixed[reach.row.cost], 0.0)
        others = None if reach.with_others is None else reach.with_others + left_out
        moved = replace(
            reach,
            row=replace(reach.row, cost=name, limit=goal.limits[name]),
            alone=reach.alone + left_out,
            with_others=others,
        )
        old = by_name.get(name)
        if old is None or (moved.binds, moved.alone) > (old.binds, old.alone):
            by_name[name] = moved
    return InfeasibleError(list(by_name.values()))
