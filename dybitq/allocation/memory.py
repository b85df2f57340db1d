"""Activation memory over time: the bytes alive while each launch runs."""

import numpy as np

from dybitq.hardware.costs import Array
from dybitq.hardware.engine import Prepared
from dybitq.records.workload import Workload


class Occupancy:
    """Storages alive at each launch; a storage is a tensor, or several joined by views.

    A storage lives from the launch that writes it first to the last one that reads it, the network's inputs
    from the start and its outputs to the end. Weights are not counted.
    """

    def __init__(self, workload: Workload, prepared: Prepared) -> None:
        launches, storage = prepared.launches, prepared.lives.storage
        number, count = len(launches.heads), len(workload.tensors)
        first, last = np.full(count, number), np.full(count, -1)
        read = [(int(launches.input[p]), int(launches.weight[p]), *launches.extras[p]) for p in range(number)]
        for place in range(number):
            whole = storage[launches.output[place]]
            first[whole] = min(first[whole], place)
            last[whole] = max(last[whole], place)
            for index in read[place]:
                if index >= 0 and not workload.tensors[index].constant:
                    last[storage[index]] = max(last[storage[index]], place)
        for index in workload.outputs:
            last[storage[index]] = number - 1
        first[first == number] = 0  # inputs of the network
        steps = np.arange(number)[:, None]
        self._alive = (first <= steps) & (steps <= last) & (last >= 0)  # [launches, storages]
        self._storage = storage
        self._elements = prepared.lives.elements
        self._counted = np.array([not tensor.constant for tensor in workload.tensors])

    def steps(self, bits: Array) -> Array:
        """Bytes alive at every launch, float64 ``[launches, P]``, from stored widths ``[T, P]``."""
        size = np.zeros(bits.shape)
        bytes_of = np.ceil(self._elements[:, None] * bits / 8) * self._counted[:, None]
        np.maximum.at(size, self._storage, bytes_of)
        return np.asarray(self._alive @ size)

    def maximal(self) -> list[int]:
        """Find launches whose set of live storages is no subset of another launch's."""
        kept: list[int] = []
        for step in np.argsort(-self._alive.sum(axis=1), kind="stable").tolist():
            alive = self._alive[step]
            if alive.any() and not any((alive <= self._alive[other]).all() for other in kept):
                kept.append(step)
        return sorted(kept)
