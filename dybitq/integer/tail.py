"""Operators that only arrange the outputs: they can stay in float after the dequantizers."""

from collections.abc import Set

import onnx_ir as ir

from dybitq.graph.operators import Role, role
from dybitq.graph.values import is_op


def tail_nodes(graph: ir.Graph) -> frozenset[ir.Node]:
    """Concats whose values only reach graph outputs, by moves and other Concats; and those moves."""
    ends: set[ir.Node] = set()
    for node in reversed(list(graph)):
        moves = (role(node, {}) is Role.CODES and not is_op(node, "MaxPool")) or is_op(node, "Concat")
        if moves and all(_ends(value, ends) for value in node.outputs):
            ends.add(node)
    arranging: set[ir.Node] = set()
    for node in graph:
        follows = any(v is not None and v.producer() in arranging for v in node.inputs)
        if node in ends and (is_op(node, "Concat") or follows):
            arranging.add(node)
    return frozenset(arranging)


def _ends(value: ir.Value, ends: Set[ir.Node]) -> bool:
    readers = [use.node for use in value.uses()]
    return (bool(readers) or value.is_graph_output()) and all(node in ends for node in readers)
