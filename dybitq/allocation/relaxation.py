"""The linear relaxation of a program, and the bound and shadow prices it proves.

HiGHS solves the relaxation in scaled numbers; its prices are then put into the Lagrangian, which is a
lower bound for *any* prices, so the bound does not lean on the solver's tolerances.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dybitq.allocation.program import IntegerProgram, survivors
from dybitq.allocation.solver import SPAN, Scaled, relaxed, scale

_ROUNDING = 2.0**-44


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bound:
    """Bound that the relaxation proves.

    Attributes:
        value: no selection has a smaller objective, in quanta of the program's objective.
        prices: float64 ``[rows]``, at least 0: quanta of objective that one more quantum of a limit buys.
        excess: float64 ``[variables]``, at least 0: the rise of the bound when a variable is taken,
            in quanta; infinite for variables left out.
        shares: the relaxed solution, float64 ``[variables]``; sums to 1 over every unit.
        rounding: bound on the rounding errors of value and excesses in float64, in quanta.
    """

    value: float
    prices: np.ndarray
    excess: np.ndarray
    shares: np.ndarray
    rounding: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Root:
    """Start of every strategy: the choices that may be optimal, and the relaxation over them.

    Attributes:
        alive: bool ``[variables]``, see :func:`dybitq.allocation.program.survivors`.
        bound: of the relaxation.
        known: a selection that keeps budgets and links, int64 ``[units]``, if one is known.
    """

    alive: np.ndarray
    bound: Bound
    known: np.ndarray | None = None


def root_of(program: IntegerProgram, labels: Mapping[str, str] | None = None) -> Root | None:
    """Relax a program; None if its relaxation has no solution.

    Args:
        program: to be solved.
        labels: choices by name of group, which may be an assignment that keeps everything.
    """
    alive = survivors(program)
    bound = relax(program, alive)
    if bound is None:
        return None
    return Root(alive=alive, bound=bound, known=None if labels is None else program.selection_of(labels))


def relax(program: IntegerProgram, alive: np.ndarray) -> Bound | None:
    """Solve the linear relaxation over the variables that are ``alive``; None if it has no solution."""
    scaled = scale(program, alive)
    if len(np.unique(scaled.unit_of)) < len(program.units):
        return None
    solution = relaxed(scaled)
    if solution is None:
        return None
    shares = np.zeros(len(program.labels))
    shares[scaled.columns] = solution.values
    return _bound(program, scaled, np.maximum(-solution.budget_duals, 0.0), solution.link_duals, shares)


def relax_at(program: IntegerProgram, alive: np.ndarray, prices: np.ndarray) -> Bound:
    """Compute the bound at given prices (quanta of objective per quantum of a row), not the best ones.

    It is weaker as a whole, and stronger for selections that spend the budgets in another way.
    """
    scaled = scale(program, alive)
    scaled_prices = prices * scaled.objective_factor / scaled.row_factors
    duals = np.zeros(scaled.equalities.count)
    shares = np.zeros(len(program.labels))
    if scaled.equalities.count:
        priced = scaled.objective + scaled_prices @ scaled.rows
        solution = relaxed(replace(scaled, objective=priced, rows=scaled.rows[:0], limits=scaled.limits[:0]))
        if solution is not None:
            duals = solution.link_duals
    return _bound(program, scaled, scaled_prices, duals, shares)


def _bound(
    program: IntegerProgram, scaled: Scaled, prices: np.ndarray, link_duals: np.ndarray, shares: np.ndarray
) -> Bound:
    reduced = scaled.objective + prices @ scaled.rows
    links = scaled.equalities
    np.subtract.at(reduced, links.column, link_duals[links.row] * links.value)
    least = np.full(len(program.units), np.inf)
    np.minimum.at(least, scaled.unit_of, reduced)
    value = float(least.sum() - prices @ scaled.limits)
    excess = np.full(len(program.labels), np.inf)
    excess[scaled.columns] = (reduced - least[scaled.unit_of]) / scaled.objective_factor
    magnitude = SPAN * len(program.units) * (1 + prices.sum()) + np.abs(prices * scaled.limits).sum()
    magnitude += np.abs(link_duals).sum()
    whole = scaled.objective_base + value / scaled.objective_factor
    return Bound(
        value=whole,
        prices=prices * scaled.row_factors / scaled.objective_factor,
        excess=excess,
        shares=shares,
        rounding=_ROUNDING * float(magnitude) / scaled.objective_factor + 4 * float(np.spacing(abs(whole))),
    )


def distance(program: IntegerProgram, bound: Bound, selection: np.ndarray) -> float:
    """Measure from the bound to the objective of a selection that keeps the budgets, in quanta, rounded up.

    A selection whose excesses add up to more cannot be as good.
    """
    return int(program.objective[selection].sum()) - bound.value + bound.rounding + 1
