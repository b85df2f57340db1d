"""The way in, the same in both flavours."""

import numpy as np

from dybitq.emit.integer.graph import IntegerGraph
from dybitq.emit.integer.writers import Writers, operations
from dybitq.records.integer_network import Quantize


def write(graph: IntegerGraph, operation: Quantize) -> None:
    """Write a QuantizeLinear, and a Clip where the codes are narrower than 8 bits."""
    operands = [
        graph.get(operation.input),
        graph.scalar(operation.scale, np.float32),
        graph.scalar(operation.zero_point, np.uint8),
    ]
    codes = graph.node("QuantizeLinear", operands, label=operation.name)
    graph.put_codes(operation.output, graph.clipped(codes, operation.low, operation.high))


operations.register(Quantize.kind)(Writers(fast=write, explicit=write))
