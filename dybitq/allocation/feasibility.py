"""Diagnosis where no assignment keeps all budgets: the reachable values, and the budgets that collide."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dybitq.allocation.program import IntegerProgram, Row, affordable
from dybitq.allocation.solver import minimise
from dybitq.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Closest values to one limit that an assignment can reach, in the unit of the cost.

    Attributes:
        row: the limit.
        alone: closest value when the other budgets are ignored.
        with_others: closest value while all other budgets are kept; None where those cannot be kept.
        binds: True where the limit is out of reach, or, if none is, where it belongs to a smallest set of
            limits that exclude each other.
    """

    row: Row
    alone: float
    with_others: float | None
    binds: bool

    @property
    def out_of_reach(self) -> bool:
        """Tell if the limit cannot be kept even when it is the only one."""
        limit = self.row.limit
        return self.alone > limit if self.row.side == "maximum" else self.alone < limit


class InfeasibleError(ConfigError):
    """No assignment keeps all budgets.

    Attributes:
        reaches: one entry per limit, in the order of the budgets.
    """

    def __init__(self, reaches: Sequence[Reach], advice: str = "") -> None:
        self.reaches = tuple(reaches)
        super().__init__(_message(self.reaches) + (f"\n  {advice}" if advice else ""))


def diagnose(program: IntegerProgram) -> InfeasibleError | None:
    """Find out why a program has no selection; None if it has one."""
    everything = range(len(program.limits))
    if _feasible(program, everything):
        return None
    reaches = []
    for row in everything:
        alone = _closest(program, row, [])
        if alone is None:
            raise ConfigError("the ties exclude each other: no assignment respects all of them; change one")
        others = _closest(program, row, [other for other in everything if other != row])
        fact = program.row_facts[row]
        reaches.append(Reach(row=fact, alone=alone, with_others=others, binds=False))
    binding = {row for row, reach in enumerate(reaches) if reach.out_of_reach} or _conflict(program)
    return InfeasibleError([replace(reach, binds=row in binding) for row, reach in enumerate(reaches)])


def _conflict(program: IntegerProgram) -> set[int]:
    """Find a smallest set of rows that exclude each other: none of them can be left out."""
    conflict = list(range(len(program.limits)))
    for row in tuple(conflict):
        fewer = [other for other in conflict if other != row]
        if not _feasible(program, fewer):
            conflict = fewer
    return set(conflict)


def _feasible(program: IntegerProgram, rows: Sequence[int]) -> bool:
    return _least(program.restricted(rows), np.zeros_like(program.objective)) is not None


def _closest(program: IntegerProgram, row: int, others: Sequence[int]) -> float | None:
    """Least value of a maximum's cost, or largest of a minimum's, while the other rows are kept."""
    quanta = _least(program.restricted(others), program.rows[row])
    if quanta is None:
        return None
    value = float(np.ldexp(float(quanta), -program.row_exponents[row]))
    return -value if program.row_facts[row].side == "minimum" else value


def _least(program: IntegerProgram, objective: np.ndarray) -> int | None:
    solved = minimise(program, affordable(program), objective)
    return None if solved is None else int(objective[solved.selection].sum())


def _message(reaches: Sequence[Reach]) -> str:
    hopeless = [reach for reach in reaches if reach.out_of_reach]
    if hopeless:
        names = " and ".join(_bound(reach.row) for reach in hopeless)
        lines = [f"no plan can keep the budget {names}, even without other budgets"]
    else:
        names = " and ".join(_bound(reach.row) for reach in reaches if reach.binds)
        lines = [f"no plan can keep the budgets {names} at the same time"]
    for reach in reaches:
        extreme = "least" if reach.row.side == "maximum" else "most"
        line = f"{_bound(reach.row)}: the {extreme} reachable is {reach.alone:.6g}"
        if len(reaches) > 1 and not hopeless:
            others = "impossible" if reach.with_others is None else f"{reach.with_others:.6g}"
            line += f"; with the other budgets kept: {others}"
        lines.append(line + (" (binds)" if reach.binds else ""))
    return "\n  ".join(lines)


def _bound(row: Row) -> str:
    return f"{row.cost} {'<=' if row.side == 'maximum' else '>='} {row.limit:.6g}"
