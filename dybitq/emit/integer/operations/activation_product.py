"""Products of two activations: QLinearMatMul, or MatMulInteger and a requantization."""

import numpy as np

from dybitq.emit.integer.explicit import requantized, wide
from dybitq.emit.integer.fast import product_of_two
from dybitq.emit.integer.graph import IntegerGraph
from dybitq.emit.integer.writers import Writers, operations
from dybitq.records.integer_network import ActivationProduct


def fast(graph: IntegerGraph, operation: ActivationProduct) -> None:
    """Write a QLinearMatMul."""
    product_of_two(graph, "QLinearMatMul", operation)


def explicit(graph: IntegerGraph, operation: ActivationProduct) -> None:
    """Write a MatMulInteger, and rescale its sums."""
    operands = [graph.get(name) for name in operation.inputs]
    operands += [graph.scalar(zero, np.uint8) for zero in operation.zeros]
    value = graph.node("MatMulInteger", operands, label=operation.name)
    graph.put_codes(operation.output, requantized(graph, wide(graph, value), operation.requantize, 0))


operations.register(ActivationProduct.kind)(Writers(fast=fast, explicit=explicit))
