"""Operators that run on codes as they stand, the same in both flavours."""

import onnx_ir as ir

from dybitq.emit.integer.graph import IntegerGraph
from dybitq.emit.integer.writers import Writers, operations
from dybitq.records.integer_network import Move


def write(graph: IntegerGraph, operation: Move) -> None:
    """Write the operator."""
    operands = [
        graph.get(o) if isinstance(o, str) else None if o is None else graph.array(o)
        for o in operation.operands
    ]
    node = ir.node(
        operation.op_type, operands, dict(operation.attributes), num_outputs=len(operation.outputs)
    )
    node.name = operation.name
    graph.builder.append(node)
    for name, value in zip(operation.outputs, node.outputs, strict=True):
        graph.put(name, value)


operations.register(Move.kind)(Writers(fast=write, explicit=write))
