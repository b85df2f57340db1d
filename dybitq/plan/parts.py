"""Concatenations of narrow codes: parts that nothing else reads are stored as narrow as the whole."""

from dataclasses import replace

from dybitq.graph.load import Network
from dybitq.graph.values import is_op, sole_consumer, values_by_name
from dybitq.records.plan import Plan


def with_narrow_parts(network: Network, plan: Plan) -> Plan:
    """Put the operands of every narrow Concat at its width, where the Concat alone reads them.

    A plan that codes the parts in 8 bits would store them wider than anything reads them.
    """
    values = values_by_name(network.model)
    narrow = {edge.tensor: edge.format for edge in plan.edges if edge.format != "int8"}
    coded = {edge.tensor for edge in plan.edges}
    changed: dict[str, str] = {}
    for tensor in reversed([edge.tensor for edge in plan.edges]):  # a part may be a concatenation itself
        width = changed.get(tensor) or narrow.get(tensor)
        node = values[tensor].producer() if tensor in values else None
        if width is None or node is None or not is_op(node, "Concat"):
            continue
        for part in node.inputs:
            if part is not None and part.name in coded and sole_consumer(part) is node:
                changed[part.name] = width
    edges = tuple(replace(edge, format=changed.get(edge.tensor, edge.format)) for edge in plan.edges)
    return replace(plan, edges=edges)
