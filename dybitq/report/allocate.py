"""The result of ``allocate``, as text and as data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dybitq.allocation.explain import Alternative, Reason
from dybitq.allocation.feasibility import InfeasibleError
from dybitq.allocation.solution import BudgetUse, Solution
from dybitq.records.allocation import Problem
from dybitq.report.page import Page, Shown, Table, spaced

# --------------------------------------------------------------------------- data


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation(Shown):
    """A problem, its solution, and the reasons if they were asked for."""

    problem: Problem
    solution: Solution
    reasons: tuple[Reason, ...] = ()

    def page(self) -> Page:
        """Print status, budgets, then one line per group; with reasons, one line for each of those."""
        reasons = reasons_text(self.reasons)
        return spaced(
            [
                [_summary(self.solution)],
                _budgets(self.solution),
                [_groups(self.problem, self.solution)],
                [reasons] if reasons else [],
            ]
        )

    def document(self) -> dict[str, Any]:
        """Convert the result to one JSON document."""
        return _document(self.solution, self.reasons)


def _document(solution: Solution, reasons: Sequence[Reason] = ()) -> dict[str, Any]:
    """Convert a solution to one JSON document."""
    document: dict[str, Any] = {
        "status": solution.status,
        "strategy": solution.strategy,
        "objective": solution.objective,
        "choices": dict(solution.choices),
        "costs": dict(solution.costs),
        "budgets": [budget_document(use) for use in solution.budgets],
        "bound": solution.bound,
        "gap": solution.gap,
        "relative_gap": solution.relative_gap,
        "relaxation": solution.relaxation,
        "proof": solution.proof,
    }
    if reasons:
        document["reasons"] = [reason_document(reason) for reason in reasons]
    return document


def infeasible_document(error: InfeasibleError) -> dict[str, Any]:
    """Convert the reachable values of an infeasible problem to data."""
    return {
        "status": "infeasible",
        "message": str(error),
        "budgets": [
            {
                "cost": reach.row.cost,
                "side": reach.row.side,
                "limit": reach.row.limit,
                "closest": reach.alone,
                "closest_with_others": reach.with_others,
                "binds": reach.binds,
            }
            for reach in error.reaches
        ],
    }


def budget_document(use: BudgetUse) -> dict[str, Any]:
    """Convert the use of one limit to data."""
    return {
        "cost": use.cost,
        "side": use.side,
        "limit": use.limit,
        "used": use.used,
        "shadow_price": use.price,
    }


def reason_document(reason: Reason) -> dict[str, Any]:
    """Convert one reason to data."""
    return {
        "groups": list(reason.groups),
        "part": reason.part or None,
        "chosen": reason.chosen,
        "better": _alternative_document(reason.better),
        "cheaper": _alternative_document(reason.cheaper),
    }


def _alternative_document(other: Alternative | None) -> dict[str, Any] | None:
    if other is None:
        return None
    return {
        "choices": dict(other.labels),
        "objective": other.objective,
        "costs": dict(other.costs),
        "price": other.price,
        "fits": other.fits,
    }


# --------------------------------------------------------------------------- text


def _summary(solution: Solution) -> str:
    first = f"{solution.status}: objective {solution.objective:.6g} by {solution.strategy}"
    if solution.gap:
        first += f", at most {solution.gap:.3g} ({solution.relative_gap:.2%}) above the best possible"
    return first


def _budgets(solution: Solution) -> Page:
    rows: list[tuple[str, ...]] = []
    for use in solution.budgets:
        sign = "<=" if use.side == "maximum" else ">="
        share = f"{use.used / use.limit:.1%}" if use.limit else ""
        price = f"{use.price:.4g}" if use.price else "does not bind"
        rows.append((use.cost, f"{use.used:.6g}", f"{sign} {use.limit:.6g}", share, price))
    header = ("budget", "used", "limit", "of limit", "objective per unit")
    return [Table(header=header, rows=rows, left=1)] if rows else []


def _groups(problem: Problem, solution: Solution) -> Table:
    costs = tuple(solution.costs)
    rows = []
    for group in problem.groups:
        label = solution.choices[group.name]
        choice = next(choice for choice in group.choices if choice.label == label)
        numbers = (choice.objective, *(choice.costs[cost] for cost in costs))
        rows.append((group.name, label, *(f"{number:.6g}" for number in numbers)))
    totals = (solution.objective, *(solution.costs[cost] for cost in costs))
    rows.append(("total", "", *(f"{number:.6g}" for number in totals)))
    return Table(header=("group", "choice", "objective", *costs), rows=rows)


def reasons_text(reasons: Sequence[Reason]) -> str:
    """Print one line for each reason."""
    lines = []
    for reason in reasons:
        title = ", ".join(reason.groups) + (f" ({reason.part})" if reason.part else "")
        sentences = [
            _sentence(reason, other) for other in (reason.better, reason.cheaper) if other is not None
        ]
        lines.append(f"{title}: {reason.chosen}; " + ("; ".join(sentences) or "nothing else to choose"))
    return "\n".join(lines)


def _sentence(reason: Reason, other: Alternative) -> str:
    """``8 lowers the objective by 0.2 for latency +1.5 (0.9 at the shadow prices); does not fit``."""
    labels = set(other.labels.values())
    name = labels.pop() if len(labels) == 1 else "/".join(other.labels.values())
    verb = "lowers" if other.objective < 0 else "raises"
    costs = ", ".join(f"{cost} {change:+.4g}" for cost, change in other.costs.items() if change)
    sentence = f"{name} {verb} the objective by {abs(other.objective):.4g}"
    if costs:
        sentence += f" for {costs} ({other.price:+.4g} at the shadow prices)"
    return sentence + ("" if other.fits else ", which does not fit")
