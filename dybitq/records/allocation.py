"""The allocation problem: one choice for every group, least objective, budgets kept, ties respected.

It is the bit allocation of HAWQ-V3 (Yao et al., arXiv:2011.10680), a multiple-choice knapsack, with any
number of choices, budgets and ties. Objective and costs are sums over the groups; the records are independent
of networks.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dybitq.errors import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One way to treat a group.

    Attributes:
        label: name of the choice, unique in its group.
        objective: its addend of the objective; may be negative.
        costs: its addend of each cost, by name of the cost; not negative.
        parts: components of the label (``{"weights": "int4", "activations": "int8"}``), for ties on one
            part and for searches that change one part at a time. Empty where the label has none.
    """

    label: str
    objective: float
    costs: Mapping[str, float]
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceGroup:
    """A layer, or several layers decided as one, that takes exactly one of its choices."""

    name: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tie:
    """Groups that take the same label, or, where ``part`` is given, the same value of that part."""

    groups: tuple[str, ...]
    part: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Bounds, inclusive, on the sum of one cost."""

    cost: str
    maximum: float | None = None
    minimum: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Minimise the objective over all assignments that keep the budgets and the ties.

    Ties are transitive: tying a with b and b with c ties all three.
    """

    groups: tuple[ChoiceGroup, ...]
    ties: tuple[Tie, ...] = ()
    budgets: tuple[Budget, ...] = ()


def mistakes(problem: Problem, unread: Collection[str] = ()) -> list[str]:
    """List the mistakes in a problem, one sentence each; empty if there are none.

    Args:
        problem: to be checked.
        unread: names of groups that exist but could not be read, so that references to them are not
            reported as missing.
    """
    found = [*_wrong_groups(problem), *_wrong_budgets(problem, partial=bool(unread))]
    if not problem.groups and not unread:
        found.append("the problem has no groups; expected at least one")
    by_name = {group.name: group for group in problem.groups}
    for tie in problem.ties:
        found.extend(_wrong_tie(tie, by_name, unread))
    return found


def _repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def _wrong_groups(problem: Problem) -> Iterator[str]:
    for name in _repeated(group.name for group in problem.groups):
        yield f"group {name!r} is listed twice; expected every name once"
    total = 0.0
    for group in problem.groups:
        if not group.choices:
            yield f"group {group.name!r} has no choices; expected at least one"
        for label in _repeated(choice.label for choice in group.choices):
            yield f"group {group.name!r} has two choices labelled {label!r}; expected every label once"
        if len({frozenset(choice.parts) for choice in group.choices}) > 1:
            yield f"group {group.name!r}: its choices have different parts; expected the same for all"
        for choice in group.choices:
            numbers = {"objective": choice.objective, **choice.costs}
            for what, value in numbers.items():
                where = f"group {group.name!r}, choice {choice.label!r}: {what}"
                if not math.isfinite(value):
                    yield f"{where} is {value}; expected a finite number"
                elif what != "objective" and value < 0:
                    yield f"{where} is {value:g}; expected a cost of at least 0"
                else:
                    total += abs(value)
    if not total < 1e290:
        yield f"the objectives and costs add up to {total:.3g}, too much to compute with; use larger units"


def _wrong_budgets(problem: Problem, *, partial: bool) -> Iterator[str]:
    known = {cost for group in problem.groups for choice in group.choices for cost in choice.costs}
    for name in _repeated(budget.cost for budget in problem.budgets):
        yield f"budget {name!r} is given twice; give its minimum and maximum together"
    for budget in problem.budgets:
        bounds = {"minimum": budget.minimum, "maximum": budget.maximum}
        given = {side: value for side, value in bounds.items() if value is not None}
        if not given:
            yield f"budget {budget.cost!r} has neither minimum nor maximum; expected one or both"
        for side, value in given.items():
            if not math.isfinite(value) or value < 0:
                yield f"budget {budget.cost!r}: {side} is {value:g}; expected a finite number of at least 0"
        low, high = budget.minimum, budget.maximum
        if low is not None and high is not None and low > high:
            yield f"budget {budget.cost!r}: minimum {low:g} is above maximum {high:g}"
        if budget.cost not in known:
            if not partial:
                hint = did_you_mean(budget.cost, known)
                yield f"budget {budget.cost!r}: no choice has a cost of that name.{hint}"
            continue
        for group in problem.groups:
            lacking = [choice.label for choice in group.choices if budget.cost not in choice.costs]
            if lacking:
                labels = ", ".join(map(repr, lacking))
                yield f"group {group.name!r}: no cost {budget.cost!r}, which has a budget, for {labels}"


def _wrong_tie(tie: Tie, by_name: Mapping[str, ChoiceGroup], unread: Collection[str]) -> Iterator[str]:
    title = "tie [" + ", ".join(tie.groups) + "]" + (f" on {tie.part!r}" if tie.part is not None else "")
    if len(set(tie.groups)) < 2:
        yield f"{title}: expected at least two different groups"
    for name in _repeated(tie.groups):
        yield f"{title}: group {name!r} is named twice"
    for name in tie.groups:
        if name not in by_name and name not in unread:
            yield f"{title}: there is no group {name!r}.{did_you_mean(name, by_name)}"
    groups = [by_name[name] for name in dict.fromkeys(tie.groups) if name in by_name]
    if tie.part is None:
        yield from _unequal_labels(title, groups)
    else:
        yield from _unequal_parts(title, groups, tie.part)


def _unequal_labels(title: str, groups: list[ChoiceGroup]) -> Iterator[str]:
    for group in groups[1:]:
        first, other = ({c.label: dict(c.parts) for c in g.choices} for g in (groups[0], group))
        if first.keys() != other.keys():
            odd = ", ".join(sorted(map(repr, first.keys() ^ other.keys())))
            yield f"{title}: {groups[0].name!r} and {group.name!r} differ in their labels ({odd} in one only)"
        elif first != other:
            yield f"{title}: {groups[0].name!r} and {group.name!r} have equal labels made of different parts"


def _unequal_parts(title: str, groups: list[ChoiceGroup], part: str) -> Iterator[str]:
    values: list[tuple[str, set[str]]] = []
    for group in groups:
        if any(part not in choice.parts for choice in group.choices):
            known = {name for choice in group.choices for name in choice.parts}
            yield f"{title}: choices of {group.name!r} have no part {part!r}.{did_you_mean(part, known)}"
        else:
            values.append((group.name, {choice.parts[part] for choice in group.choices}))
    if values and not set.intersection(*(found for _, found in values)):
        yield f"{title}: the groups have no value of {part!r} in common"
