"""An allocation problem compiled to integers: tied groups merged, budgets as rows, sums exact.

Objectives and costs become int64 counts of a quantum, a power of two chosen so that the sum over all
groups stays below 2**60. That is at least as fine as float64, sums do not depend on their order, and
whether a budget is kept is a comparison of integers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dybitq.errors import ConfigError
from dybitq.records.allocation import Budget, Problem, Tie, mistakes

LIMIT_TOLERANCE = 1e-12
"""Share of a limit by which a sum may exceed it: the possible rounding error of a sum of decimal numbers in
float64. The rounding of every number to a quantum is allowed for in addition."""

_SUM_BITS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One side of one budget: ``sum <= limit`` (maximum) or ``sum >= limit`` (minimum)."""

    cost: str
    side: str  # maximum | minimum
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Link:
    """Units that must agree on one part: ``value_of`` of their choices must be equal.

    Attributes:
        part: name of the part.
        units: indices of the units.
        value_of: int64 ``[variables]``, number of the value of every variable of those units; -1
            elsewhere, and where the value is not open to all of them.
    """

    part: str
    units: tuple[int, ...]
    value_of: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerProgram:
    """Minimise ``sum objective`` with ``sum rows[r] <= limits[r]``, one variable per unit, links equal.

    A unit is a group, or all groups of one tie. Variable ``start[u] + i`` is the i-th choice of unit
    ``u``, in the order in which its first group lists them. A selection is an int64 ``[units]`` array of
    variables.

    Attributes:
        units: names of the groups of every unit.
        labels: label of every variable.
        parts: parts of every variable as pairs of name and value.
        start: int64 ``[units + 1]``.
        objective: int64 ``[variables]``; the real value times ``2**objective_exponent``.
        rows: int64 ``[rows, variables]``, the real values times ``2**row_exponents[r]``, negated for a
            minimum.
        limits: int64 ``[rows]``, rounding tolerance included.
        row_facts: the budget of each row.
        links: ties on a part.
    """

    units: tuple[tuple[str, ...], ...]
    labels: tuple[str, ...]
    parts: tuple[tuple[tuple[str, str], ...], ...]
    start: np.ndarray
    objective: np.ndarray
    objective_exponent: int
    rows: np.ndarray
    row_exponents: tuple[int, ...]
    limits: np.ndarray
    row_facts: tuple[Row, ...]
    links: tuple[Link, ...]

    @property
    def unit_of(self) -> np.ndarray:
        """int64 ``[variables]``: the unit of every variable."""
        return np.repeat(np.arange(len(self.units)), np.diff(self.start))

    def links_of(self, unit: int) -> tuple[Link, ...]:
        """Return the links of a unit."""
        return tuple(link for link in self.links if unit in link.units)

    def variables(self, unit: int) -> range:
        """Variables of a unit."""
        return range(int(self.start[unit]), int(self.start[unit + 1]))

    def open_to_links(self) -> np.ndarray:
        """Bool ``[variables]``: choices whose linked values all units of the link have."""
        allowed = np.ones(len(self.labels), dtype=bool)
        for link in self.links:
            allowed &= ~np.isin(self.unit_of, link.units) | (link.value_of >= 0)
        return allowed

    def restricted(self, rows: Sequence[int]) -> "IntegerProgram":
        """Keep only some of the rows."""
        index = np.array(rows, dtype=np.int64)
        return replace(
            self,
            rows=self.rows[index],
            limits=self.limits[index],
            row_exponents=tuple(self.row_exponents[row] for row in rows),
            row_facts=tuple(self.row_facts[row] for row in rows),
        )

    def excess(self, selection: np.ndarray) -> np.ndarray:
        """Compute the excess of a selection over every limit, int64 ``[rows]``; negative is room left."""
        return np.asarray(self.rows[:, selection].sum(axis=1) - self.limits)

    def selection_of(self, labels: Mapping[str, str]) -> np.ndarray | None:
        """Convert labels by name of group to a selection; None unless it keeps budgets and ties."""
        picks = []
        for unit, names in enumerate(self.units):
            wanted = {labels.get(name) for name in names}
            matching = [v for v in self.variables(unit) if {self.labels[v]} == wanted]
            if not matching:
                return None
            picks.append(matching[0])
        selection = np.array(picks, dtype=np.int64)
        values = [link.value_of[selection[list(link.units)]] for link in self.links]
        agrees = all((value == value[0]).all() and value[0] >= 0 for value in values)
        return selection if agrees and self.keeps_budgets(selection) else None

    def keeps_budgets(self, selection: np.ndarray) -> bool:
        """Tell if every limit is kept, exactly."""
        return not (self.excess(selection) > 0).any()


def compile_problem(problem: Problem) -> IntegerProgram:
    """Merge tied groups, number the choices, turn numbers into quanta.

    Raises:
        ConfigError: the problem has mistakes (all are listed), or ties leave a group no choice.
    """
    faults = mistakes(problem)
    if faults:
        raise ConfigError("\n  ".join(["the problem has these mistakes:", *faults]))
    members = _merge([group.name for group in problem.groups], (t for t in problem.ties if t.part is None))
    by_name = {group.name: group for group in problem.groups}
    start = np.cumsum([0, *(len(by_name[names[0]].choices) for names in members)])
    labels = [c.label for names in members for c in by_name[names[0]].choices]
    parts = [tuple(c.parts.items()) for names in members for c in by_name[names[0]].choices]
    budgeted = [budget.cost for budget in problem.budgets]
    objective = np.zeros(len(labels), dtype=object)
    costs = np.zeros((len(budgeted), len(labels)), dtype=object)
    objective_exponent = _exponent([c.objective for group in problem.groups for c in group.choices])
    exponents = [_exponent([c.costs[k] for g in problem.groups for c in g.choices]) for k in budgeted]
    for unit, names in enumerate(members):
        for name in names:
            by_label = {choice.label: choice for choice in by_name[name].choices}
            for variable in range(start[unit], start[unit + 1]):
                choice = by_label[labels[variable]]
                objective[variable] += _quanta(choice.objective, objective_exponent)
                for index, cost in enumerate(budgeted):
                    costs[index, variable] += _quanta(choice.costs[cost], exponents[index])
    rows = _rows(problem.budgets, costs.astype(np.int64), exponents, len(problem.groups))
    program = IntegerProgram(
        units=members,
        labels=tuple(labels),
        parts=tuple(parts),
        start=start,
        objective=objective.astype(np.int64),
        objective_exponent=objective_exponent,
        rows=np.array([row for _, row, _, _ in rows], dtype=np.int64).reshape(len(rows), len(labels)),
        row_exponents=tuple(exponent for *_, exponent in rows),
        limits=np.array([limit for _, _, limit, _ in rows], dtype=np.int64),
        row_facts=tuple(fact for fact, *_ in rows),
        links=_links(problem.ties, members, start, parts),
    )
    _check_links(program)
    return program


def affordable(program: IntegerProgram) -> np.ndarray:
    """Mark choices, bool ``[variables]``, open to all units of a link, that do not alone break a limit."""
    alive = program.open_to_links()
    least = np.array(
        [
            [program.rows[r][program.variables(u)].min() for u in range(len(program.units))]
            for r in range(len(program.limits))
        ]
    ).reshape(len(program.limits), len(program.units))
    room = program.limits - least.sum(axis=1)
    return np.asarray(alive & (program.rows - least[:, program.unit_of] <= room[:, None]).all(axis=0))


def survivors(program: IntegerProgram) -> np.ndarray:
    """Mark choices, bool ``[variables]``, that an optimal selection may take.

    Besides those that are not affordable, a choice is left out if the unit has another one with the same
    linked values that is no worse in the objective and in every row (of equal ones the first listed stays).
    """
    alive = affordable(program)
    for unit in range(len(program.units)):
        span = program.variables(unit)
        signature = [link.value_of[span] for link in program.links_of(unit)]
        facts = np.stack([program.objective[span], *program.rows[:, span]])
        alive[span] &= ~_dominated(facts, np.array(signature).reshape(len(signature), len(span)), alive[span])
    return alive


def _dominated(facts: np.ndarray, signature: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Mark columns of ``facts``, bool ``[choices]``, that an alive column with the same signature beats."""
    no_worse = (facts[:, :, None] <= facts[:, None, :]).all(axis=0)
    same = (signature[:, :, None] == signature[:, None, :]).all(axis=0)
    equal = no_worse & no_worse.T
    first = np.arange(facts.shape[1])[:, None] < np.arange(facts.shape[1])[None, :]
    return np.asarray((same & no_worse & (~equal | first) & alive[:, None]).any(axis=0))


def _merge(names: list[str], ties: Iterable[Tie]) -> tuple[tuple[str, ...], ...]:
    """Names in sets closed under the ties, sets and members in order of first appearance."""
    leader = {name: name for name in names}
    for tie in ties:
        old = {leader[name] for name in tie.groups}
        new = min(old, key=names.index)
        leader = {name: new if at in old else at for name, at in leader.items()}
    sets: dict[str, list[str]] = {}
    for name in names:
        sets.setdefault(leader[name], []).append(name)
    return tuple(tuple(members) for members in sets.values())


def _exponent(values: list[float]) -> int:
    """Choose the power of two that brings twice the sum of magnitudes below 2**60."""
    total = float(np.sum(np.abs(values)))
    return _SUM_BITS - 1 - int(np.frexp(total)[1]) if total > 0 else 0


def _quanta(value: float, exponent: int) -> int:
    return int(np.rint(np.ldexp(value, exponent)))


def _rows(
    budgets: tuple[Budget, ...], costs: np.ndarray, exponents: list[int], groups: int
) -> list[tuple[Row, np.ndarray, int, int]]:
    """Compile every given bound: its budget, its row, its limit in quanta, and the exponent of both."""
    rows = []
    for budget, quanta, exponent in zip(budgets, costs, exponents):
        for side, sign, limit in (("maximum", 1, budget.maximum), ("minimum", -1, budget.minimum)):
            if limit is None:
                continue
            # A limit far above anything reachable would not fit an int64, and binds nothing.
            with np.errstate(over="ignore"):
                scaled = min(float(np.ldexp(limit, exponent)), 2.0 ** (_SUM_BITS + 1))
            slack = int(scaled * LIMIT_TOLERANCE) + groups // 2 + 1
            bound = sign * int(np.rint(scaled)) + slack
            rows.append((Row(cost=budget.cost, side=side, limit=limit), sign * quanta, bound, exponent))
    return rows


def _links(
    ties: tuple[Tie, ...],
    members: tuple[tuple[str, ...], ...],
    start: np.ndarray,
    parts: list[tuple[tuple[str, str], ...]],
) -> tuple[Link, ...]:
    unit_of = {name: unit for unit, names in enumerate(members) for name in names}
    links = []
    for part in dict.fromkeys(tie.part for tie in ties if tie.part is not None):
        tied = [tie for tie in ties if tie.part == part]
        names = list(dict.fromkeys(name for names in members for name in names))
        for together in _merge(names, tied):
            units = tuple(dict.fromkeys(unit_of[name] for name in together))
            if len(units) > 1:
                links.append(Link(part=part, units=units, value_of=_values(part, units, start, parts)))
    return tuple(links)


def _values(
    part: str, units: tuple[int, ...], start: np.ndarray, parts: list[tuple[tuple[str, str], ...]]
) -> np.ndarray:
    """Numbers for the values that all units have, in order of appearance in the first."""
    texts = {u: [dict(parts[v])[part] for v in range(start[u], start[u + 1])] for u in units}
    common = [t for t in dict.fromkeys(texts[units[0]]) if all(t in texts[u] for u in units)]
    value_of = np.full(start[-1], -1, dtype=np.int64)
    for unit in units:
        numbers = [common.index(text) if text in common else -1 for text in texts[unit]]
        value_of[start[unit] : start[unit + 1]] = numbers
    return value_of


def _check_links(program: IntegerProgram) -> None:
    for unit, names in enumerate(program.units):
        span = program.variables(unit)
        linked = [link.value_of[span] >= 0 for link in program.links_of(unit)]
        if linked and not np.all(linked, axis=0).any():
            raise ConfigError(
                f"the ties leave group {names[0]!r} no choice that all groups tied to it also have; add a "
                "common one"
            )
