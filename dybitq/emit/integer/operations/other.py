"""Operators of the float network that stay as they are."""

import onnx_ir as ir

from dybitq.emit.integer.graph import IntegerGraph
from dybitq.emit.integer.writers import Writers, operations
from dybitq.records.integer_network import Other


def write(graph: IntegerGraph, operation: Other) -> None:
    """Write the operator as it stands in the float network, on the tensors of this graph."""
    original = graph.original(operation.name)
    read = iter(operation.inputs)
    operands = []
    for value in original.inputs:
        constant = value is not None and value.const_value is not None and not value.is_graph_input()
        operands.append(None if value is None else graph.get(str(value.name) if constant else next(read)))
    node = ir.Node(
        original.domain,
        original.op_type,
        operands,
        list(original.attributes.values()),
        num_outputs=len(original.outputs),
        name=operation.name,
    )
    graph.builder.append(node)
    for value, made in zip(original.outputs, node.outputs, strict=True):
        if value.name:
            made.type = value.type
            graph.put(value.name, made)


operations.register(Other.kind)(Writers(fast=write, explicit=write))
