"""The result of ``search`` as text and as data."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from dybitq.api.search import PlanFound, SearchResult
from dybitq.report.allocate import budget_document, reason_document, reasons_text
from dybitq.report.simulate import table
from dybitq.search.budgets import COSTS, Limit, sqnr_of
from dybitq.search.solution import BudgetUse

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


# --------------------------------------------------------------------------- data


def search_document(result: SearchResult) -> dict[str, Any]:
    """Convert a result to one JSON document."""
    return {
        "hardware": result.hardware,
        "sensitivity": result.request.sensitivity,
        "strategy": result.request.strategy,
        "minimised": result.minimised,
        "baseline": dict(result.baseline),
        "budgets": [_limit_document(limit, result) for limit in result.limits],
        "plans": [_plan_document(one, result) for one in result.plans],
    }


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
        "path": str(one.path),
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


def search_text(result: SearchResult) -> str:
    """Print one plan in full, or a table of a front."""
    if result.request.pareto is not None:
        return _front(result)
    one = result.plans[0]
    blocks = [_summary(one, result), _costs(one, result), _layers(one), reasons_text(one.reasons)]
    return "\n\n".join(block for block in blocks if block)


def _summary(one: PlanFound, result: SearchResult) -> str:
    found, solution = one.found, one.found.solution
    what = (
        f"predicted SQNR {sqnr_of(found.error):.1f} dB"
        if result.relative_error
        else f"objective {found.error:.4g}"
    )
    first = f"{one.path}: {what}, {solution.status} by {solution.strategy}"
    if solution.gap:
        first += f", at most {solution.relative_gap:.2%} above the best possible"
    lines = [first, f"on {result.hardware}, sensitivity {result.request.sensitivity}"]
    if one.measured is not None:
        drop = f"{one.measured.drop:.2f}" + (f" ± {one.measured.error:.2f}" if one.measured.error else "")
        lines.append(
            f"measured drop {drop} points of {one.measured.metric}, {one.measured.evaluations} plans measured"
        )
    return "\n".join(lines)


def _costs(one: PlanFound, result: SearchResult) -> str:
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
    return table(("cost", "plan", "of int8", "limit", ""), rows, left=1)


def _binds(use: BudgetUse | None, limit: float) -> str:
    """Print the gain by one percent more of a budget, from its shadow price."""
    return (
        "does not bind"
        if use is None
        else f"binds: 1% more lowers the objective by {use.price * limit / 100:.3g}"
    )


def _layers(one: PlanFound) -> str:
    counts = Counter(one.found.assignment.values())
    rows: list[tuple[str, ...]] = [(w, a, str(count)) for (w, a), count in counts.most_common()]
    return table(("weights", "activations", "layers"), rows, left=2)


def _front(result: SearchResult) -> str:
    names = [name for name in ("latency", "size", "energy", "dram", "memory") if name in result.baseline]
    head = ("plan", "SQNR dB" if result.relative_error else "objective", *names, "latency of int8")
    rows = []
    for one in result.plans:
        error = one.found.error
        shown = f"{sqnr_of(error):.2f}" if result.relative_error else f"{error:.4g}"
        costs = [in_units(name, one.found.costs[name]) for name in names]
        ratio = one.found.costs["latency"] / result.baseline["latency"]
        rows.append((str(one.path), shown, *costs, f"{ratio:.3f}"))
    return f"{len(rows)} plans on {result.hardware}\n\n" + table(head, rows, left=1)
