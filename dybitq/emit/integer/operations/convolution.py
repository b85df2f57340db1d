"""Convolutions: QLinearConv, or ConvInteger, a bias and a requantization."""

import numpy as np
import onnx_ir as ir

from dybitq.emit.integer.explicit import along, requantized, wide
from dybitq.emit.integer.fast import one, weight_scale, zero
from dybitq.emit.integer.graph import IntegerGraph
from dybitq.emit.integer.weights import convolution_operands, describe, joined, split, window_attributes
from dybitq.emit.integer.writers import Writers, operations
from dybitq.records.integer_network import Convolution


def fast(graph: IntegerGraph, operation: Convolution) -> None:
    """Write a QLinearConv."""
    assert operation.requantize is not None
    target = operation.requantize
    codes, weights, zero_point = convolution_operands(graph, operation, operation.weight)
    operands: list[ir.Value | None] = [codes, one(graph), zero_point, weights, *weight_scale(graph, target)]
    operands += [one(graph), zero(graph, target.zero_point)]
    if operation.bias is not None:
        operands.append(graph.array(operation.bias.astype(np.int32)))
    attributes = window_attributes(operation.window)
    value = graph.node("QLinearConv", operands, attributes=attributes, label=operation.name)
    describe(value, operation.weight)
    graph.put_codes(operation.output, graph.clipped(value, target.low, target.high))


def explicit(graph: IntegerGraph, operation: Convolution) -> None:
    """Write a ConvInteger (two for a wide weight) and its bias, and rescale the sums."""
    attributes = window_attributes(operation.window)
    sums = []
    for part, label in zip(split(operation.weight), (operation.name, f"{operation.name}/low"), strict=False):
        operands = convolution_operands(graph, operation, part)
        sums.append(graph.node("ConvInteger", operands, attributes=attributes, label=label))
    describe(sums[0], operation.weight)
    rank = len(operation.window.kernel)
    value = joined(graph, sums)
    if operation.bias is not None:
        value = graph.node("Add", [value, graph.array(along(operation.bias, rank).astype(np.int32))])
    if operation.requantize is None:
        graph.put(operation.output, value)
    else:
        codes = requantized(graph, wide(graph, value), operation.requantize, rank)
        graph.put_codes(operation.output, codes)


operations.register(Convolution.kind)(Writers(fast=fast, explicit=explicit))
