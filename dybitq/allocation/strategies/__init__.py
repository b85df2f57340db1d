"""Search strategies, one file each: a compiled program and its relaxation in, a selection out.

A strategy sees every choice of the program and returns a selection that keeps the budgets and the
links, or says that it found none; it never needs to judge whether there is one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dybitq.allocation.program import IntegerProgram
from dybitq.allocation.relaxation import Root
from dybitq.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategySettings:
    """Settings of the strategies.

    Attributes:
        top_k: number of units with the largest cost that greedy-speedup considers at every step.
        most_nodes: nodes of branch and bound after which ilp stops, with the gap that is left then.
    """

    top_k: int = 3
    most_nodes: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Selection:
    """Outcome of a strategy.

    Attributes:
        selection: int64 ``[units]``, keeping budgets and links.
        bound: proven least objective in quanta, where the strategy itself proves one.
        proof: one sentence that says how the bound was proven.
    """

    selection: np.ndarray
    bound: float | None = None
    proof: str = ""


Strategy = Callable[[IntegerProgram, Root, StrategySettings], Selection | None]

STRATEGIES: Registry[Strategy] = Registry("search strategy", "dybitq.allocation.strategies")
