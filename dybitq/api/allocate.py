"""``allocate``: the search alone, on a problem that the user brings."""

from pathlib import Path

from dybitq.allocation.explain import explain
from dybitq.allocation.solve import solve
from dybitq.allocation.strategies import StrategySettings
from dybitq.report.allocate import Allocation
from dybitq.schema.problem import read_problem


def allocate(
    path: Path, *, strategy: str = "ilp", settings: StrategySettings | None = None, reasons: bool = False
) -> Allocation:
    """Solve the problem of a JSON file (see docs/allocate.md for its layout).

    Args:
        path: the problem.
        strategy: registered name of the search strategy.
        settings: of the strategies.
        reasons: also say, group by group, what other choices would change.

    Raises:
        InfeasibleError: no assignment keeps all budgets.
        ConfigError: the file is no sound problem, or the strategy is unknown.
    """
    problem = read_problem(path)
    solution = solve(problem, strategy, settings)
    return Allocation(
        problem=problem, solution=solution, reasons=explain(problem, solution) if reasons else ()
    )
