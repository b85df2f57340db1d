"""Small helpers on values and nodes of an onnx-ir graph, shared by the passes and by emission."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir


def values_by_name(model: ir.Model) -> dict[str, ir.Value]:
    """Index every named value of the main graph: inputs, initializers and node outputs."""
    graph = model.graph
    values = {value.name: value for value in graph.inputs if value.name}
    values.update((name, value) for name, value in graph.initializers.items())
    for node in graph:
        values.update((value.name, value) for value in node.outputs if value.name)
    return values


def nodes_by_name(model: ir.Model) -> dict[str, ir.Node]:
    """Index every node of the main graph by its name (unique after loading)."""
    return {node.name: node for node in model.graph if node.name}


def is_constant(value: ir.Value | None) -> bool:
    """Tell if the value is an initializer that no caller can override.

    An initializer that is also a graph input is only a default (IR version 4 and up), not a
    constant.
    """
    return value is not None and value.const_value is not None and not value.is_graph_input()


def constant(value: ir.Value | None) -> np.ndarray | None:
    """Return the array of a constant value, or None where it is computed or can be overridden."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def require_constant(value: ir.Value | None) -> np.ndarray:
    """Return the array of a value that is known to be constant."""
    array = constant(value)
    if array is None:
        raise ValueError(f"{value.name if value else None!r} is not constant")
    return array


def shape_of(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """Return the shape with None for every dynamic extent; None where the rank is unknown."""
    if value is None or value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else None for dim in value.shape)


def rank_of(value: ir.Value | None) -> int | None:
    """Return the rank, or None where it is unknown."""
    return None if value is None or value.shape is None else len(value.shape)


def sole_consumer(value: ir.Value) -> ir.Node | None:
    """Return the only reader of ``value``, or None where there are more or it is an output."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    return next(iter(uses)).node


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """Tell if the node is one of these operators of the default ONNX domain."""
    return node is not None and node.domain in ("", "ai.onnx") and node.op_type in op_types


def int_attribute(node: ir.Node, name: str, default: int) -> int:
    """Return an integer attribute, or its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def ints_attribute(node: ir.Node, name: str) -> tuple[int, ...] | None:
    """Return a list-of-integers attribute, or None where it is absent."""
    attribute = node.attributes.get(name)
    return None if attribute is None else tuple(attribute.as_ints())


def float_attribute(node: ir.Node, name: str, default: float) -> float:
    """Return a float attribute, or its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


def has_subgraph(node: ir.Node) -> bool:
    """Tell if the node has subgraphs (If, Loop, Scan, SequenceMap)."""
    return any(
        attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        for attribute in node.attributes.values()
    )


def all_value_names(model: ir.Model) -> set[str]:
    """Collect the names of all values, those in subgraphs included."""

    def names(graph: ir.Graph) -> Iterator[str]:
        yield from (value.name or "" for value in graph.inputs)
        yield from graph.initializers
        for node in graph:
            yield from (value.name or "" for value in node.outputs)

    result = set(names(model.graph))
    for graph in model.graph.subgraphs():
        result.update(names(graph))
    return result


def all_node_names(model: ir.Model) -> set[str]:
    """Collect the names of all nodes, those in subgraphs included."""
    return {node.name for node in ir.traversal.RecursiveGraphIterator(model.graph) if node.name}


def unique(base: str, taken: set[str]) -> str:
    """Choose the first free one of ``base``, ``base_2``, ``base_3``, ..., and add it to ``taken``."""
    name = base
    count = 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    return name


class Namer:
    """Makes nodes and initializers with names that no node and no value of a model has yet."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._nodes = all_node_names(model)
        self._values = all_value_names(model)

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        base: str,
        like: ir.Value | None = None,
    ) -> ir.Node:
        """Make a node of one output, both named after ``base``; the output's type is that of ``like``."""
        output = ir.val(unique(base, self._values), type=None if like is None else like.type)
        return ir.node(op_type, inputs, attributes, outputs=[output], name=unique(base, self._nodes))

    def initializer(self, array: np.ndarray, *, base: str) -> ir.Value:
        """Make an initializer named after ``base``."""
        return add_initializer(self._model, unique(base, self._values), array)


def add_initializer(model: ir.Model, name: str, array: np.ndarray) -> ir.Value:
    """Register ``array`` as a new initializer called ``name`` (which must be free)."""
    tensor = ir.Tensor(np.asarray(array, order="C"), name=name)
    value = ir.val(name, const_value=tensor)
    model.graph.register_initializer(value)
    return value


def replace_constant(model: ir.Model, node: ir.Node, index: int, array: np.ndarray) -> ir.Value:
    """Give ``node`` the constant ``array`` as its input ``index``.

    The initializer keeps its name where this node is its only reader; otherwise the other readers keep
    the old one and the node gets a new initializer called ``<old>_<node name>``.
    """
    old = node.inputs[index] if index < len(node.inputs) else None
    name = "" if old is None else old.name or ""
    alone = old is not None and is_constant(old) and len(old.uses()) == 1 and not old.is_graph_output()
    if old is not None and alone:
        old.const_value = ir.Tensor(np.asarray(array, order="C"), name=name)
        old.shape = ir.Shape(array.shape)
        old.type = ir.TensorType(old.const_value.dtype)
        return old
    base = f"{name}_{node.name}" if name else f"{node.name}_input{index}"
    new = add_initializer(model, unique(base, all_value_names(model)), array)
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, new)
    return new


def take_over(new: ir.Value, old: ir.Value, *, keep: ir.Node | None = None, renamed: str = "") -> None:
    """Let all readers of ``old`` read ``new``, which also takes its name, shape, type and place as output.

    Args:
        new: usually computed from ``old``, in which case ``keep`` is the node that goes on reading it.
        old: left without readers (other than ``keep``).
        keep: this node goes on reading ``old``.
        renamed: new name of ``old``, if it stays in the graph.
    """
    name = old.name
    new.shape, new.type = old.shape, old.type or new.type
    if old.is_graph_output() and old.graph is not None:
        outputs = old.graph.outputs
        for index, value in enumerate(outputs):
            if value is old:
                outputs[index] = new
    for usage in tuple(old.uses()):
        if usage.node is not keep:
            usage.node.replace_input_with(usage.idx, new)
    old.name = renamed or f"{name}_replaced"
    new.name = name


def absorb(model: ir.Model, value: ir.Value, follower: ir.Node) -> None:
    """Remove ``follower``, whose only used output becomes ``value``; the name of that output stays.

    ``follower`` must be the only reader of ``value``, or compute the identity.
    """
    output = follower.outputs[0]
    name, shape, kind = output.name, output.shape, output.type
    output.replace_all_uses_with(value, replace_graph_outputs=True)
    graph = follower.graph
    if graph is None:
        raise ValueError(f"node {follower.name!r} is in no graph")
    graph.remove(follower, safe=True)
    value.name = name
    value.shape = shape
    value.type = kind or value.type
