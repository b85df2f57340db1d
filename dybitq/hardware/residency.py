"""Activations that stay on chip between layers, on machines that have room for whole tensors."""

from dataclasses import dataclass

import numpy as np

from dybitq.hardware.launches import Launches
from dybitq.records.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lifetimes:
    """Lifetimes of storages; a storage is a tensor, or several joined by views.

    Attributes:
        storage: int64 ``[T]``, representative tensor of each tensor's storage.
        alive: int64 ``[A]``, storages that a launch writes and a later one reads.
        first, last: int64 ``[A]``, launches that write it first and read it last.
        stays: bool ``[A]``; False where any part comes from or goes to the outside.
        elements: float64 ``[T]``.
        count: number of launches.
    """

    storage: np.ndarray
    alive: np.ndarray
    first: np.ndarray
    last: np.ndarray
    stays: np.ndarray
    elements: np.ndarray
    count: int


def _storages(workload: Workload) -> np.ndarray:
    parent = list(range(len(workload.tensors)))

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    for op in workload.ops:
        if op.view:
            for index in op.inputs:
                if not workload.tensors[index].constant:
                    parent[root(index)] = root(op.output)
    return np.array([root(index) for index in range(len(parent))], dtype=np.int64)


def lifetimes(workload: Workload, launches: Launches) -> Lifetimes:
    """Follow every storage from its first write to its last read."""
    storage = _storages(workload)
    count = len(workload.tensors)
    first, last = np.full(count, len(launches.heads)), np.full(count, -1)
    for place, output in enumerate(launches.output.tolist()):
        first[storage[output]] = min(first[storage[output]], place)
        for index in (int(launches.input[place]), int(launches.weight[place]), *launches.extras[place]):
            if index >= 0:
                last[storage[index]] = place
    written = set(launches.output.tolist()) | {op.output for op in workload.ops if op.view}
    outside = set(workload.outputs)
    outside |= {i for i, tensor in enumerate(workload.tensors) if not tensor.constant and i not in written}
    alive = np.array([i for i in range(count) if 0 <= first[i] <= last[i]], dtype=np.int64)
    away = {int(storage[index]) for index in outside}
    return Lifetimes(
        storage=storage,
        alive=alive,
        first=first[alive],
        last=last[alive],
        stays=np.array([int(index) not in away for index in alive], dtype=bool),
        elements=np.array([tensor.elements for tensor in workload.tensors], dtype=np.float64),
        count=len(launches.heads),
    )


def resident(lives: Lifetimes, bits: np.ndarray, room_bytes: float) -> np.ndarray:
    """Mark tensors that never leave the chip.

    A storage stays when, from the launch that first writes it to the last that reads it, all storages alive
    fit in ``room_bytes`` together. The rule can only keep more when tensors shrink or room grows.

    Args:
        bits: stored width of each tensor ``[T, P]``.

    Returns:
        bool ``[T, P]``. Inputs and outputs of the network go through DRAM.
    """
    keep = np.zeros(bits.shape, dtype=bool)
    if room_bytes <= 0 or not len(lives.alive):
        return keep
    size = np.zeros(bits.shape)
    np.maximum.at(size, lives.storage, np.ceil(lives.elements[:, None] * bits / 8))
    change = np.zeros((lives.count + 1, bits.shape[1]))
    np.add.at(change, lives.first, size[lives.alive])
    np.subtract.at(change, lives.last + 1, size[lives.alive])
    need = np.cumsum(change, axis=0)
    for index, begin, end, stays in zip(lives.alive, lives.first, lives.last, lives.stays):
        if stays:
            keep[index] = need[begin : end + 1].max(axis=0) <= room_bytes
    return keep[lives.storage]
