"""Proof of optimality by lists of every selection that could still be the best.

With the prices of the relaxation every choice has an excess, the amount by which it lifts the bound
of any selection that takes it. A selection whose excesses add up to more than the distance between
bound and incumbent cannot win. Unit by unit, the selections of the units so far that stay below are kept,
as integers, less those that another one beats (Nemhauser and Ullmann's lists for the knapsack, with
Lagrangian pruning at several prices). What is left at the end is the optimum, exact to the last
quantum, which no solver in floating point promises.
"""

from dataclasses import dataclass

import numpy as np

from dybitq.allocation.dominance import front
from dybitq.allocation.program import IntegerProgram
from dybitq.allocation.relaxation import Bound, distance, relax_at

_EXTENSIONS_PER_STATE = 50
_PRICE_FACTORS = (0.5, 0.7, 0.85, 1.18, 1.4, 2.0)


@dataclass(slots=True, eq=False)
class _States:
    """Selections of the units so far, one column each."""

    excess: np.ndarray  # float64 [bounds, n]
    objective: np.ndarray  # int64 [n]
    rows: np.ndarray  # int64 [rows, n]
    open: np.ndarray  # int64 [links, n], value of every link that is open, -1 elsewhere
    picks: np.ndarray  # int32 [units, n], variable of every unit; -1 where not yet decided

    def take(self, which: np.ndarray) -> "_States":
        return _States(
            self.excess[:, which],
            self.objective[which],
            self.rows[:, which],
            self.open[:, which],
            self.picks[:, which],
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Pruning:
    """Choices to consider, and the bounds by which states are dropped."""

    alive: np.ndarray  # bool [variables]
    excess: np.ndarray  # float64 [bounds, variables]
    most: np.ndarray  # float64 [bounds], largest sum of excesses


def best_selection(
    program: IntegerProgram, alive: np.ndarray, bound: Bound, incumbent: np.ndarray, most_states: int
) -> np.ndarray | None:
    """Find the best selection; None where a list grows longer than ``most_states`` (some 100 bytes each).

    Of selections with the same objective the one with the least use of the first budget row wins, then
    of the second, and so on, then the one that takes the earliest listed choice of the first unit, then of
    the second, and so on.

    Args:
        program: what to solve.
        alive: bool ``[variables]``, choices to consider.
        bound: of the relaxation over these choices.
        incumbent: a selection that keeps all budgets, int64 ``[units]``.

    Returns:
        int64 ``[units]``.
    """
    pruning = _pruning(program, alive, bound, incumbent)
    columns = [
        np.array([variable for variable in program.variables(unit) if pruning.alive[variable]])
        for unit in range(len(program.units))
    ]
    left = sum((program.rows[:, of_unit].min(axis=1) for of_unit in columns), np.zeros_like(program.limits))
    states = _nothing_decided(program, len(pruning.most))
    for unit, ending in _order(program, columns, bound):
        if len(states.objective) * len(columns[unit]) > _EXTENSIONS_PER_STATE * most_states:
            return None
        left = left - program.rows[:, columns[unit]].min(axis=1)
        states = _extend(program, states, unit, columns[unit], pruning, program.limits - left)
        states.open[ending] = -1
        if len(columns[unit]) > 1:
            states = _undominated(states)
        if len(states.objective) > most_states:
            return None
    if not len(states.objective):
        return None
    return states.picks[:, _sorted(states)[0]].astype(np.int64)


def _pruning(program: IntegerProgram, alive: np.ndarray, bound: Bound, incumbent: np.ndarray) -> _Pruning:
    """Bounds at the best prices and around them.

    A selection that has used more of a budget than the relaxation, in the units decided so far, has to save
    in the rest, where the price is then higher; at that price its bound is higher too.
    """
    alive = alive & (bound.excess <= distance(program, bound, incumbent))
    bounds = [bound, *(relax_at(program, alive, prices) for prices in _nearby(bound.prices))]
    most = np.array([distance(program, other, incumbent) for other in bounds])
    excess = np.array([other.excess for other in bounds])
    return _Pruning(alive & (excess <= most[:, None]).all(axis=0), excess, most)


def _nearby(prices: np.ndarray) -> list[np.ndarray]:
    """Vary the prices: each row's alone, against the others, and all together."""
    varied = []
    paid = np.flatnonzero(prices)
    for factor in _PRICE_FACTORS:
        for row in paid:
            varied.append(np.where(np.arange(len(prices)) == row, factor, 1.0) * prices)
            if len(paid) > 1:
                varied.append(np.where(np.arange(len(prices)) == row, factor, 1 / factor) * prices)
        if len(paid) > 1:
            varied.append(factor * prices)
    return varied


def _nothing_decided(program: IntegerProgram, bounds: int) -> _States:
    return _States(
        np.zeros((bounds, 1)),
        np.zeros(1, np.int64),
        np.zeros((len(program.limits), 1), np.int64),
        np.full((len(program.links), 1), -1, np.int64),
        np.full((len(program.units), 1), -1, np.int32),
    )


def _order(program: IntegerProgram, columns: list[np.ndarray], bound: Bound) -> list[tuple[int, list[int]]]:
    """Order the units for deciding them; with the links that end at each.

    First those that the relaxation splits between choices: all of the distance to the optimum comes
    from them, and with them decided the bound of every state is nearly exact. Then those that move
    the budgets most: the rest of a budget is then nearly divisible at will. Linked units stand together,
    so that few links are open at a time.
    """
    spent = bound.prices @ program.rows
    split = np.bincount(
        program.unit_of[(bound.shares > 1e-6) & (bound.shares < 1 - 1e-6)], minlength=len(columns)
    )
    size = [
        float(np.ptp(spent[of_unit])) if split[unit] == 0 else np.inf for unit, of_unit in enumerate(columns)
    ]
    order: list[int] = []
    for unit in sorted(range(len(size)), key=lambda unit: -size[unit]):
        waiting = [unit]
        while waiting:
            at = waiting.pop(0)
            if at not in order:
                order.append(at)
                tied = {other for link in program.links_of(at) for other in link.units}
                waiting[:0] = sorted(tied, key=lambda other: (-size[other], other))
    last = [max(link.units, key=order.index) for link in program.links]
    return [(unit, [index for index, end in enumerate(last) if end == unit]) for unit in order]


def _extend(
    program: IntegerProgram,
    states: _States,
    unit: int,
    columns: np.ndarray,
    pruning: _Pruning,
    room: np.ndarray,
) -> _States:
    """Extend every state by every choice of a unit that agrees with open links, budgets and bounds.

    Args:
        room: int64 ``[rows]``, the part of every row's limit that may be used so far.
    """
    count = len(states.objective)
    old, new = np.repeat(np.arange(count), len(columns)), np.tile(columns, count)
    mine = [index for index, link in enumerate(program.links) if unit in link.units]
    for index in mine:
        value = states.open[index][old]
        agrees = (value < 0) | (value == program.links[index].value_of[new])
        old, new = old[agrees], new[agrees]
    for row, most in zip(range(len(room)), room):
        fits = states.rows[row][old] + program.rows[row][new] <= most
        old, new = old[fits], new[fits]
    for excess, of_variable, most in zip(states.excess, pruning.excess, pruning.most):
        near = excess[old] + of_variable[new] <= most
        old, new = old[near], new[near]
    grown = states.take(old)
    grown.excess += pruning.excess[:, new]
    grown.objective += program.objective[new]
    grown.rows += program.rows[:, new]
    grown.picks[unit] = new
    for index in mine:
        grown.open[index] = program.links[index].value_of[new]
    return grown


def _sorted(states: _States) -> np.ndarray:
    """Order by objective, then by the rows, then by the picks of the first unit, and so on."""
    keys = [*states.rows[::-1], states.objective]
    order = np.lexsort(keys)
    same = np.all([key[order[1:]] == key[order[:-1]] for key in keys], axis=0)
    return np.lexsort([*states.picks[::-1], *keys]) if same.any() else order


def _undominated(states: _States) -> _States:
    """Drop states that another one, with the same links open, beats in objective, rows and tie-break.

    Sorted by objective, a state can only be beaten by an earlier one.
    """
    order = _sorted(states)
    signature = np.zeros(len(order), dtype=np.int64)
    for value in states.open:
        signature = signature * (int(value.max(initial=0)) + 2) + value + 1
        signature = np.unique(signature, return_inverse=True)[1].astype(np.int64)
    kept = np.zeros(len(order), dtype=bool)
    for number in np.unique(signature):
        same = order[signature[order] == number]
        kept[same] = front(states.rows[:, same])
    return states.take(np.flatnonzero(kept))
