"""The result of ``search``, as text and as data."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dybitq.allocation.budgets import COSTS, Limit, sqnr_of
from dybitq.allocation.explain import Reason
from dybitq.allocation.iterate import FoundPlan
from dybitq.allocation.solution import BudgetUse
from dybitq.records.plan import Plan
from dybitq.report.allocate import budget_document, reason_document, reasons_text
from dybitq.report.page import Page, Shown, Table, spaced

_SHOWN: Mapping[str, tuple[float, str]] = {
    "latency": (1e3, "ms"),
    "cycles": (1.0, "cycles"),
    "energy": (1e6, "uJ"),
    "size": (1e3, "kB"),
    "memory": (1e3, "kB"),
    "dram": (1e3, "kB"),
    "bops": (1e9, "G"),
}
"""Unit in which each cost is printed, and its size in the unit of the cost."""


def in_units(cost: str, value: float) -> str:
    """Print a cost with its unit."""
    per, unit = _SHOWN[cost]
    return f"{value / per:.4g} {unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Measured drop of a plan: points of the first metric of the task, and their standard error."""

    metric: str
    drop: float
    error: float | None
    evaluations: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlanFound:
    """One plan, the file it was written to if any, and what was found out about it."""

    path: Path | None
    found: FoundPlan
    reasons: tuple[Reason, ...] = ()
    measured: Measured | None = None

    @property
    def plan(self) -> Plan:
        """Plan for ``quantize``."""
        return self.found.plan


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchResult(Shown):
    """Result of ``search``: plans, and the budgets that they keep.

    Attributes:
        hardware: the machine's name.
        sensitivity, strategy: how it was searched.
        pareto: number of plans of a front that was asked for; None for one plan.
        minimise: cost that was asked to be minimised, None if nothing was said.
        limits: the budgets.
        baseline: costs of the network at uniform int8, by name.
        relative_error: whether the predicted error is that of the output, so that it has an SQNR.
        minimised: ``error`` or the name of a cost.
        plans: the plan, or the front from cheap to accurate.
    """

    hardware: str
    sensitivity: str
    strategy: str
    pareto: int | None
    minimise: str | None
    limits: tuple[Limit, ...]
    baseline: Mapping[str, float]
    relative_error: bool
    minimised: str
    plans: tuple[PlanFound, ...]

    @property
    def plan(self) -> Plan:
        """Plan that was found; of a front the cheapest one."""
        return self.plans[0].plan

    def page(self) -> Page:
        """Print one plan in full, or a table of a front."""
        return _page(self)

    def document(self) -> dict[str, Any]:
        """Convert the result to one JSON document."""
        return {
            "hardware": self.hardware,
            "sensitivity": self.sensitivity,
            "strategy": self.strategy,
            "minimised": self.minimised,
            "baseline": dict(self.baseline),
            "budgets": [_limit_document(limit, self) for limit in self.limits],
            "plans": [_plan_document(one, self) for one in self.plans],
        }


# --------------------------------------------------------------------------- data


def _limit_document(limit: Limit, result: SearchResult) -> dict[str, Any]:
    absolute = limit.absolute(result.baseline) if limit.name in COSTS else limit.value
    return {
        "name": limit.name,
        "cost": limit.cost,
        "ratio": limit.value if limit.ratio else None,
        "limit": absolute,
    }


def _plan_document(one: PlanFound, result: SearchResult) -> dict[str, Any]:
    found, solution = one.found, one.found.solution
    document: dict[str, Any] = {
        "path": None if one.path is None else str(one.path),
        "predicted_error": found.error,
        "predicted_sqnr_db": sqnr_of(found.error) if result.relative_error else None,
        "costs": dict(found.costs),
        "ratios": {
            name: value / result.baseline[name]
            for name, value in found.costs.items()
            if result.baseline[name]
        },
        "choices": {name: {"weights": w, "activations": a} for name, (w, a) in found.assignment.items()},
        "certificate": {
            "status": solution.status,
            "objective": solution.objective,
            "bound": solution.bound,
            "gap": solution.gap,
            "relative_gap": solution.relative_gap,
            "proof": solution.proof,
            "budgets": [budget_document(use) for use in solution.budgets],
            "rounds": found.rounds,
        },
    }
    if one.measured is not None:
        document["measured"] = {
            "metric": one.measured.metric,
            "drop": one.measured.drop,
            "drop_error": one.measured.error,
            "evaluations": one.measured.evaluations,
        }
    if one.reasons:
        document["reasons"] = [reason_document(reason) for reason in one.reasons]
    return document


# --------------------------------------------------------------------------- text


def _page(result: SearchResult) -> Page:
    if result.pareto is not None:
        return _front(result)
    one = result.plans[0]
    reasons = reasons_text(one.reasons)
    return spaced(
        [_summary(one, result), [_costs(one, result)], [_layers(one)], [reasons] if reasons else []]
    )


def _summary(one: PlanFound, result: SearchResult) -> Page:
    found, solution = one.found, one.found.solution
    what = (
        f"predicted SQNR {sqnr_of(found.error):.1f} dB"
        if result.relative_error
        else f"objective {found.error:.4g}"
    )
    first = f"{one.path or 'plan in memory'}: {what}, {solution.status} by {solution.strategy}"
    if solution.gap:
        first += f", at most {solution.relative_gap:.2%} above the best possible"
    lines = [first, f"on {result.hardware}, sensitivity {result.sensitivity}"]
    if one.measured is not None:
        drop = f"{one.measured.drop:.2f}" + (f" ± {one.measured.error:.2f}" if one.measured.error else "")
        lines.append(
            f"measured drop {drop} points of {one.measured.metric}, {one.measured.evaluations} plans measured"
        )
    return lines


def _costs(one: PlanFound, result: SearchResult) -> Table:
    limits = {limit.cost: limit for limit in result.limits if limit.name in COSTS}
    prices = {use.cost.partition("@")[0]: use for use in one.found.solution.budgets if use.price}
    rows: list[tuple[str, ...]] = []
    for name, value in one.found.costs.items():
        if name == "cycles" and name not in limits:
            continue
        limit, base = limits.get(name), result.baseline[name]
        rows.append(
            (
                name,
                in_units(name, value),
                f"{value / base:.3f}" if base else "",
                "" if limit is None else in_units(name, limit.absolute(result.baseline)),
                "" if limit is None else _binds(prices.get(name), limit.absolute(result.baseline)),
            )
        )
    return Table(header=("cost", "plan", "of int8", "limit", ""), rows=rows, left=1)


def _binds(use: BudgetUse | None, limit: float) -> str:
    """Print the gain by one percent more of a budget, from its shadow price."""
    return (
        "does not bind"
        if use is None
        else f"binds: 1% more lowers the objective by {use.price * limit / 100:.3g}"
    )


def _layers(one: PlanFound) -> Table:
    counts = Counter(one.found.assignment.values())
    rows: list[tuple[str, ...]] = [(w, a, str(count)) for (w, a), count in counts.most_common()]
    return Table(header=("weights", "activations", "layers"), rows=rows, left=2)


def _front(result: SearchResult) -> Page:
    names = [name for name in ("latency", "size", "energy", "dram", "memory") if name in result.baseline]
    head = ("plan", "SQNR dB" if result.relative_error else "objective", *names, "latency of int8")
    rows = []
    for number, one in enumerate(result.plans, start=1):
        error = one.found.error
        shown = f"{sqnr_of(error):.2f}" if result.relative_error else f"{error:.4g}"
        costs = [in_units(name, one.found.costs[name]) for name in names]
        ratio = one.found.costs["latency"] / result.baseline["latency"]
        rows.append((str(one.path or number), shown, *costs, f"{ratio:.3f}"))
    return [f"{len(rows)} plans on {result.hardware}", "", Table(header=head, rows=rows, left=1)]
