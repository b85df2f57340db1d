"""What to say when no assignment keeps all budgets: what is reachable, and which budgets collide."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dybitq.errors import ConfigError
from dybitq.search.program import Program, Row
from dybitq.search.solver import minimise


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How close to one limit an assignment can come, in the unit of the cost.

    Attributes:
        row: the limit.
        alone: closest value when no other budget is asked for.
        with_others: closest value while all other budgets are kept; None where those cannot be kept.
        binds: whether the limit belongs to a smallest set of limits that exclude each other.
    """

    row: Row
    alone: float
    with_others: float | None
    binds: bool


class InfeasibleError(ConfigError):
    """No assignment keeps all budgets.

    Attributes:
        reaches: one entry per limit, in the order of the budgets.
    """

    def __init__(self, reaches: Sequence[Reach]) -> None:
        self.reaches = tuple(reaches)
        super().__init__(_message(self.reaches))


def diagnose(program: Program) -> InfeasibleError | None:
    """Why a program has no selection; None if it has one."""
    everything = range(len(program.limits))
    if _feasible(program, everything):
        return None
    conflict = list(everything)
    for row in everything:
        fewer = [other for other in conflict if other != row]
        if not _feasible(program, fewer):
            conflict = fewer
    reaches = []
    for row in everything:
        alone = _closest(program, row, [])
        others = _closest(program, row, [other for other in everything if other != row])
        if alone is not None:
            fact = program.row_facts[row]
            reaches.append(Reach(row=fact, alone=alone, with_others=others, binds=row in conflict))
    return InfeasibleError(reaches)


def _feasible(program: Program, rows: Sequence[int]) -> bool:
    return _least(program.restricted(rows), np.zeros_like(program.objective)) is not None


def _closest(program: Program, row: int, others: Sequence[int]) -> float | None:
    """Least value of a maximum's cost, or largest of a minimum's, while the other rows are kept."""
    quanta = _least(program.restricted(others), program.rows[row])
    if quanta is None:
        return None
    value = float(np.ldexp(float(quanta), -program.row_exponents[row]))
    return -value if program.row_facts[row].side == "minimum" else value


def _least(program: Program, objective: np.ndarray) -> int | None:
    solved = minimise(program, program.open_to_links(), objective)
    return None if solved is None else int(objective[solved.selection].sum())


def _message(reaches: Sequence[Reach]) -> str:
    lines = []
    hopeless = [reach for reach in reaches if reach.binds and _misses(reach.row, reach.alone)]
    if hopeless:
        lines.append("a budget is out of reach whatever is chosen:")
    else:
        names = " and ".join(_bound(reach.row) for reach in reaches if reach.binds)
        lines.append(f"the budgets {names} exclude each other:")
    for reach in reaches:
        line = f"{_bound(reach.row)}: closest reachable is {reach.alone:.6g}"
        if len(reaches) > 1 and reach.with_others is None:
            line += "; the other budgets cannot be kept even without this one"
        elif len(reaches) > 1 and reach.with_others is not None:
            line += f", or {reach.with_others:.6g} with the other budgets kept"
        lines.append(line + (" (binds)" if reach.binds else ""))
    return "\n  ".join(lines)


def _bound(row: Row) -> str:
    return f"{row.cost} {'<=' if row.side == 'maximum' else '>='} {row.limit:.6g}"


def _misses(row: Row, value: float) -> bool:
    return value > row.limit if row.side == "maximum" else value < row.limit
