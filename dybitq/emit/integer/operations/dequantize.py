"""The way out, the same in both flavours."""

import numpy as np

from dybitq.emit.integer.graph import IntegerGraph
from dybitq.emit.integer.writers import Writers, operations
from dybitq.records.integer_network import Dequantize


def write(graph: IntegerGraph, operation: Dequantize) -> None:
    """Write a DequantizeLinear, per channel along the last axis for accumulators."""
    scale = operation.scale.reshape(()) if operation.scale.size == 1 else operation.scale
    operands = [graph.get(operation.input), graph.array(scale)]
    if operation.zero_point:
        operands.append(graph.scalar(operation.zero_point, np.uint8))
    attributes = {"axis": -1} if operation.scale.size > 1 else {}
    value = graph.node("DequantizeLinear", operands, attributes=attributes, label=operation.name)
    graph.put(operation.output, value)


operations.register(Dequantize.kind)(Writers(fast=write, explicit=write))
