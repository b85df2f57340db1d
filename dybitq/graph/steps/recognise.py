"""A network as integer operations: what each operator becomes, and why the rest stays in float.

One walk in topological order. A tensor is *coded* when integers stand for it; which of them share one
encoding (scale and zero point) is found on the way: operators that move values pass on the encoding of
their input, and a branch that only a Concat reads takes the encoding of the Concat's output, so that
joining it costs nothing.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from dybitq.graph.operators import Role, clamp_bounds, role
from dybitq.graph.pointwise_groups import Group, covered_nodes, pointwise_groups, swallowed_clamp
from dybitq.graph.steps.channels import channel_gains, channel_slopes
from dybitq.graph.steps.pooling import interpolation, mean_count, window_of
from dybitq.graph.steps.records import IntegerSteps, Step, StepKind, make_step, operand, plain_attributes
from dybitq.graph.steps.regions import segments_of
from dybitq.graph.steps.sharing import keep_accumulators, share_encodings, tail_nodes
from dybitq.graph.values import int_attribute, is_constant, is_op, nodes_by_name, rank_of, shape_of
from dybitq.records.geometry.products import ActivationProduct, EmbeddingTable, MatrixProduct
from dybitq.records.geometry.windows import TransposedWindow
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


def integer_steps(
    model: ir.Model, layers: Mapping[str, LayerWork], quantized: frozenset[str]
) -> IntegerSteps:
    """Turn a normalised network into integer steps.

    Args:
        model: normalised float network; not changed.
        layers: its survey, by node name.
        quantized: names of the layers that may run on integers; others stay in float.
    """
    walk = _Walk(model, layers, quantized)
    for node in model.graph:
        walk.visit(node)
    return walk.result()


class _Walk:
    def __init__(self, model: ir.Model, layers: Mapping[str, LayerWork], quantized: frozenset[str]) -> None:
        self.graph = model.graph
        self.layers = layers
        self.quantized = quantized
        self.nodes = nodes_by_name(model)
        self.steps: list[Step] = []
        self.roots: dict[str, str] = {}
        self.bounds: dict[str, tuple[float, float]] = {}
        self.done: set[ir.Node] = set()
        self.behind: set[str] = set()  # tensors of the tail
        self.products: set[str] = set()  # layers whose accumulator may be the output
        inputs = (v for v in self.graph.inputs if v.dtype == ir.DataType.FLOAT and v.const_value is None)
        self.inputs = {v.name for v in inputs}
        self.tail = tail_nodes(self.graph)
        self.groups = pointwise_groups(self.graph)
        self.inside = covered_nodes(self.groups)

    def visit(self, node: ir.Node) -> None:
        """Add what ``node`` becomes, unless an earlier step took it in or a later table does."""
        if node in self.done or self._is_inside_a_table(node):
            return
        step = self._step(node)
        self.steps.append(self._stays(node) if step is None else step)

    # ----------------------------------------------------------------- what a node becomes

    def _is_inside_a_table(self, node: ir.Node) -> bool:
        if node not in self.inside or str(node.outputs[0].name) in self.groups:
            return False
        return all(self._code(group.source) for group in self.groups.values() if node in group.nodes)

    def _step(self, node: ir.Node) -> Step | None:
        """The integer step of ``node``, or None if it stays in float."""
        if node.name in self.layers:
            return self._layer(node, self.layers[node.name]) if node.name in self.quantized else None
        if not any(v.dtype == ir.DataType.FLOAT for v in node.inputs if v is not None):
            return None
        group = self.groups.get(str(node.outputs[0].name))
        if group is not None and self._code(group.source):
            return self._pointwise(group)
        kind = role(node, self.layers)
        if kind is Role.CODES:
            return self._move(node)
        if is_op(node, "GlobalMaxPool"):
            return self._largest(node)
        if kind is Role.CLAMP:
            return self._clamp(node)
        by_channel = self._channels(node)
        if by_channel is not None:
            return by_channel
        if is_op(node, "Add", "Mul"):
            return self._combine(node)
        if is_op(node, "Concat"):
            return self._concat(node)
        return self._window(node)

    def _channels(self, node: ir.Node) -> Step | None:
        slopes, found = channel_slopes(node), channel_gains(node)
        if slopes is not None:
            source = node.inputs[0]
            assert source is not None
            kind, found = StepKind.SLOPES, (source, (slopes, np.zeros_like(slopes)))
        else:
            kind = StepKind.AFFINE
        if found is None or not self._code(found[0]):
            return None
        step = make_step(node, kind, (found[0],), gains=found[1], rank=rank_of(found[0]) or 0)
        return self._with_clamp(step, node.outputs[0])

    def _window(self, node: ir.Node) -> Step | None:
        if is_op(node, "GlobalAveragePool"):
            count = mean_count(node)
            return None if count is None else self._mean(node, count)
        if is_op(node, "AveragePool"):
            window = window_of(node)
            if window is not None:
                return self._unary(node, StepKind.WINDOW_MEAN, window=window)
            segments = segments_of(node)
            return None if segments is None else self._unary(node, StepKind.REGION_MEANS, segments=segments)
        found = interpolation(node) if is_op(node, "Resize") else None
        if found is None:
            return None
        return self._unary(node, StepKind.INTERPOLATE, factor=found[0], half_pixel=found[1])

    def _mean(self, node: ir.Node, count: int) -> Step | None:
        shape = None if node.inputs[0] is None else node.inputs[0].shape
        axes = tuple(range(2, 0 if shape is None else len(shape)))
        return self._unary(node, StepKind.MEAN, count=count, axes=axes)

    def _unary(self, node: ir.Node, kind: StepKind, **details: Any) -> Step | None:
        source = node.inputs[0]
        shape = None if source is None else source.shape
        channels = shape[1] if shape is not None and len(shape) > 2 else None
        if source is None or not isinstance(channels, int) or not self._code(source):
            return None
        step = make_step(node, kind, (source,), channels=channels, **details)
        if kind is StepKind.INTERPOLATE:
            return self._carried(step)
        return self._with_clamp(step, node.outputs[0])

    def _layer(self, node: ir.Node, layer: LayerWork) -> Step | None:
        if isinstance(layer.geometry, EmbeddingTable) or not _has_phases(layer):
            return None
        names = [layer.input]
        dynamic = isinstance(layer.geometry, ActivationProduct)
        if dynamic:
            names.append(layer.weight)
        values = [next(v for v in node.inputs if v is not None and v.name == name) for name in names]
        if not all(self._code(value, demand=True) for value in values):
            return None
        output = node.outputs[0]
        if layer.bias_node is not None and not layer.geometry.stacked:
            behind = self.nodes[layer.bias_node]
            self.done.add(behind)
            output = behind.outputs[0]
        kind = StepKind.PRODUCT if dynamic else StepKind.LAYER
        attributes = plain_attributes(node)
        step = make_step(node, kind, values, outputs=(str(output.name),), attributes=attributes)
        if isinstance(layer.geometry, MatrixProduct) and layer.geometry.plain:
            self.products.add(step.name)
        return self._with_clamp(step, output)

    def _pointwise(self, group: Group) -> Step | None:
        node = group.nodes[-1]
        if len(group.nodes) == 1 and is_op(node, "Relu", "Clip"):
            return self._clamp(node)
        self.roots[str(group.output.name)] = str(group.output.name)
        return replace(
            make_step(node, StepKind.LOOKUP, (group.source,), outputs=(str(group.output.name),)),
            function=group.function(),
        )

    def _clamp(self, node: ir.Node) -> Step | None:
        source, bounds = node.inputs[0], clamp_bounds(node)
        if source is None or bounds is None or not self._code(source):
            return None
        self.bounds[str(node.outputs[0].name)] = bounds
        return self._carried(make_step(node, StepKind.CLAMP, (source,), bounds=bounds))

    def _move(self, node: ir.Node) -> Step | None:
        source = node.inputs[0]
        if source is None or not self._code(source):
            return None
        operands = tuple(operand(v) for v in node.inputs)
        read = (source, *(v for v in node.inputs[1:] if v is not None and not is_constant(v)))
        step = make_step(node, StepKind.MOVE, read, operands=operands, attributes=plain_attributes(node))
        return self._carried(step)

    def _largest(self, node: ir.Node) -> Step | None:
        """GlobalMaxPool, which the runtime has in float only, as MaxPool over all of the space."""
        step = self._move(node) if mean_count(node) is not None else None
        if step is None:
            return None
        extents = tuple(int(extent or 1) for extent in (shape_of(node.inputs[0]) or ())[2:])
        return replace(step, op_type="MaxPool", attributes={"kernel_shape": extents})

    def _combine(self, node: ir.Node) -> Step | None:
        operands = [v for v in node.inputs if v is not None]
        variable = [v for v in operands if not is_constant(v)]
        if len(operands) != 2 or not variable or not all(self._code(v) for v in variable):
            return None
        kind = StepKind.ADD if is_op(node, "Add") else StepKind.MULTIPLY
        return self._with_clamp(make_step(node, kind, operands), node.outputs[0])

    def _concat(self, node: ir.Node) -> Step | None:
        operands = [v for v in node.inputs if v is not None]
        variable = [v for v in operands if not is_constant(v)]
        if not variable or not all(self._code(v) for v in variable):
            return None
        axis = int_attribute(node, "axis", 0)
        if len({self.roots[str(v.name)] for v in variable}) == 1 and len(variable) == len(operands):
            names = tuple(str(v.name) for v in variable)
            step = make_step(node, StepKind.MOVE, variable, operands=names, attributes={"axis": axis})
            return self._carried(step)
        if node in self.tail:
            return None
        return self._with_clamp(make_step(node, StepKind.CONCAT, operands, axis=axis), node.outputs[0])

    def _with_clamp(self, step: Step, output: ir.Value) -> Step:
        """The step together with the Relu or Clip that is the only reader of its result."""
        clamp = swallowed_clamp(output)
        bounds = None if clamp is None else clamp_bounds(clamp)
        name = str(output.name)
        if clamp is not None and bounds is not None and clamp not in self.inside:
            self.done.add(clamp)
            name = str(clamp.outputs[0].name)
            self.bounds[name] = bounds
            step = replace(step, outputs=(name,), bounds=bounds)
        self.roots[name] = name
        return step

    # ----------------------------------------------------------------- what stays

    def _stays(self, node: ir.Node) -> Step:
        """A node that is no integer arithmetic on codes: shapes, the tail, or float."""
        step = make_step(
            node, StepKind.FLOAT, [v for v in node.inputs if v is not None and not is_constant(v)]
        )
        values = [v for v in (*node.inputs, *node.outputs) if v is not None]
        if not any(v.dtype == ir.DataType.FLOAT for v in values) or is_op(node, "Shape", "Size"):
            return replace(step, kind=StepKind.SHAPE)
        if node in self.tail and all(self._is_dequantized(v) for v in node.inputs if v is not None):
            self.behind.update(step.outputs)
            return replace(step, kind=StepKind.TAIL)
        return replace(step, reason=self._reason(node))

    def _is_dequantized(self, value: ir.Value) -> bool:
        """Whether a value that the tail reads is coded, constant, or from the tail itself."""
        known = value.name in self.roots or value.name in self.behind
        return known or is_constant(value) or value.dtype != ir.DataType.FLOAT

    def _reason(self, node: ir.Node) -> str:
        layer = self.layers.get(str(node.name))
        if layer is not None:
            if isinstance(layer.geometry, EmbeddingTable):
                return "it hands out rows of a float table"
            if not _has_phases(layer):
                return "only transposed convolutions of pictures with one stride and no dilation are integer"
            return "the plan leaves it in float"
        inputs = [v for v in node.inputs if v is not None and not is_constant(v)]
        unknown = [v.name for v in inputs if v.name not in self.roots and v.name not in self.inputs]
        supported = role(node, self.layers) is not Role.FLOAT or str(node.outputs[0].name) in self.groups
        if supported and unknown:
            return f"its input {unknown[0]!r} is float"
        return _REASONS.get(node.op_type, f"{node.op_type} has no integer form here")

    # ----------------------------------------------------------------- codes and encodings

    def _code(self, value: ir.Value, *, demand: bool = False) -> bool:
        """Whether ``value`` has codes; a float input gets a quantizer, with ``demand`` any float tensor."""
        name = str(value.name)
        if name in self.roots:
            return True
        if name not in self.inputs and not (demand and value.dtype == ir.DataType.FLOAT):
            return False
        self.roots[name] = name
        step = Step(kind=StepKind.QUANTIZE, name=name, op_type="", inputs=(name,), outputs=(name,))
        self.steps.append(step)
        return True

    def _carried(self, step: Step) -> Step:
        """The outputs of ``step`` have the encoding of its first input."""
        for name in step.outputs:
            self.roots[name] = self.roots[step.inputs[0]]
        return step

    def result(self) -> IntegerSteps:
        """Join encodings at Concats, and look at who reads what."""
        outputs = tuple(str(v.name) for v in self.graph.outputs)
        steps, accumulators = keep_accumulators(self.steps, outputs, self.products)
        coded = {name: root for name, root in self.roots.items() if name not in accumulators}
        steps, roots = share_encodings(steps, coded, set(outputs))
        readers: dict[str, list[Step]] = {}
        for step in steps:
            for name in step.inputs:
                readers.setdefault(name, []).append(step)
        responses = {
            name: found[0].function
            for name, found in readers.items()
            if len(found) == 1 and found[0].function is not None and name not in outputs
        }
        return IntegerSteps(
            steps=tuple(steps),
            roots=roots,
            accumulators=accumulators,
            bounds=self.bounds,
            responses=responses,
            outputs=outputs,
        )


def _has_phases(layer: LayerWork) -> bool:
    """Whether a ConvTranspose can be a convolution with one kernel a phase; True for any other layer."""
    if not isinstance(layer.geometry, TransposedWindow):
        return True
    window = layer.geometry.window
    plain = window.dilations == (1, 1) and window.strides[0] == window.strides[-1]
    return plain and len(window.kernel) == 2 and min(window.pads) >= 0
