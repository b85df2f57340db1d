"""The only use of HiGHS: programs are scaled for it, solved silently and repeatably, and answers checked."""

from dataclasses import dataclass

import highspy
import numpy as np

from dybitq.allocation.program import IntegerProgram
from dybitq.errors import UnsupportedError

SPAN = 4096.0
"""Largest coefficient of the objective and of every row after scaling. HiGHS decides to 1e-9, so it
sees differences of 2.4e-13 of the largest one."""

_TOLERANCE = 1e-9
_MOST_REJECTED = 100
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Equalities:
    """Sparse rows of 1 and -1 that sum to 0 over a selection that respects the links.

    Attributes:
        count: number of rows.
        row, column, value: int64, int64 and float64 ``[entries]``, sorted by row.
    """

    count: int
    row: np.ndarray
    column: np.ndarray
    value: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaled:
    """A program in float64, made for the solver: per unit the least coefficient is 0, the largest is SPAN.

    ``objective = (program.objective - base) * factor``, the same for rows and limits.
    """

    columns: np.ndarray  # int64, variables of the program that are left
    unit_of: np.ndarray  # int64, unit of every column
    objective: np.ndarray
    objective_factor: float
    objective_base: int
    rows: np.ndarray
    row_factors: np.ndarray
    limits: np.ndarray
    equalities: Equalities


def scale(
    program: IntegerProgram,
    alive: np.ndarray,
    objective: np.ndarray | None = None,
    *,
    tightened: bool = False,
) -> Scaled:
    """Shift and scale a program, restricted to the variables that are ``alive``.

    Args:
        objective: int64 ``[variables]`` to minimise instead of the program's own.
        tightened: with :func:`_tightened` rows, for whole numbers only.
    """
    columns = np.flatnonzero(alive)
    unit_of = program.unit_of[columns]
    shifted, base, factor = _shift(
        (program.objective if objective is None else objective)[columns], unit_of, len(program.units)
    )
    rows, bases, factors = [], [], []
    for row, limit in zip(program.rows, program.limits):
        used = _tightened(row[columns], unit_of, int(limit)) if tightened else row[columns]
        values, least, row_factor = _shift(used, unit_of, len(program.units))
        rows.append(values)
        bases.append(least)
        factors.append(row_factor)
    limits = np.array(
        [float(int(limit) - least) * by for limit, least, by in zip(program.limits, bases, factors)]
    )
    return Scaled(
        columns=columns,
        unit_of=unit_of,
        objective=shifted,
        objective_factor=factor,
        objective_base=base,
        rows=np.array(rows).reshape(len(rows), len(columns)),
        row_factors=np.array(factors),
        limits=limits,
        equalities=_equalities(program, columns, unit_of),
    )


def _tightened(row: np.ndarray, unit_of: np.ndarray, limit: int) -> np.ndarray:
    """Raise entries of a row that are smaller than needed, so that the row spans fewer digits.

    A choice that keeps the limit whatever all others are need not use less than leaves them room for that:
    the same selections keep the limit.
    """
    most = np.full(int(unit_of.max()) + 1, np.iinfo(np.int64).min)
    np.maximum.at(most, unit_of, row)
    room = limit - (sum(map(int, most)) - most)
    return np.maximum(row, np.minimum(room, most)[unit_of])


def _shift(values: np.ndarray, unit_of: np.ndarray, units: int) -> tuple[np.ndarray, int, float]:
    least = np.full(units, np.iinfo(np.int64).max)
    np.minimum.at(least, unit_of, values)
    shifted = values - least[unit_of]
    factor = SPAN / float(shifted.max()) if shifted.size and shifted.max() > 0 else 1.0
    return shifted * factor, sum(map(int, least)), factor


def _equalities(program: IntegerProgram, columns: np.ndarray, unit_of: np.ndarray) -> Equalities:
    """One row per link, unit but the first, and value: chosen there as often as in the first unit."""
    count = 0
    row, column, value = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
    for link in program.links:
        number = link.value_of[columns]
        values = int(number.max(initial=-1)) + 1
        first = np.flatnonzero(unit_of == link.units[0])
        for unit in link.units[1:]:
            other = np.flatnonzero(unit_of == unit)
            both = np.concatenate([first, other])
            order = np.argsort(number[both], kind="stable")
            row.append(count + number[both][order])
            column.append(both[order])
            value.append(np.where(order < len(first), -1.0, 1.0))
            count += values
    return Equalities(
        count=count, row=np.concatenate(row), column=np.concatenate(column), value=np.concatenate(value)
    )


def _model(scaled: Scaled, *, integer: bool) -> highspy.HighsLp:
    """Build the program for HiGHS: one-hot rows, then budget rows, then link rows."""
    units, variables = int(scaled.unit_of.max()) + 1, len(scaled.columns)
    budgets, links = len(scaled.limits), scaled.equalities
    at, of = np.nonzero(scaled.rows)
    row = np.concatenate([scaled.unit_of, units + at, units + budgets + links.row])
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = variables, units + budgets + links.count
    lp.col_cost_ = scaled.objective
    lp.col_lower_, lp.col_upper_ = np.zeros(variables), np.ones(variables)
    unlimited = np.full(budgets, -highspy.kHighsInf)
    lp.row_lower_ = np.concatenate([np.ones(units), unlimited, np.zeros(links.count)])
    lp.row_upper_ = np.concatenate([np.ones(units), scaled.limits, np.zeros(links.count)])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.searchsorted(row, np.arange(lp.num_row_ + 1)).astype(np.int32)
    lp.a_matrix_.index_ = np.concatenate([np.arange(variables), of, links.column]).astype(np.int32)
    lp.a_matrix_.value_ = np.concatenate([np.ones(variables), scaled.rows[at, of], links.value])
    if integer:
        lp.integrality_ = [highspy.HighsVarType.kInteger] * variables
    return lp


class _Silent(highspy.Highs):
    """A solver that prints nothing: from 1.16 on the constructor already does, when it enables callbacks."""

    def enableCallbacks(self) -> None:
        """Do nothing; the constructor calls this."""
        self.setOptionValue("output_flag", False)
        super().enableCallbacks()


def _solver(lp: highspy.HighsLp) -> highspy.Highs:
    """Make a silent, single-threaded solver that stops only at the optimum."""
    highs = _Silent()
    options = {
        "output_flag": False,
        "threads": 1,
        "random_seed": 0,
        "mip_rel_gap": 0.0,
        "mip_abs_gap": 0.0,
        "mip_feasibility_tolerance": _TOLERANCE,
        "primal_feasibility_tolerance": _TOLERANCE,
        "dual_feasibility_tolerance": _TOLERANCE,
        "small_matrix_value": 1e-12,
    }
    for name, value in options.items():
        highs.setOptionValue(name, value)
    highs.passModel(lp)
    return highs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RelaxedSolution:
    """Solution of a linear relaxation: values of the columns, and duals by HiGHS's sign convention."""

    values: np.ndarray
    budget_duals: np.ndarray  # at most 0
    link_duals: np.ndarray


def relaxed(scaled: Scaled) -> RelaxedSolution | None:
    """Solve the linear relaxation; None if it has no solution."""
    highs = _solver(_model(scaled, integer=False))
    if not _run(highs):
        return None
    solution = highs.getSolution()
    units = int(scaled.unit_of.max()) + 1
    duals = np.array(solution.row_dual)[units:]
    budgets = len(scaled.limits)
    return RelaxedSolution(
        values=np.array(solution.col_value), budget_duals=duals[:budgets], link_duals=duals[budgets:]
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Minimum:
    """Result of branch and bound: a selection, int64 ``[units]``, and the proven bound in quanta."""

    selection: np.ndarray
    bound: float


def minimise(
    program: IntegerProgram,
    alive: np.ndarray,
    objective: np.ndarray | None = None,
    *,
    relative_gap: float = 0.0,
    most_nodes: int | None = None,
) -> Minimum | None:
    """Minimise the objective over selections of the variables that are ``alive``, by branch and bound.

    HiGHS calls a limit kept when it is exceeded by its tolerance; such selections are cut off one by
    one until it names one that keeps every limit to the last quantum.

    Args:
        objective: int64 ``[variables]`` to minimise instead of the program's own.
        relative_gap: share of the objective (above the sum of every unit's least) at which to stop.
        most_nodes: nodes of the search tree after which to stop with what there is.

    Returns:
        None if no selection keeps all limits and links.

    Raises:
        UnsupportedError: the solver gave up.
    """
    if len(np.unique(program.unit_of[alive])) < len(program.units):
        return None
    scaled = scale(program, alive, objective, tightened=True)
    highs = _solver(_model(scaled, integer=True))
    highs.setOptionValue("mip_rel_gap", relative_gap)
    if most_nodes is not None:
        highs.setOptionValue("mip_max_nodes", most_nodes)
    for _ in range(_MOST_REJECTED):
        if not _run(highs):
            return None
        selection = _selection(scaled, np.array(highs.getSolution().col_value))
        if program.keeps_budgets(selection):
            return Minimum(selection=selection, bound=_bound(highs, scaled))
        taken = np.flatnonzero(np.isin(scaled.columns, selection)).astype(np.int32)
        highs.addRow(-highspy.kHighsInf, len(taken) - 1.0, len(taken), taken, np.ones(len(taken)))
    raise UnsupportedError(
        f"{_MOST_REJECTED} assignments in a row exceed a budget by less than a billionth of a cost; "
        "give budgets and costs in fewer digits"
    )


def _bound(highs: highspy.Highs, scaled: Scaled) -> float:
    """Return the bound that HiGHS has proven, in quanta; where it sees no gap, the selection's objective.

    Its variables are whole numbers to its tolerance only, and so is the objective that it reports.
    """
    info = highs.getInfo()
    gap = max(float(info.objective_function_value) - float(info.mip_dual_bound), 0.0)
    values = np.rint(highs.getSolution().col_value)
    return scaled.objective_base + (float(scaled.objective @ values) - gap) / scaled.objective_factor


def _selection(scaled: Scaled, values: np.ndarray) -> np.ndarray:
    """Take the largest variable of every unit."""
    order = np.lexsort([-values, scaled.unit_of])
    first = np.unique(scaled.unit_of[order], return_index=True)[1]
    return np.asarray(scaled.columns[order[first]])


def _run(highs: highspy.Highs) -> bool:
    """Solve; True if there is a solution. HiGHS works in a thread of its own, so that Ctrl-C is handled."""
    highs.HandleUserInterrupt = True
    highs.startSolve()
    try:
        while not highs.wait(_POLL_SECONDS)[0]:
            pass
    except KeyboardInterrupt:
        highs.cancelSolve()
        highs.wait()
        raise
    status = highs.getModelStatus()
    if status in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible):
        return False
    solved = highs.getInfo().primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    if solved and status in (highspy.HighsModelStatus.kOptimal, highspy.HighsModelStatus.kSolutionLimit):
        return True
    raise UnsupportedError(f"the solver stopped without an answer: {highs.modelStatusToString(status)}")
