"""Activation scales under which every factor can be a power of two.

Only quotients of scales enter the arithmetic, so scales need not be powers of two themselves: a tensor
between two layers may have any scale, because the weight scales before and after it make up for it. What
ties scales together is the rest: the operands of an addition or a join and its result have to lie powers of
two apart, a mean divides by its count, a product of activations multiplies scales. Tensors that are tied form
a group with one free number, its *base*: the scale of a member is ``base * offset * 2^k``, with ``offset``
fixed by the ties and k free for each. The base is chosen for the smallest sum of relative squared errors.
Ties can contradict each other (a tensor that is added to its own mean); those of additions and joins are kept
then, and the other operator's factor is no power of two.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dybitq.integer.edges import Encodings
from dybitq.integer.step import EqualScales, IntegerStep, MeanScale, ProductScale
from dybitq.records.fitted import FittedEdge

_BASES = np.linspace(0.0, 1.0, 33)[:-1]  # candidates for log2 of a base


@dataclass(slots=True, kw_only=True)
class _Ties:
    """Union of tied tensors; ``phase`` is log2 of a member's offset against its group's base, modulo 1."""

    parent: dict[str, str] = field(default_factory=dict)
    phase: dict[str, float] = field(default_factory=dict)

    def find(self, name: str) -> tuple[str, float]:
        """Group of a tensor, and its phase in it."""
        self.parent.setdefault(name, name)
        total = self.phase.setdefault(name, 0.0)
        while self.parent[name] != name:
            name = self.parent[name]
            total += self.phase[name]
        return name, total

    def tie(self, name: str, other: str, ratio: float = 1.0) -> None:
        """Scale of ``other`` is that of ``name`` times ``ratio``, up to a power of two."""
        (group, phase), (second, second_phase) = self.find(name), self.find(other)
        if group != second:
            self.parent[second] = group
            self.phase[second] = phase + math.log2(ratio) - second_phase


def tied_edges(
    steps: Sequence[IntegerStep], roots: Mapping[str, str], encodings: Mapping[str, Encodings]
) -> dict[str, FittedEdge]:
    """Return the encodings of all roots with scales that are tied as the steps demand.

    Args:
        steps: of the network.
        roots: every coded tensor to the tensor whose encoding it has.
        encodings: what each root could be encoded as.
    """
    free = {name: found.best() for name, found in encodings.items()}
    ties = _Ties()
    products: list[tuple[str, str, str]] = []
    for step in sorted(steps, key=lambda step: not isinstance(step.tie, EqualScales)):  # these never give way
        known = [roots[name] for name in step.inputs if name in roots]
        output = roots.get(step.outputs[0]) if step.outputs else None
        if output is None:
            continue
        match step.tie:
            case EqualScales():
                for name in known:
                    ties.tie(output, name)
            case MeanScale(count=count):
                ties.tie(known[0], output, 1 / count)
            case ProductScale() if len(known) == 2:
                products.append((known[0], known[1], output))
    members: dict[str, dict[str, float]] = {}
    for name in free:
        group, phase = ties.find(name)
        members.setdefault(group, {})[name] = phase
    bases = _bases(products, ties, members, encodings, free)
    return {
        name: encodings[name].edge(
            _nearest(encodings[name], free[name], bases[group] + phase), free[name].zero_point
        )
        for group, phases in members.items()
        for name, phase in phases.items()
    }


def _bases(
    products: Sequence[tuple[str, str, str]],
    ties: _Ties,
    members: Mapping[str, Mapping[str, float]],
    encodings: Mapping[str, Encodings],
    free: Mapping[str, FittedEdge],
) -> dict[str, float]:
    """Log2 of every group's base: chosen, or what a product of two others makes it."""
    bases: dict[str, float] = {}
    for left, right, output in products:
        (a, pa), (b, pb), (o, po) = (ties.find(name) for name in (left, right, output))
        if o in (a, b):  # the result is tied to an operand: the other one has to be a power of two
            other, phase = (b, pb) if o == a else (a, pa)
            bases.setdefault(other, -phase)
            continue
        for group in (a, b):
            if group not in bases:
                bases[group] = _base(members[group], encodings, free)
        bases.setdefault(o, bases[a] + pa + bases[b] + pb - po)
    for group, phases in members.items():
        if group not in bases:
            bases[group] = _base(phases, encodings, free)
    return bases


def _base(
    phases: Mapping[str, float], encodings: Mapping[str, Encodings], free: Mapping[str, FittedEdge]
) -> float:
    """Log2 of the base with the smallest sum of relative errors; a tensor by itself keeps its scale."""
    if len(phases) == 1:
        ((name, phase),) = phases.items()
        return math.log2(free[name].scale) - phase

    def cost(base: float) -> float:
        total = 0.0
        for name, phase in phases.items():
            found, edge = encodings[name], free[name]
            least = found.error(edge.scale, edge.zero_point)
            if least > 0:
                scale = _nearest(found, edge, base + phase)
                total += found.error(scale, edge.zero_point) / least
        return total

    return float(min(_BASES, key=cost))


def _nearest(found: Encodings, edge: FittedEdge, phase: float) -> float:
    """Return the scale ``2^(phase + k)`` of the smallest error, float32."""
    k = round(math.log2(edge.scale) - phase)
    scales = [float(np.float32(2.0 ** (phase + k + step))) for step in (-1, 0, 1)]
    return min(scales, key=lambda scale: found.error(scale, edge.zero_point))
