"""A tile pipeline cycle by cycle: two buffers for every operand, one DRAM port, one array."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Nest:
    """Numbers of tiles, how they are walked, and which operand is held for all of k.

    ``order``: ``n,m,k`` or ``m,n,k``, outermost first. ``held``: ``""``, ``"weights"`` or ``"inputs"``.
    """

    groups: int
    m: int
    n: int
    k: int
    order: str
    held: str = ""

    def walk(self) -> Iterator[tuple[int, int, int, int]]:
        """``(group, m, n, k)`` of every step."""
        for g in range(self.groups):
            for outer in range(self.n if self.order == "n,m,k" else self.m):
                for inner in range(self.m if self.order == "n,m,k" else self.n):
                    for k in range(self.k):
                        m, n = (inner, outer) if self.order == "n,m,k" else (outer, inner)
                        yield g, m, n, k


@dataclass(frozen=True)
class Cycles:
    """Port cycles of one tile of each operand, and array cycles of one step."""

    inputs: int
    weights: int
    outputs: int
    extra: int
    compute: int


def steps(nest: Nest, cycles: Cycles) -> list[tuple[int, int]]:
    """Port cycles to load and to store for every step, from which tile each buffer holds."""
    walk = list(nest.walk())
    result = []
    before: tuple[object, object, object] = (None, None, None)
    for index, (g, m, n, k) in enumerate(walk):
        inputs = (g, m, None if nest.held == "inputs" else k)
        weights = (g, n, None if nest.held == "weights" else k)
        output = (g, m, n)
        load = 0
        if inputs != before[0]:
            load += cycles.inputs * (nest.k if nest.held == "inputs" else 1)
        if weights != before[1]:
            load += cycles.weights * (nest.k if nest.held == "weights" else 1)
        if output != before[2]:
            load += cycles.extra
        after = walk[index + 1] if index + 1 < len(walk) else None
        done = after is None or (after[0], after[1], after[2]) != output
        result.append((load, cycles.outputs if done else 0))
        before = (inputs, weights, output)
    return result


def run(nest: Nest, cycles: Cycles) -> int:
    """Cycles until the last result is stored.

    The port works off its jobs in the order in which they become ready. When a step is computed, its result
    may be stored, and the step after next may be loaded into the buffers that it leaves. A step is computed
    once it is loaded, the step before it is computed and the result two before it is stored.
    """
    work = steps(nest, cycles)
    total = len(work)
    jobs = [("load", cycles_) for cycles_, _ in work[:2]]
    done = {"load": 0, "compute": 0, "store": 0}
    port: tuple[str, int] | None = None  # job, cycles left
    array: int | None = None  # cycles left of the running step
    time = 0
    while True:
        changed = True
        while changed:  # everything that ends now, and what begins because of it
            changed = False
            if port is not None and port[1] == 0:
                done[port[0]] += 1
                port, changed = None, True
            if array == 0:
                step = done["compute"]
                done["compute"] += 1
                jobs.append(("store", work[step][1]))
                if step + 2 < total:
                    jobs.append(("load", work[step + 2][0]))
                array, changed = None, True
            ready = done["compute"] < done["load"] and done["compute"] - 2 < done["store"]
            if array is None and ready and done["compute"] < total:
                array, changed = cycles.compute, True
            if port is None and jobs:
                port, changed = jobs.pop(0), True
        if done["store"] == total:
            return time
        time += 1
        port = None if port is None else (port[0], port[1] - 1)
        array = None if array is None else array - 1
