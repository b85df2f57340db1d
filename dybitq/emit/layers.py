"""Parts of weighted layers that targets write: decoded weights, biases, and what a node says of its layer."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from dybitq.emit.builder import Builder
from dybitq.emit.unpack import add_decode
from dybitq.graph import keys
from dybitq.graph.values import constant, is_op
from dybitq.records.fitted import FittedWeight, Recoding
from dybitq.records.layers import LayerWork
from dybitq.records.plan import ActivationMode, LayerPlan


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """One weighted layer under emission."""

    node: ir.Node
    work: LayerWork
    plan: LayerPlan
    fitted: FittedWeight
    recoding: Recoding | None = None

    @property
    def activation(self) -> ir.Value | None:
        """The input that is no weight."""
        return self.node.inputs[1 - self.weight_index]

    @property
    def weight_index(self) -> int:
        """Index of the input that is the weight."""
        return self.work.geometry.weight_input

    @property
    def scale(self) -> np.ndarray:
        """Scales of the weight, float32: one for each channel, or a scalar."""
        fitted = self.fitted
        array = fitted.scale if fitted.axis is not None else fitted.scale.reshape(())
        return array.astype(np.float32)


def packed_integers(builder: Builder, layer: Layer, *, as_float: bool) -> ir.Value:
    """Store the weight's codes packed, and decode them to integers, int8 or float32."""
    return add_decode(builder, layer.fitted.format, layer.fitted.codes, as_float=as_float, before=layer.node)


def scale_constant(builder: Builder, layer: Layer) -> ir.Value:
    """Scales of the weight as an initializer."""
    return builder.constant(layer.scale, "s")


def dequantized_weight(
    builder: Builder, layer: Layer, integers: ir.Value, *, zero_point: np.ndarray | None = None
) -> ir.Value:
    """Let the layer read its weight from a DequantizeLinear of ``integers``."""
    operands = [integers, scale_constant(builder, layer)]
    if zero_point is not None:
        operands.append(builder.constant(zero_point, "z"))
    axis = layer.fitted.axis
    attributes = {} if axis is None else {"axis": axis}
    weight = builder.node("DequantizeLinear", operands, attributes=attributes, output="r", before=layer.node)
    layer.node.replace_input_with(layer.weight_index, weight)
    return weight


def integer_bias(builder: Builder, layer: Layer, input_scale: float) -> None:
    """Write the bias as int32 in units of input scale times weight scale, a product of float32."""
    assert layer.fitted.bias is not None
    product = np.float32(input_scale) * layer.fitted.scale.astype(np.float32)
    limit = 2.0**31 - 2**7
    codes = np.clip(np.rint(layer.fitted.bias.astype(np.float64) / product), -limit, limit).astype(np.int32)
    bias_scale = builder.node(
        "Mul",
        [builder.constant(np.array(input_scale, np.float32), "s"), scale_constant(builder, layer)],
        output="s",
        before=layer.node,
    )
    bias = builder.node(
        "DequantizeLinear",
        [builder.constant(codes, "b"), bias_scale],
        attributes={"axis": 0} if layer.fitted.axis is not None else {},
        output="r",
        before=layer.node,
    )
    set_input(layer.node, 2, bias)


def float_bias(builder: Builder, layer: Layer, output: ir.Value) -> ir.Value:
    """Write the bias in float: an input where the operator has one, else the Add after it (made if need be).

    Returns:
        The value that has the layer's output with its bias, or its product where the Add is there already.
    """
    bias = layer.fitted.bias
    if bias is None:
        return output
    if layer.work.geometry.takes_bias:
        set_input(layer.node, 2, builder.constant(bias, "b"))
        return output
    existing = layer.work.bias_node
    for use in list(output.uses()):
        if existing is not None and use.node.name == existing:
            use.node.replace_input_with(1 - use.idx, builder.constant(bias, "b"))
            return output
    readers = list(output.uses())
    node = output.producer()
    assert node is not None
    value = builder.constant(layer.work.geometry.along_output(bias), "b")
    added = builder.node("Add", [output, value], output="r", after=node)
    builder.stand_in(output, added, readers)
    return added


def keep_float(builder: Builder, node: ir.Node, work: LayerWork) -> None:
    """Stop onnxruntime from rounding the float weights of a layer between quantizers.

    It turns them into int8 with one scale for the whole tensor, unasked, where the layer reads a
    DequantizeLinear with a single scale and its output is quantized. One scale for each channel, all of them
    equal, computes the same and is left alone.
    """
    quantized, other = (None if value is None else value.producer() for value in node.inputs[:2])
    if quantized is None or not is_op(quantized, "DequantizeLinear") or is_op(other, "DequantizeLinear"):
        return
    if len(quantized.inputs) != 3:
        return
    codes, *constants = quantized.inputs
    scale, zero_point = (constant(value) for value in constants)
    if not work.geometry.takes_bias or scale is None or zero_point is None or scale.ndim:
        return
    shape = (work.geometry.input_channels,)
    operands = [
        codes,
        builder.constant(np.broadcast_to(scale, shape), "s"),
        builder.constant(np.broadcast_to(zero_point, shape), "z"),
    ]
    real = builder.node("DequantizeLinear", operands, attributes={"axis": 1}, output="r", before=node)
    node.replace_input_with(0, real)


def label(node: ir.Node, layer: Layer, mode: ActivationMode) -> None:
    """Write on the node that carries out ``layer`` what became of it; the node takes the layer's name."""
    if node is not layer.node:
        node.name, layer.node.name = layer.node.name, ""
    node.metadata_props[keys.WEIGHTS] = layer.fitted.format.name
    node.metadata_props[keys.ACTIVATIONS] = mode.value


def set_input(node: ir.Node, index: int, value: ir.Value) -> None:
    """Set input ``index``, growing the input list if need be."""
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)
