"""Joins of rescaled operands: QLinearConcat, or a requantization of each and Concat."""

from dybitq.emit.integer.explicit import centred, requantized
from dybitq.emit.integer.fast import joined_codes
from dybitq.emit.integer.graph import IntegerGraph
from dybitq.emit.integer.writers import Writers, operations
from dybitq.records.integer_network import Concatenation


def explicit(graph: IntegerGraph, operation: Concatenation) -> None:
    """Rescale every operand, then write a Concat."""
    parts = [
        requantized(graph, centred(graph, name, zero), target, 0)
        for name, zero, target in zip(operation.inputs, operation.zeros, operation.requantize, strict=True)
    ]
    value = graph.node("Concat", parts, attributes={"axis": operation.axis}, label=operation.name)
    graph.put_codes(operation.output, value)


operations.register(Concatenation.kind)(Writers(fast=joined_codes, explicit=explicit))
