"""Reasons for the choice of every group: what the nearest better and nearest cheaper one would change."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from dybitq.allocation.local_search import part_table
from dybitq.allocation.program import IntegerProgram, Link, compile_problem
from dybitq.allocation.solution import Solution
from dybitq.records.allocation import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another choice, all other groups staying as they are.

    Attributes:
        labels: label by name of group, for the groups that would change.
        objective: change of the objective.
        costs: change of every cost that has a budget, by name.
        price: those changes times the shadow prices, in the unit of the objective.
        fits: True where all budgets would still be kept.
    """

    labels: Mapping[str, str]
    objective: float
    costs: Mapping[str, float]
    price: float
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Reason for the choice of groups that change together.

    Attributes:
        groups: names; several if a tie holds them together.
        part: the part that is tied, or empty where whole choices are meant.
        chosen: label, or value of the part.
        better: of the choices with a smaller objective, the one with the least sum of objective and price.
        cheaper: the same of the other choices.
    """

    groups: tuple[str, ...]
    part: str
    chosen: str
    better: Alternative | None
    cheaper: Alternative | None


def explain(problem: Problem, solution: Solution) -> tuple[Reason, ...]:
    """Give a reason for every group or set of tied groups, then one for every tie on a part."""
    program = compile_problem(problem)
    label_of = [solution.choices[names[0]] for names in program.units]
    picks = [
        next(v for v in program.variables(unit) if program.labels[v] == label)
        for unit, label in enumerate(label_of)
    ]
    selection = np.array(picks, dtype=np.int64)
    view = _View(program=program, solution=solution, selection=selection, table=part_table(program))
    return (*_unit_reasons(view), *_link_reasons(view))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _View:
    program: IntegerProgram
    solution: Solution
    selection: np.ndarray
    table: np.ndarray


def _unit_reasons(view: _View) -> Iterator[Reason]:
    program = view.program
    for unit, names in enumerate(program.units):
        now = int(view.selection[unit])
        links = program.links_of(unit)
        others = [
            _alternative(view, [unit], [variable])
            for variable in program.variables(unit)
            if variable != now and all(link.value_of[variable] == link.value_of[now] for link in links)
        ]
        if others or not links:  # otherwise the reasons of the links cover the unit
            yield _reason(names, "", program.labels[now], others)


def _link_reasons(view: _View) -> Iterator[Reason]:
    program = view.program
    for link in program.links:
        others = []
        now = int(link.value_of[view.selection[link.units[0]]])
        for value in range(int(link.value_of.max()) + 1):
            variables = [_moved(view, link, value, unit) for unit in link.units]
            if value != now and None not in variables:
                others.append(_alternative(view, list(link.units), [v for v in variables if v is not None]))
        names = tuple(name for unit in link.units for name in program.units[unit])
        chosen = dict(program.parts[view.selection[link.units[0]]])[link.part]
        yield _reason(names, link.part, chosen, others)


def _moved(view: _View, link: Link, value: int, unit: int) -> int | None:
    """Find the unit's choice with another value of the link and all other parts unchanged."""
    now = view.selection[unit]
    for variable in view.program.variables(unit):
        changed = set(view.program.parts[variable]) - set(view.program.parts[now])
        if link.value_of[variable] == value and all(name == link.part for name, _ in changed):
            return variable
    return None


def _alternative(view: _View, units: list[int], variables: list[int]) -> Alternative:
    program, old = view.program, view.selection[units]
    rows = program.rows[:, variables].sum(axis=1) - program.rows[:, old].sum(axis=1)
    objective = int(program.objective[variables].sum() - program.objective[old].sum())
    costs: dict[str, float] = {}
    price = 0.0
    for row, use in enumerate(view.solution.budgets):
        change = float(np.ldexp(float(rows[row]), -program.row_exponents[row]))
        costs[use.cost] = -change if use.side == "minimum" else change
        price += use.price * change
    return Alternative(
        labels={n: program.labels[v] for u, v in zip(units, variables) for n in program.units[u]},
        objective=float(np.ldexp(float(objective), -program.objective_exponent)),
        costs=costs,
        price=price,
        fits=bool((program.excess(view.selection) + rows <= 0).all()),
    )


def _reason(groups: tuple[str, ...], part: str, chosen: str, others: list[Alternative]) -> Reason:
    def net(other: Alternative) -> float:
        return other.objective + other.price

    return Reason(
        groups=groups,
        part=part,
        chosen=chosen,
        better=min((o for o in others if o.objective < 0), key=net, default=None),
        cheaper=min((o for o in others if o.objective >= 0), key=net, default=None),
    )
