"""Activation memory over time: how many bytes are alive while each launch runs."""

import numpy as np

from dybitq.hardware.costs import Array
from dybitq.hardware.engine import Prepared
from dybitq.records.workload import Workload


class Occupancy:
    """Which storages are alive at which launch; a storage is a tensor, or several joined by views.

    A storage lives from the launch that writes it first to the last one that reads it, the network's inputs
    from the start and its outputs to the end. Weights are not counted.
    """

    def __init__(self, workload: Workload, prepared: Prepared) -> None:
        kernels, storage = prepared.kernels, prepared.lives.storage
        launches, count = len(kernels.heads), len(workload.tensors)
        first, last = np.full(count, launches), np.full(count, -1)
        read = [(int(kernels.input[p]), int(kernels.weight[p]), *kernels.extras[p]) for p in range(launches)]
        for place in range(launches):
            whole = storage[kernels.output[place]]
            first[whole] = min(first[whole], place)
            last[whole] = max(last[whole], place)
            for index in read[place]:
                if index >= 0 and not workload.tensors[index].constant:
                    last[storage[index]] = max(last[storage[index]], place)
        for index in workload.outputs:
            last[storage[index]] = launches - 1
        first[first == launches] = 0  # handed in by the caller
        steps = np.arange(launches)[:, None]
        self._alive = (first <= steps) & (steps <= last) & (last >= 0)  # [launches, storages]
        self._storage = storage
        self._elements = prepared.lives.elements
        self._counted = np.array([not tensor.constant for tensor in workload.tensors])

    def steps(self, bits: Array) -> Array:
        """Bytes alive at every launch, float64 ``[launches, P]``, from stored widths ``[T, P]``."""
        size = np.zeros(bits.shape)
        own = np.ceil(self._elements[:, None] * bits / 8) * self._counted[:, None]
        np.maximum.at(size, self._storage, own)
        return np.asarray(self._alive @ size)

    def maximal(self) -> list[int]:
        """Launches at which something is alive that is not all alive at another one."""
        kept: list[int] = []
        for step in np.argsort(-self._alive.sum(axis=1), kind="stable").tolist():
            alive = self._alive[step]
            if alive.any() and not any((alive <= self._alive[other]).all() for other in kept):
                kept.append(step)
        return sorted(kept)
