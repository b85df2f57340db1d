"""Local search: single steps from one selection to another, and the two loops of DyBit's greedy searches.

A step changes one part of one unit (its weights, or its activations), or one linked part of all units
that share it, to the next lower value of the measure that the search reduces. Units whose choices
state no parts step from choice to choice.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dybitq.allocation.program import IntegerProgram, Link
from dybitq.allocation.solver import minimise
from dybitq.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exchange:
    """New variables for one or several units, and the changes that they bring.

    Attributes:
        units: int64, the units that change.
        variables: int64, their new variables.
        objective: change of the objective, in quanta.
        rows: int64 ``[rows]``, change of every row.
    """

    units: np.ndarray
    variables: np.ndarray
    objective: int
    rows: np.ndarray


Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From changes of the objective ``[n]`` and of the rows ``[rows, n]`` to float64 ``[n]``: the change of the
measure that the search reduces. Only steps with a negative value are taken."""


def part_table(program: IntegerProgram) -> np.ndarray:
    """Assign numbers to the values of every part, int64 ``[parts, variables]``; a lone label is one part."""
    names = list(dict.fromkeys(name for parts in program.parts for name, _ in parts))
    texts = [(dict(parts) or {"": label}) for parts, label in zip(program.parts, program.labels)]
    numbers: dict[str | None, int] = {}
    table = [[numbers.setdefault(text.get(name), len(numbers)) for text in texts] for name in ["", *names]]
    return np.array(table, dtype=np.int64)


def steps(
    program: IntegerProgram, table: np.ndarray, selection: np.ndarray, measure: Measure
) -> list[Exchange]:
    """Return all single steps that lower a measure: for each unit and part the one that lowers it least.

    For a unit of which no single part can go lower, it is the choice that lowers the measure least.

    Args:
        table: of :func:`part_table`.
    """
    now = selection[program.unit_of]
    objective = program.objective - program.objective[now]
    rows = program.rows - program.rows[:, now]
    value = measure(objective, rows)
    admissible = value < 0
    for link in program.links:
        admissible &= ~np.isin(program.unit_of, link.units) | (link.value_of == link.value_of[now])
    changed = table != table[:, now]
    single = admissible & (changed.sum(axis=0) == 1)
    stuck = ~np.isin(program.unit_of, program.unit_of[single])
    candidates = np.flatnonzero(single | (admissible & stuck))
    part = np.where(single, changed.argmax(axis=0), -1)[candidates]
    unit = program.unit_of[candidates]
    order = np.lexsort([-value[candidates], part, unit])
    first = np.unique(np.stack([unit, part])[:, order], axis=1, return_index=True)[1]
    single_steps = [
        Exchange(
            units=program.unit_of[[v]], variables=np.array([v]), objective=int(objective[v]), rows=rows[:, v]
        )
        for v in candidates[order[first]].tolist()
    ]
    linked = (_linked_step(program, table, selection, link, measure) for link in program.links)
    return single_steps + [step for step in linked if step is not None]


def _linked_step(
    program: IntegerProgram, table: np.ndarray, selection: np.ndarray, link: Link, measure: Measure
) -> Exchange | None:
    """Step all units of a link to the value that lowers the measure least."""
    lower = []
    for value in range(int(link.value_of.max()) + 1):
        variables = [_moved(program, table, selection, link, value, unit) for unit in link.units]
        if link.value_of[selection[link.units[0]]] == value or None in variables:
            continue
        units, new = np.array(link.units), np.array(variables, dtype=np.int64)
        old = selection[units]
        objective = int(program.objective[new].sum() - program.objective[old].sum())
        rows = program.rows[:, new].sum(axis=1) - program.rows[:, old].sum(axis=1)
        change = float(measure(np.array([objective]), rows[:, None])[0])
        if change < 0:
            lower.append((change, Exchange(units=units, variables=new, objective=objective, rows=rows)))
    return max(lower, key=lambda pair: pair[0])[1] if lower else None


def _moved(
    program: IntegerProgram, table: np.ndarray, selection: np.ndarray, link: Link, value: int, unit: int
) -> int | None:
    """Find a unit's variable with a value of one link, other links unchanged, fewest other parts changed."""
    now = selection[unit]
    span = np.array(program.variables(unit))
    fits = link.value_of[span] == value
    for other in program.links_of(unit):
        fits &= (other is link) | (other.value_of[span] == other.value_of[now])
    span = span[fits]
    if not len(span):
        return None
    parts_changed = (table[:, span] != table[:, [now]]).sum(axis=0)
    return int(span[np.lexsort([program.objective[span], parts_changed])[0]])


def row_weights(program: IntegerProgram) -> np.ndarray:
    """Return float64 ``[rows]`` weights that make rows of different units comparable: 1 over each range."""
    if not len(program.limits):
        return np.zeros(0)
    return 1.0 / np.maximum(np.ptp(program.rows, axis=1), 1).astype(np.float64)


def start_with_least(program: IntegerProgram, value: np.ndarray) -> np.ndarray:
    """Select the least sum of ``value``, float64 ``[variables]``, that respects the links.

    Raises:
        ConfigError: the links leave no selection at all.
    """
    open_to = program.open_to_links()
    if program.links:
        counts = np.rint(value / max(float(np.abs(value).max()), 1e-300) * 2.0**40).astype(np.int64)
        solved = minimise(program.restricted([]), open_to, counts)
        if solved is None:
            raise ConfigError("the ties exclude each other: no assignment respects all of them; change one")
        return solved.selection
    first = [
        program.start[unit] + np.argmin(value[program.variables(unit)]) for unit in range(len(program.units))
    ]
    return np.array(first, dtype=np.int64)


def repair(program: IntegerProgram, selection: np.ndarray, top_k: int) -> np.ndarray | None:
    """Lower costs until every limit is kept: DyBit's speed-up-constrained loop.

    Among the ``top_k`` units (or sets of linked units) with the largest cost that can still go lower, the
    step with the smallest rise of the objective per cost saved is taken. Cost is the sum of the rows
    that are exceeded, each divided by its range. Every step brings the limits closer as a whole, so the
    loop ends.

    Returns:
        A selection that keeps the budgets; None where no step helps any more.
    """
    weights, table = row_weights(program), part_table(program)
    selection = selection.copy()
    while True:
        excess = program.excess(selection)
        if not (excess > 0).any():
            return selection
        weight = np.where(excess > 0, weights, 0.0)

        def saved(
            objective: np.ndarray, rows: np.ndarray, excess: np.ndarray = excess, weight: np.ndarray = weight
        ) -> np.ndarray:
            after = np.maximum(excess[:, None] + rows, 0)
            closer = weights @ after < weights @ np.maximum(excess, 0)
            return np.where(closer, weight @ rows, 0.0)

        candidates = steps(program, table, selection, saved)
        if not candidates:
            return None
        cost = [float((weight @ program.rows[:, selection[step.units]]).sum()) for step in candidates]
        selected = _of_first_units(candidates, cost, top_k)
        step = min(selected, key=lambda step: step.objective / -float(weight @ step.rows))
        selection[step.units] = step.variables


def _of_first_units(candidates: list[Exchange], cost: list[float], count: int) -> list[Exchange]:
    """Keep the steps of the ``count`` sets of units with the largest cost."""
    sets = {tuple(step.units.tolist()): value for step, value in zip(candidates, cost)}
    first = sorted(sets, key=lambda units: -sets[units])[:count]
    return [step for step in candidates if tuple(step.units.tolist()) in first]


def improve(program: IntegerProgram, selection: np.ndarray) -> np.ndarray:
    """Lower the objective while every limit stays kept: DyBit's error-constrained loop.

    The step with the largest fall of the objective per budget used is taken, steps that use none first.
    """
    weights, table = row_weights(program), part_table(program)
    selection = selection.copy()
    while True:
        room = -program.excess(selection)

        def fall(objective: np.ndarray, rows: np.ndarray, room: np.ndarray = room) -> np.ndarray:
            return np.where((rows <= room[:, None]).all(axis=0), objective, 0).astype(np.float64)

        best, best_value = None, 0.0
        for step in steps(program, table, selection, fall):
            used = float(weights @ np.maximum(step.rows, 0))
            value = -step.objective / used if used > 0 else np.inf
            if value > best_value:
                best, best_value = step, value
        if best is None:
            return selection
        selection[best.units] = best.variables
