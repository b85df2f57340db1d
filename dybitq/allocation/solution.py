"""The solution of an allocation problem, and what is proven about it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """Use of one budget.

    Attributes:
        cost: name of the cost.
        side: ``maximum`` or ``minimum``.
        limit: the limit, in the unit of the cost.
        used: sum of the cost.
        price: shadow price: by how much the objective of the relaxation falls if the limit is loosened by
            one unit of the cost; 0 where the limit does not bind.
    """

    cost: str
    side: str
    limit: float
    used: float
    price: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """An assignment that keeps all budgets and ties, with its certificate.

    Attributes:
        status: ``optimal`` where ``gap`` is 0, ``feasible`` otherwise.
        strategy: registered name of the strategy that found it.
        objective: sum over the groups.
        choices: label by name of group, in the order of the problem.
        costs: sum of every cost that all choices of the problem state, by name.
        budgets: one entry per limit.
        bound: proven: no assignment has a smaller objective.
        gap: ``objective - bound``, at least 0, in the unit of the objective.
        relaxation: bound by the linear relaxation alone.
        proof: one sentence that says how ``bound`` was proven.
    """

    status: str
    strategy: str
    objective: float
    choices: Mapping[str, str]
    costs: Mapping[str, float]
    budgets: tuple[BudgetUse, ...]
    bound: float
    gap: float
    relaxation: float
    proof: str

    @property
    def relative_gap(self) -> float:
        """``gap`` as a share of the objective's magnitude (0 if both are 0)."""
        return self.gap / abs(self.objective) if self.objective else float(self.gap > 0)
