"""A network as integer steps, and the reason why an operator stays in float.

Operators are visited in topological order; the files of ``dybitq/integer/operators`` say what each becomes.
A branch that only a Concat reads takes the encoding of the Concat's output, so that joining it costs nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from dybitq.graph.operators import Role, role
from dybitq.graph.pointwise import Response
from dybitq.graph.values import is_constant, is_op
from dybitq.integer.boundary import FloatStep, ShapeStep, TailStep
from dybitq.integer.context import Context, names_of, operators
from dybitq.integer.operators import layer as weighted
from dybitq.integer.operators import lookup
from dybitq.integer.sharing import keep_accumulators, share_encodings
from dybitq.integer.step import IntegerStep
from dybitq.records.geometry.products import EmbeddingTable
from dybitq.records.layers import LayerWork

_QUANTIZED = "the model is quantized already; start from the float one"
_REASONS = {
    "QuantizeLinear": _QUANTIZED,
    "DequantizeLinear": _QUANTIZED,
    "AveragePool": "its windows differ in size, and the extents are unknown or the regions too many",
    "GlobalAveragePool": "the extent of the space is not known beforehand",
    "GlobalMaxPool": "the extent of the space is not known beforehand",
    "Resize": "only nearest, and linear by whole factors, are integer arithmetic here",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerSteps:
    """A network as steps.

    Attributes:
        steps: in topological order.
        roots: every coded tensor to the tensor whose encoding it has (itself, where it has its own).
        accumulators: tensors that stay int32 up to the output, to the tensor that the sum wrote.
        bounds: real-valued bounds of coded tensors that a Relu or Clip wrote.
        responses: function that the only reader of a tensor computes of it, where there is one.
        outputs: names of the graph outputs.
    """

    steps: tuple[IntegerStep, ...]
    roots: Mapping[str, str]
    accumulators: Mapping[str, str]
    bounds: Mapping[str, tuple[float, float]]
    responses: Mapping[str, Response]
    outputs: tuple[str, ...]

    @property
    def encodings(self) -> tuple[str, ...]:
        """Tensors with an encoding of their own, in topological order."""
        return tuple(name for name, root in self.roots.items() if name == root)

    @property
    def float_steps(self) -> tuple[FloatStep, ...]:
        """Operators that are no integer arithmetic."""
        return tuple(step for step in self.steps if isinstance(step, FloatStep))


def integer_steps(
    model: ir.Model, layers: Mapping[str, LayerWork], quantized: frozenset[str]
) -> IntegerSteps:
    """Turn a normalised network into integer steps.

    Args:
        model: normalised float network; not changed.
        layers: its survey, by node name.
        quantized: names of the layers that may run on integers; others stay in float.
    """
    context = Context(model, layers)
    arranged: set[str] = set()  # tensors of the tail
    for node in model.graph:
        if node in context.done or context.is_inside_a_table(node):
            continue
        step = _step(node, context, quantized) or _kept(node, context, arranged)
        context.steps.append(step)
    return _joined(context, tuple(str(v.name) for v in model.graph.outputs))


def _step(node: ir.Node, context: Context, quantized: frozenset[str]) -> IntegerStep | None:
    """Return the integer step of ``node``, or None if it stays in float.

    Layers are known by the survey and tables by the stretch that they end; all others by their operator.
    """
    if node.name in context.layers:
        return weighted.recognise(node, context) if node.name in quantized else None
    if not any(v.dtype == ir.DataType.FLOAT for v in node.inputs if v is not None):
        return None
    step: IntegerStep | None = lookup.recognise(node, context)
    for name in operators:
        step = step or operators.get(name)(node, context)
    return step


def _kept(node: ir.Node, context: Context, arranged: set[str]) -> IntegerStep:
    """Return the step of a node that is no integer arithmetic on codes: shapes, the tail, or float."""
    names = names_of(node, [v for v in node.inputs if v is not None and not is_constant(v)])
    values = [v for v in (*node.inputs, *node.outputs) if v is not None]
    if not any(v.dtype == ir.DataType.FLOAT for v in values) or is_op(node, "Shape", "Size"):
        return ShapeStep(**names)

    def dequantized(value: ir.Value) -> bool:
        known = value.name in context.roots or value.name in arranged
        return known or is_constant(value) or value.dtype != ir.DataType.FLOAT

    if node in context.tail and all(dequantized(v) for v in node.inputs if v is not None):
        arranged.update(names["outputs"])
        return TailStep(**names)
    return FloatStep(**names, reason=_reason(node, context))


def _reason(node: ir.Node, context: Context) -> str:
    layer = context.layers.get(str(node.name))
    if layer is not None:
        if isinstance(layer.geometry, EmbeddingTable):
            return "it hands out rows of a float table"
        if not weighted.has_phases(layer):
            return "only transposed convolutions of pictures with one stride and no dilation are integer"
        return "the plan leaves it in float"
    inputs = [v for v in node.inputs if v is not None and not is_constant(v)]
    unknown = [v.name for v in inputs if v.name not in context.roots and v.name not in context.inputs]
    supported = role(node, context.layers) is not Role.FLOAT or str(node.outputs[0].name) in context.groups
    if supported and unknown:
        return f"its input {unknown[0]!r} is float"
    return _REASONS.get(node.op_type, f"{node.op_type} has no integer form here")


def _joined(context: Context, outputs: tuple[str, ...]) -> IntegerSteps:
    """Join encodings at Concats, and find who reads what."""
    steps, accumulators = keep_accumulators(context.steps, outputs)
    coded = {name: root for name, root in context.roots.items() if name not in accumulators}
    steps, roots = share_encodings(steps, coded, set(outputs))
    readers: dict[str, list[IntegerStep]] = {}
    for step in steps:
        for name in step.inputs:
            readers.setdefault(name, []).append(step)
    responses = {
        name: found[0].response
        for name, found in readers.items()
        if len(found) == 1 and found[0].response is not None and name not in outputs
    }
    return IntegerSteps(
        steps=tuple(steps),
        roots=roots,
        accumulators=accumulators,
        bounds=context.bounds,
        responses=responses,
        outputs=outputs,
    )
