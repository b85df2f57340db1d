"""Flow of errors through a network: operators as layers, sums, products, joins, or as passing errors on."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import onnx_ir as ir

from dybitq.graph.layers import known_shapes
from dybitq.graph.load import Network
from dybitq.graph.operators import activation_inputs
from dybitq.graph.pointwise_groups import Group, covered_nodes, pointwise_groups
from dybitq.records.layers import LayerWork


class FlowKind(StrEnum):
    """Effect of an operator on the errors of its operands."""

    LAYER = "layer"  # a weighted layer of the survey
    SUM = "sum"  # errors add up, relative to a larger sum
    PRODUCT = "product"  # relative errors add up
    JOIN = "join"  # parts side by side
    PASS = "pass"  # everything else: the relative error stays about the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One operator.

    Attributes:
        name: of the node.
        kind: see :class:`FlowKind`.
        inputs: activations that it reads, constants left out.
        outputs: tensors that it writes.
        elements: values of each input in one sample, dynamic extents counted as 1.
        results: values of the first output, counted alike.
    """

    name: str
    kind: FlowKind
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    elements: tuple[int, ...]
    results: int


_KINDS = {
    **dict.fromkeys(("Add", "Sub", "Sum", "Mean"), FlowKind.SUM),
    **dict.fromkeys(("Mul", "Div", "MatMul", "Gemm", "Einsum"), FlowKind.PRODUCT),
    "Concat": FlowKind.JOIN,
}


def flows(network: Network, layers: Mapping[str, LayerWork]) -> tuple[Flow, ...]:
    """List the operators of the main graph that carry float activations, in topological order."""
    shapes = known_shapes(network.model)

    def size(name: str) -> int:
        shape = shapes.get(name) or ()
        product = 1
        for extent in shape[1:]:
            product *= extent or 1
        return product

    groups = pointwise_groups(network.model.graph)
    covered = covered_nodes(groups)
    result = []
    for node in network.model.graph:
        group = groups.get(node.outputs[0].name or "") if node.outputs else None
        if group is not None:
            result.append(_function(group))
        if group is not None or node in covered:
            continue
        inputs = tuple(v.name or "" for v in activation_inputs(node) if v.dtype == ir.DataType.FLOAT)
        outputs = tuple(v.name or "" for v in node.outputs if v.name and v.dtype == ir.DataType.FLOAT)
        if not inputs or not outputs:
            continue
        kind = FlowKind.LAYER if node.name in layers else _KINDS.get(node.op_type, FlowKind.PASS)
        result.append(
            Flow(
                name=node.name or "",
                kind=kind,
                inputs=inputs,
                outputs=outputs,
                elements=tuple(size(name) for name in inputs),
                results=size(outputs[0]),
            )
        )
    return tuple(result)


def _function(group: Group) -> Flow:
    """Make one flow of operators that compute one function of one tensor, such as ``x * Sigmoid(x)``."""
    return Flow(
        name=group.output.name or "",
        kind=FlowKind.PASS,
        inputs=(group.source.name or "",),
        outputs=(group.output.name or "",),
        elements=(1,),
        results=1,
    )


def output_names(network: Network) -> tuple[str, ...]:
    """List the float outputs of the network."""
    return tuple(v.name or "" for v in network.model.graph.outputs if v.dtype == ir.DataType.FLOAT)
