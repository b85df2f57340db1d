"""Activation tensors of a graph that are worth coding in 8 bits, from the roles of its operators.

Two passes. Forward: a tensor is *codable* if codes can come out of its producer without a detour
through float. Backward: it is *needed* if some layer downstream multiplies its codes. Coded are the
tensors that are needed, and the outputs of convolutions, whose kernel has to write codes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from dybitq.graph.operators import Role, activation_inputs, role
from dybitq.records.geometry.products import ActivationProduct
from dybitq.records.geometry.windows import SlidingWindow
from dybitq.records.layers import LayerWork
from dybitq.records.plan import ActivationMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """Result of :func:`find_regions`.

    Attributes:
        roots: tensors that get an encoding of their own, in topological order.
        carries: every coded tensor to the root whose encoding it carries.
        layers_only: roots whose codes only weighted layers read.
    """

    roots: tuple[str, ...]
    carries: Mapping[str, str]
    layers_only: frozenset[str]


def find_regions(
    graph: ir.Graph,
    layers: Mapping[str, LayerWork],
    modes: Mapping[str, ActivationMode],
    *,
    to_output: bool = False,
) -> Regions:
    """Find the tensors to code.

    Args:
        graph: normalised graph.
        layers: survey by node name.
        modes: activation mode by layer name; layers that are not in it stay in float.
        to_output: keep codes up to the graph outputs (integer-only), where otherwise a tail without
            weighted layers is left in float.
    """
    nodes = list(graph)
    roles = {id(node): role(node, layers) for node in nodes}
    static = {name for name, mode in modes.items() if mode is ActivationMode.STATIC}
    codable = _codable(graph, nodes, roles, static)
    needed = _needed(graph, nodes, roles, static, codable, layers, to_output=to_output)
    return _roots(graph, nodes, roles, static, needed, layers)


def _runs_as_codes(node: ir.Node, kind: Role, codable: set[str]) -> bool:
    inputs = activation_inputs(node)
    return (
        kind in (Role.FUSED, Role.CODES, Role.CLAMP, Role.TABLE)
        and bool(inputs)
        and all(v.name in codable for v in inputs)
    )


def _codable(graph: ir.Graph, nodes: list[ir.Node], roles: dict[int, Role], static: set[str]) -> set[str]:
    codable = {v.name for v in graph.inputs if v.dtype == ir.DataType.FLOAT and v.name}
    for node in nodes:
        if node.name in static or _runs_as_codes(node, roles[id(node)], codable):
            codable.update(v.name for v in node.outputs if v.name)
    return codable


def _needed(
    graph: ir.Graph,
    nodes: list[ir.Node],
    roles: dict[int, Role],
    static: set[str],
    codable: set[str],
    layers: Mapping[str, LayerWork],
    *,
    to_output: bool,
) -> set[str]:
    needed = {v.name for v in graph.outputs if v.name in codable} if to_output else set()
    # MatMul and its bias run as one kernel that ends in float: codes in between would only cost accuracy.
    biases = {layers[name].bias_node for name in static}
    for node in reversed(nodes):
        if node.name in static:
            layer = layers[node.name]
            needed.add(layer.input)
            if isinstance(layer.geometry, ActivationProduct):
                needed.add(layer.weight)
        elif node.name in biases:
            continue
        elif any(v.name in needed for v in node.outputs) and _runs_as_codes(node, roles[id(node)], codable):
            needed.update(v.name for v in activation_inputs(node) if v.name)
    return needed


def absorbed_clamp(value: ir.Value, layers: Mapping[str, LayerWork]) -> ir.Node | None:
    """Return the Relu or Clip that is the only reader of ``value`` and can swallow its quantizer, or None."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    node = next(iter(uses)).node
    if node.graph is not value.graph or role(node, layers) is not Role.CLAMP:
        return None
    return node


def _roots(
    graph: ir.Graph,
    nodes: list[ir.Node],
    roles: dict[int, Role],
    static: set[str],
    needed: set[str],
    layers: Mapping[str, LayerWork],
) -> Regions:
    roots: list[str] = []
    carries: dict[str, str] = {}

    def root(name: str) -> None:
        roots.append(name)
        carries[name] = name

    for value in graph.inputs:
        if value.name in needed:
            root(value.name)
    absorbing: set[str] = set()  # raw outputs whose quantizer stands after the clamp
    for node in nodes:
        kind = roles[id(node)]
        source = node.inputs[0].name if node.inputs and node.inputs[0] is not None else None
        if kind in (Role.CODES, Role.CLAMP) and source in carries:
            carries.update({v.name: carries[source] for v in node.outputs if v.name})
            continue
        for value in node.outputs:
            must = node.name in static and isinstance(layers[node.name].geometry, SlidingWindow)
            wanted = value.name in needed or must or (kind is Role.CLAMP and source in absorbing)
            if not wanted or not value.name:
                continue
            if kind in (Role.WEIGHTED, Role.FUSED) and absorbed_clamp(value, layers) is not None:
                absorbing.add(value.name)
            else:
                root(value.name)
    others: set[str] = set()
    for node in nodes:
        if node.name in static or any(v.name in carries for v in node.outputs[:1] if v.name not in roots):
            continue  # a layer, or an operator that passes the codes on
        others.update(carries[v.name] for v in node.inputs if v is not None and v.name in carries)
    others.update(carries[v.name] for v in graph.outputs if v.name in carries)
    return Regions(roots=tuple(roots), carries=carries, layers_only=frozenset(roots) - others)
