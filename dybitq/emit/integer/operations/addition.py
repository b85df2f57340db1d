"""Sums of two rescaled operands: QLinearAdd, or multipliers, Add and a shift."""

import numpy as np
import onnx_ir as ir

from dybitq.emit.integer.explicit import INT32, UINT8, centred, coded
from dybitq.emit.integer.fast import one, zero
from dybitq.emit.integer.graph import CONTRIB, IntegerGraph
from dybitq.emit.integer.round_shift import add_round_shift, lifted, lowered
from dybitq.emit.integer.writers import Writers, operations
from dybitq.records.integer_network import Addition


def fast(graph: IntegerGraph, operation: Addition) -> None:
    """Write a QLinearAdd, each operand scaled by its factor."""
    scales = [np.ldexp(float(b[0]), -operation.shift) for b in operation.multipliers]
    operands: list[ir.Value] = []
    for name, scale, zero_point in zip(operation.inputs, scales, operation.zeros, strict=True):
        operands += [graph.get(name), graph.scalar(scale, np.float32), zero(graph, zero_point)]
    operands += [one(graph), zero(graph, operation.zero_point)]
    value = graph.node("QLinearAdd", operands, domain=CONTRIB, label=operation.name)
    graph.put_codes(operation.output, graph.clipped(value, operation.low, operation.high))


def explicit(graph: IntegerGraph, operation: Addition) -> None:
    """Write both operands times their multipliers, added, then shifted; or shifted, then added."""
    multipliers, shift = operation.multipliers, np.array(operation.shift, np.int64)
    terms = []
    for name, zero_point, multiplier in zip(operation.inputs, operation.zeros, multipliers, strict=True):
        codes = centred(graph, name, zero_point)
        factor = multiplier.reshape(()) if multiplier.size == 1 else multiplier
        terms.append(graph.node("Mul", [codes, graph.array(factor)]))
    if operation.each_branch:
        rounded = [add_round_shift(graph, term, shift, operation.rounding) for term in terms]
        terms = [lowered(graph, term) for term in rounded]
    value = graph.node("Add", terms, label=operation.name)
    if operation.each_branch:
        value = lifted(graph, value)
    else:
        value = add_round_shift(graph, value, shift, operation.rounding)
    low, high = operation.low, operation.high
    if operation.bits == 8:
        codes = coded(graph, value, operation.zero_point, low, high, UINT8)
        graph.put_codes(operation.output, codes)
    else:
        graph.put(operation.output, coded(graph, value, 0, low, high, INT32))


operations.register(Addition.kind)(Writers(fast=fast, explicit=explicit))
