"""Means over space: QLinearGlobalAveragePool, or ReduceSum and a requantization."""

import numpy as np
import onnx_ir as ir

from dybitq.emit.integer.explicit import INT32, centred, requantized
from dybitq.emit.integer.fast import one, zero
from dybitq.emit.integer.graph import CONTRIB, IntegerGraph
from dybitq.emit.integer.writers import Writers, operations
from dybitq.encodings import dyadic
from dybitq.graph import keys
from dybitq.records.integer_network import Mean


def fast(graph: IntegerGraph, operation: Mean) -> None:
    """Write a QLinearGlobalAveragePool; the kernel divides the input scale by the count."""
    target = operation.requantize
    if target is None:
        _sum_up(graph, operation)
        return
    factor = float(dyadic.value(target.multiplier, target.shift)[0]) * operation.count
    operands = [
        graph.get(operation.input),
        graph.scalar(factor, np.float32),
        zero(graph, operation.input_zero),
        one(graph),
        zero(graph, target.zero_point),
    ]
    value = graph.node(
        "QLinearGlobalAveragePool",
        operands,
        attributes={"channels_last": 0},
        domain=CONTRIB,
        label=operation.name,
    )
    _describe(value, operation)
    graph.put_codes(operation.output, graph.clipped(value, target.low, target.high))


def explicit(graph: IntegerGraph, operation: Mean) -> None:
    """Write a ReduceSum of centred codes, and rescale it."""
    if operation.requantize is None:
        _sum_up(graph, operation)
        return
    axes = graph.array(np.array(operation.axes, np.int64))
    codes = centred(graph, operation.input, operation.input_zero)
    value = graph.node("ReduceSum", [codes, axes], label=operation.name)
    _describe(value, operation)
    graph.put_codes(operation.output, requantized(graph, value, operation.requantize, 0))


def _sum_up(graph: IntegerGraph, operation: Mean) -> None:
    """Write an int32 sum over space."""
    value = graph.node("Cast", [graph.get(operation.input)], attributes={"to": INT32})
    if operation.input_zero:
        value = graph.node("Add", [value, graph.array(np.array(-operation.input_zero, np.int32))])
    axes = graph.array(np.array(operation.axes, np.int64))
    value = graph.node("ReduceSum", [value, axes], label=operation.name)
    _describe(value, operation)
    graph.put(operation.output, value)


def _describe(value: ir.Value, operation: Mean) -> None:
    """Note on the node of a mean what it averages: shapes are not part of the file."""
    node = value.producer()
    assert node is not None
    node.metadata_props[keys.COUNT] = str(operation.count)
    node.metadata_props[keys.AXES] = ",".join(str(axis) for axis in operation.axes)


operations.register(Mean.kind)(Writers(fast=fast, explicit=explicit))
