"""Every node of the main graph gets a unique name, and every value too; existing names stay."""

import onnx_ir as ir

from dybitq.graph.values import all_value_names, unique


def unique_names(model: ir.Model) -> tuple[str, ...]:
    """Name the nameless ``<op type>_<n>`` (n counts them in graph order) and number the duplicates."""
    taken = {node.name for node in ir.traversal.RecursiveGraphIterator(model.graph) if node.name}
    known: set[str] = set()
    for node in model.graph:
        if node.name and node.name not in known:
            known.add(node.name)
            continue
        base = node.name or node.op_type
        node.name = unique(base, taken) if node.name else _numbered(base, taken)
        known.add(node.name)
    values = all_value_names(model)
    for node in model.graph:
        for index, value in enumerate(node.outputs):
            if not value.name and (value.uses() or index == 0):
                value.name = unique(f"{node.name}_output", values)
    return ()


def _numbered(base: str, taken: set[str]) -> str:
    number = 0
    while f"{base}_{number}" in taken:
        number += 1
    taken.add(f"{base}_{number}")
    return f"{base}_{number}"
