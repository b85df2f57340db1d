"""A measured drop as a budget: solve, quantize, evaluate, and move the bound on the predicted error."""

import math
from dataclasses import replace

from dybitq.allocation.feasibility import InfeasibleError
from dybitq.allocation.formulation import ERROR, Goal
from dybitq.allocation.iterate import FoundPlan, Searcher
from dybitq.api.opened import StatisticsLike
from dybitq.data.memory import Data, data_name
from dybitq.errors import ConfigError
from dybitq.records.models import ModelInMemory, ModelSource
from dybitq.records.plan import Plan
from dybitq.records.progress import Progress
from dybitq.report.search import Measured

_STEPS = 7


class DropWalk:
    """Finds the cheapest plan whose measured drop stays within a limit, by bisection on the predicted error.

    Args:
        model, statistics: what plans are quantized with.
        data: samples with labels.
        split: which of them to measure on.
        progress: called with stage, done, total.
    """

    def __init__(
        self,
        model: ModelSource,
        statistics: StatisticsLike,
        data: Data,
        *,
        split: str,
        progress: Progress | None,
    ) -> None:
        self._given = model, statistics, data
        self._split, self._progress = split, progress
        self._known: dict[Plan, Measured] = {}

    def search(self, searcher: Searcher, goal: Goal, drop: float) -> tuple[FoundPlan, Measured]:
        """Return the cheapest plan found.

        Raises:
            InfeasibleError: the other budgets cannot be kept.
            ConfigError: even the most accurate plan within the other budgets loses more.
        """
        best = searcher.search(replace(goal, minimise=ERROR))
        result = self._measure(best.plan)
        if result.drop > drop:
            raise ConfigError(
                f"budget drop={drop:g} is out of reach: the most accurate plan within the other budgets "
                f"loses {result.drop:.2f} points of {result.metric}; loosen the other budgets or the drop"
            )
        cheap = searcher.search(goal)
        low, high = math.log(max(best.error, 1e-300)), math.log(max(cheap.error, 1e-300))
        found = self._measure(cheap.plan)
        if found.drop <= drop:
            return cheap, self._counted(found)
        for _ in range(_STEPS):
            middle = (low + high) / 2
            try:
                one = searcher.search(replace(goal, limits={**goal.limits, ERROR: math.exp(middle)}))
            except InfeasibleError:
                low = middle
                continue
            found = self._measure(one.plan)
            if found.drop <= drop:
                low = middle
                if one.costs[goal.minimise] <= best.costs[goal.minimise]:
                    best, result = one, found
            else:
                high = middle
        return best, self._counted(result)

    def _counted(self, result: Measured) -> Measured:
        return replace(result, evaluations=len(self._known))

    def _measure(self, plan: Plan) -> Measured:
        # Emitting and evaluating take a second to import, and only this budget needs them.
        from dybitq.api.evaluate import evaluate
        from dybitq.api.quantize import quantize

        if plan not in self._known:
            if self._progress is not None:
                self._progress("plans measured", len(self._known), _STEPS + 2)
            model, statistics, data = self._given
            made = quantize(model, statistics, plan=plan)
            quantized = ModelInMemory(content=made.content)
            found = evaluate(quantized, data, reference=model, split=self._split)
            if not found.metrics or found.metrics[0].drop is None:
                raise ConfigError(
                    f"{data_name(data)}: --budget drop needs 'task:' and labels, and split {self._split!r} "
                    "lacks one of them; add them, or name a split that has labels with --drop-split"
                )
            first = found.metrics[0]
            self._known[plan] = Measured(
                metric=first.name, drop=float(first.drop or 0.0), error=first.drop_error, evaluations=0
            )
        return self._known[plan]
