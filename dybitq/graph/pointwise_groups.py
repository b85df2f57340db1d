"""Stretches of elementwise operators that together compute one function of one tensor.

``x * Sigmoid(x)``, ``x * Clip(x + 3, 0, 6) / 6`` and ``0.5 x (1 + Erf(x / sqrt 2))`` are several operators
and one function of x: on 8-bit codes, one table of 256 entries.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from dybitq.graph.pointwise import Response
from dybitq.graph.values import is_constant, is_op, sole_consumer

_UNARY = frozenset(
    {"Sigmoid", "Tanh", "Relu", "Clip", "LeakyRelu", "HardSwish", "HardSigmoid", "Elu", "Selu", "Celu"}
    | {"Softplus", "Softsign", "Mish", "Gelu", "Erf", "Abs", "Neg", "Exp", "Log", "Sqrt", "Reciprocal"}
    | {"Sin", "Cos", "Floor", "Ceil", "Round", "Sign", "ThresholdedRelu"}
)
_BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "PRelu"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """One function of one tensor.

    Attributes:
        source: the argument of the function.
        nodes: the operators that compute it, in topological order.
        output: its result.
    """

    source: ir.Value
    nodes: tuple[ir.Node, ...]
    output: ir.Value

    def function(self) -> Response:
        """Make the function, evaluated by the ONNX reference operators in float32; float64 in and out."""
        session = _session(self)

        def call(inputs: np.ndarray) -> np.ndarray:
            with np.errstate(all="ignore"):  # infinities are clipped to the codes' range by the caller
                (result,) = session.run(None, {"x": inputs.astype(np.float32)})
            # a scalar of several axes, such as the slope of a PRelu, adds axes to the result
            return np.asarray(result, np.float64).reshape(inputs.shape)

        return call


def pointwise_groups(graph: ir.Graph) -> dict[str, Group]:
    """Find groups, by the name of their output.

    Only results that are read outside the group have an entry; the group covers those that only it reads. A
    Relu or Clip that is the only reader of an operator that is no function of one tensor (a convolution, a
    sum) belongs to that operator; its result starts a new group.
    """
    sources: dict[ir.Value, ir.Value] = {}
    for node in graph:
        argument = _source(node, sources)
        if argument is not None and not _belongs_to_producer(node, sources):
            sources[node.outputs[0]] = argument
    groups = {}
    for value, source in sources.items():
        if not _inside(value, sources):
            groups[value.name or ""] = Group(source=source, nodes=_between(value, sources), output=value)
    return groups


def covered_nodes(groups: Mapping[str, Group]) -> frozenset[ir.Node]:
    """Collect the nodes whose results are read outside only as the outputs of groups."""
    return frozenset(node for group in groups.values() for node in group.nodes)


def _source(node: ir.Node, sources: Mapping[ir.Value, ir.Value]) -> ir.Value | None:
    """Find the one tensor that the result of ``node`` is a function of, or None."""
    if not is_op(node, *_UNARY, *_BINARY) or len(node.outputs) != 1:
        return None
    operands = [v for v in node.inputs if v is not None]
    variable = [v for v in operands if not is_constant(v)]
    if not variable or any(v.dtype != ir.DataType.FLOAT for v in variable):
        return None
    origins = {sources.get(v, v) for v in variable}
    if len(origins) != 1:
        return None
    source = origins.pop()
    rank = None if source.shape is None else len(source.shape)
    for value in operands:
        tensor = value.const_value
        if tensor is None or value.is_graph_input():
            continue
        if tensor.size != 1 or (len(tensor.shape) > 0 and (rank is None or len(tensor.shape) > rank)):
            return None
    return source


def _belongs_to_producer(node: ir.Node, sources: Mapping[ir.Value, ir.Value]) -> bool:
    value = node.inputs[0]
    if value is None or not is_op(node, "Relu", "Clip"):
        return False
    return value not in sources and swallowed_clamp(value) is node


def _inside(value: ir.Value, sources: Mapping[ir.Value, ir.Value]) -> bool:
    """Tell if only results of the same source read the value."""
    if value.is_graph_output() or not value.uses():
        return False
    return all(sources.get(use.node.outputs[0]) is sources[value] for use in value.uses())


def _between(value: ir.Value, sources: Mapping[ir.Value, ir.Value]) -> tuple[ir.Node, ...]:
    """List the nodes from the source to ``value``, in topological order."""
    order: list[ir.Node] = []

    def visit(current: ir.Value) -> None:
        node = current.producer()
        if node is None or current not in sources or node in order:
            return
        for operand in node.inputs:
            if operand is not None and not is_constant(operand):
                visit(operand)
        order.append(node)

    visit(value)
    return tuple(order)


def _session(group: Group) -> ReferenceEvaluator:
    names: dict[ir.Value, str] = {group.source: "x"}
    initializers, nodes = [], []
    for node in group.nodes:
        operands: list[ir.Value | None] = []
        for value in node.inputs:
            if value is not None and value not in names:
                names[value] = f"v{len(names)}"
                assert value.const_value is not None
                array = value.const_value.numpy()
                initializers.append(onnx.numpy_helper.from_array(array, names[value]))
            operands.append(None if value is None else ir.val(names[value]))
        names[node.outputs[0]] = f"v{len(names)}"
        copy = ir.Node("", node.op_type, operands, list(node.attributes.values()))
        proto = ir.to_proto(copy)
        del proto.output[:]
        proto.output.append(names[node.outputs[0]])
        nodes.append(proto)
    typed = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"])
        for name in ("x", names[group.output])
    ]
    graph = onnx.helper.make_graph(nodes, "pointwise", typed[:1], typed[1:], initializers)
    opsets = group.nodes[0].graph.opset_imports[""] if group.nodes[0].graph is not None else 20
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opsets)])
    return ReferenceEvaluator(model)


def swallowed_clamp(value: ir.Value) -> ir.Node | None:
    """Find the Relu or Clip that is the only reader of ``value``, or None."""
    reader = sole_consumer(value)
    return reader if is_op(reader, "Relu", "Clip") else None
