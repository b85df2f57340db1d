"""Products of two tensors, elementwise: QLinearMul, or Mul and a requantization."""

from dybitq.emit.integer.explicit import centred, requantized
from dybitq.emit.integer.fast import product_of_two
from dybitq.emit.integer.graph import CONTRIB, IntegerGraph
from dybitq.emit.integer.writers import Writers, operations
from dybitq.records.integer_network import Multiplication


def fast(graph: IntegerGraph, operation: Multiplication) -> None:
    """Write a QLinearMul."""
    product_of_two(graph, "QLinearMul", operation, domain=CONTRIB)


def explicit(graph: IntegerGraph, operation: Multiplication) -> None:
    """Write the product of the centred codes, and rescale it."""
    operands = [centred(graph, n, z) for n, z in zip(operation.inputs, operation.zeros, strict=True)]
    value = graph.node("Mul", operands, label=operation.name)
    graph.put_codes(operation.output, requantized(graph, value, operation.requantize, 0))


operations.register(Multiplication.kind)(Writers(fast=fast, explicit=explicit))
