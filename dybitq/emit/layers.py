"""Weighted layers in the emitted graph: packed weights on their way into an integer or a float kernel."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from dybitq.emit.builder import Builder
from dybitq.emit.edges import Coded, Edges
from dybitq.emit.recode import add_recoding
from dybitq.emit.unpack import add_decode
from dybitq.graph import keys
from dybitq.graph.values import constant
from dybitq.patches import reduction_axis
from dybitq.records.fitted import FittedWeight, Recoding
from dybitq.records.layers import LayerKind, LayerWork
from dybitq.records.plan import ActivationMode, LayerPlan


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """One weighted layer under emission."""

    node: ir.Node
    work: LayerWork
    plan: LayerPlan
    fitted: FittedWeight
    recoding: Recoding | None = None


class Layers:
    """Writes weighted layers into one graph."""

    def __init__(self, builder: Builder, edges: Edges) -> None:
        self.builder = builder
        self.edges = edges
        self._dynamic: dict[str, tuple[ir.Value, ir.Value, ir.Value]] = {}
        self._multiplied: set[tuple[str, ir.Value]] = set()
        self._recoded: dict[tuple[str, str, bytes], ir.Value] = {}

    def emit(self, layer: Layer, *, output_coded: bool) -> ir.Value:
        """Write ``layer`` in the mode of its plan.

        A table wider than int8, an operator without a quantized kernel, an input that has no codes, and a
        convolution whose output gets none all end in float arithmetic on decoded weights.

        Args:
            layer: the layer.
            output_coded: whether the output, or the clamp behind it, gets a quantizer.

        Returns:
            The value that has the layer's output now, under its old name.
        """
        if layer.work.kind is LayerKind.GATHER:
            return self._gather(layer)
        reason = self._why_float(layer, output_coded=output_coded)
        if reason is None and layer.plan.activations is ActivationMode.DYNAMIC:
            return self._dynamic_matmul(layer)
        if reason is None and layer.plan.activations is ActivationMode.STATIC:
            return self._static(layer)
        return self._float(layer, reason or "")

    def _why_float(self, layer: Layer, *, output_coded: bool) -> str | None:
        """Why a layer that was planned for an integer kernel computes in float; None if it need not."""
        if layer.plan.activations is ActivationMode.FLOAT:
            return None
        if not layer.fitted.format.fits_int8:
            return f"the integers of {layer.fitted.format.name} do not fit int8"
        if layer.plan.activations is ActivationMode.DYNAMIC:
            return None
        if self.edges.get(self._activation(layer)) is None:
            return "its input has no codes"
        if layer.work.kind is LayerKind.CONV and not output_coded:
            return "its output gets no codes"
        return None

    def _activation(self, layer: Layer) -> ir.Value | None:
        return layer.node.inputs[1 if layer.work.weight_on_left else 0]

    def _weight_index(self, layer: Layer) -> int:
        if layer.work.kind is LayerKind.GATHER or layer.work.weight_on_left:
            return 0
        return 1

    def _integers(self, layer: Layer, *, as_float: bool) -> ir.Value:
        return add_decode(
            self.builder,
            layer.fitted.format,
            layer.fitted.codes,
            as_float=as_float,
            before=layer.node,
        )

    def _scale_array(self, layer: Layer) -> np.ndarray:
        fitted = layer.fitted
        array = fitted.scale if fitted.axis is not None else fitted.scale.reshape(())
        return array.astype(np.float32)

    def _scale(self, layer: Layer) -> ir.Value:
        return self.builder.constant(self._scale_array(layer), "s")

    def _static(self, layer: Layer) -> ir.Value:
        """DequantizeLinear on both operands: QLinearConv, QGemm or QLinearMatMul in the runtime."""
        operands = [self._integers(layer, as_float=False), self._scale(layer)]
        if layer.work.kind is not LayerKind.CONV:  # without it the runtime does not fuse Gemm and MatMul
            operands.append(self.builder.constant(np.zeros(self._scale_array(layer).shape, np.int8), "z"))
        weight = self.builder.node(
            "DequantizeLinear",
            operands,
            attributes={} if layer.fitted.axis is None else {"axis": layer.fitted.axis},
            output="r",
            before=layer.node,
        )
        layer.node.replace_input_with(self._weight_index(layer), weight)
        coded = self.edges.get(self._activation(layer))
        assert coded is not None
        label(layer.node, layer, ActivationMode.STATIC)
        if layer.recoding is not None:
            layer.node.replace_input_with(0, self._recode(layer, coded, layer.recoding))
        if layer.fitted.bias is None:
            return layer.node.outputs[0]
        if layer.work.kind not in (LayerKind.CONV, LayerKind.GEMM):
            return self._float_bias(layer, layer.node.outputs[0])
        self._integer_bias(layer, coded.edge.scale)
        return layer.node.outputs[0]

    def _recode(self, layer: Layer, coded: Coded, recoding: Recoding) -> ir.Value:
        """The layer's input after its re-coding, dequantized; layers that re-code alike share it."""
        axis, _, groups = reduction_axis(layer.work)
        pairs = groups if recoding.paired else 1
        key = (str(coded.value.name), f"{recoding.name}/{axis}/{pairs}", recoding.both.tobytes())
        if key not in self._recoded:
            self._recoded[key] = self._dequantized(layer, coded, recoding)
        layer.node.metadata_props[keys.RECODE] = recoding.name
        return self._recoded[key]

    def _dequantized(self, layer: Layer, coded: Coded, recoding: Recoding) -> ir.Value:
        codes = add_recoding(self.builder, coded.value, recoding, layer.work, before=layer.node)
        unchanged = self._activation(layer)
        if codes is coded.value and unchanged is not None:
            return unchanged
        return self.builder.node(
            "DequantizeLinear",
            [codes, self.edges.scale(coded.edge), self.edges.zero_point(coded.edge)],
            output="r",
            before=layer.node,
        )

    def _integer_bias(self, layer: Layer, input_scale: float) -> None:
        """Int32 bias at ``input scale * weight scale``, the product formed in float32 as the runtime does."""
        assert layer.fitted.bias is not None
        product = np.float32(input_scale) * layer.fitted.scale.astype(np.float32)
        limit = 2.0**31 - 2**7
        codes = np.clip(np.rint(layer.fitted.bias.astype(np.float64) / product), -limit, limit).astype(
            np.int32
        )
        bias_scale = self.builder.node(
            "Mul",
            [self.builder.constant(np.array(input_scale, np.float32), "s"), self._scale(layer)],
            output="s",
            before=layer.node,
        )
        bias = self.builder.node(
            "DequantizeLinear",
            [self.builder.constant(codes, "b"), bias_scale],
            attributes={"axis": 0} if layer.fitted.axis is not None else {},
            output="r",
            before=layer.node,
        )
        set_input(layer.node, 2, bias)

    def _float_bias(self, layer: Layer, output: ir.Value) -> ir.Value:
        """Bias in float: an input where the operator has one, else the Add behind it (made if need be)."""
        bias = layer.fitted.bias
        if bias is None:
            return output
        if layer.work.kind in (LayerKind.CONV, LayerKind.CONV_TRANSPOSE, LayerKind.GEMM):
            set_input(layer.node, 2, self.builder.constant(bias, "b"))
            return output
        behind = layer.work.bias_node
        for use in list(output.uses()):
            if behind is not None and use.node.name == behind:
                use.node.replace_input_with(1 - use.idx, self.builder.constant(bias, "b"))
                return output
        channels = (-1, 1) if layer.work.weight_on_left else (-1,)
        readers = list(output.uses())
        node = output.producer()
        assert node is not None
        value = self.builder.constant(bias.reshape(channels), "b")
        added = self.builder.node("Add", [output, value], output="r", after=node)
        self.builder.stand_in(output, added, readers)
        return added

    def _dynamic_matmul(self, layer: Layer) -> ir.Value:
        """8-bit activations with the range of the run: DynamicQuantizeMatMul or MatMulIntegerToFloat."""
        activation = layer.node.inputs[0]
        assert activation is not None and activation.name is not None
        codes, scale, zero_point = self._dynamic_codes(layer, activation)
        integers = self._integers(layer, as_float=False)
        before = layer.node
        product = self.builder.node("MatMulInteger", [codes, integers, zero_point], output="p", before=before)
        real = self.builder.node(
            "Cast", [product], attributes={"to": int(ir.DataType.FLOAT)}, output="r", before=before
        )
        scales = self.builder.node(
            "Mul", [scale, self._unshared_scale(layer, activation.name)], output="s", before=before
        )
        result = self.builder.node("Mul", [real, scales], output="r", before=before)
        node = product.producer()
        assert node is not None
        label(node, layer, ActivationMode.DYNAMIC)
        output = layer.node.outputs[0]
        self.builder.stand_in(output, result, list(output.uses()))
        return self._float_bias(layer, result)

    def _unshared_scale(self, layer: Layer, activation: str) -> ir.Value:
        """Scale of the weights, for one product with the scale of ``activation`` only.

        The runtime merges equal products, and then no longer recognises the kernel around them. It also
        merges equal initializers, but only those of up to eight elements.
        """
        scale = self._scale(layer)
        if (activation, scale) in self._multiplied:
            channels = int(layer.fitted.codes.shape[-1])
            array = np.broadcast_to(self._scale_array(layer), (channels,))
            return self.builder.own_constant(array, "s")
        self._multiplied.add((activation, scale))
        return scale

    def _dynamic_codes(self, layer: Layer, activation: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        assert activation.name is not None
        if activation.name not in self._dynamic:
            node = ir.node("DynamicQuantizeLinear", [activation], num_outputs=3)
            for value, suffix in zip(node.outputs, ("q", "s", "z"), strict=True):
                value.name = self.builder.fresh(suffix)
            self.builder.graph.insert_before(layer.node, node)
            self._dynamic[activation.name] = (node.outputs[0], node.outputs[1], node.outputs[2])
        return self._dynamic[activation.name]

    def _float(self, layer: Layer, reason: str) -> ir.Value:
        """Decoded weights times their scale, in float32: folded to a constant by the runtime."""
        integers = self._integers(layer, as_float=True) if not self._stored_int8(layer) else self._cast(layer)
        fitted = layer.fitted
        shape = [1] * fitted.codes.ndim
        if fitted.axis is not None:
            shape[fitted.axis] = -1
        scale = fitted.scale.reshape(() if fitted.axis is None else shape)
        real = self.builder.node(
            "Mul",
            [integers, self.builder.constant(scale.astype(np.float32), "s")],
            output="r",
            before=layer.node,
        )
        layer.node.replace_input_with(self._weight_index(layer), real)
        label(layer.node, layer, ActivationMode.FLOAT)
        if reason:
            layer.node.metadata_props[keys.REASON] = reason
        coded = self.edges.get(self._activation(layer))
        if layer.recoding is not None and coded is not None:
            layer.node.replace_input_with(0, self._recode(layer, coded, layer.recoding))
        return self._float_bias(layer, layer.node.outputs[0])

    def keep_float(self, node: ir.Node, work: LayerWork) -> None:
        """Stop the runtime from rounding the float weights of a layer between quantizers.

        onnxruntime turns them into int8 with one scale for the whole tensor, unasked, where the layer reads
        a DequantizeLinear with a single scale. One scale for each channel, all of them equal, computes the
        same and is left alone.
        """
        quantized = None if node.inputs[0] is None else node.inputs[0].producer()
        if quantized is None or quantized.op_type != "DequantizeLinear" or len(quantized.inputs) != 3:
            return
        codes, *constants = quantized.inputs
        scale, zero_point = (constant(value) for value in constants)
        kinds = (LayerKind.CONV, LayerKind.CONV_TRANSPOSE, LayerKind.GEMM)
        if work.kind not in kinds or scale is None or zero_point is None or scale.ndim:
            return
        shape = (input_channels(work),)
        operands = [
            codes,
            self.builder.constant(np.broadcast_to(scale, shape), "s"),
            self.builder.constant(np.broadcast_to(zero_point, shape), "z"),
        ]
        real = self.builder.node(
            "DequantizeLinear", operands, attributes={"axis": 1}, output="r", before=node
        )
        node.replace_input_with(0, real)

    def _stored_int8(self, layer: Layer) -> bool:
        return layer.fitted.format.bits == 8 and layer.fitted.format.fits_int8

    def _cast(self, layer: Layer) -> ir.Value:
        return self.builder.node(
            "Cast",
            [self._integers(layer, as_float=False)],
            attributes={"to": int(ir.DataType.FLOAT)},
            output="i",
            before=layer.node,
        )

    def _gather(self, layer: Layer) -> ir.Value:
        """Embedding: rows are picked as integers and scaled behind the look-up, so the table stays small."""
        node, fitted = layer.node, layer.fitted
        wide = not fitted.format.fits_int8
        integers = self._integers(layer, as_float=wide)
        indices = node.inputs[1]
        picked = self.builder.node(
            "Gather", [integers, indices], output="i", attributes={"axis": 0}, before=node
        )
        lookup = picked.producer()
        assert lookup is not None
        label(lookup, layer, ActivationMode.FLOAT)
        if not wide:
            picked = self.builder.node(
                "Cast",
                [picked],
                attributes={"to": int(ir.DataType.FLOAT)},
                output="r",
                before=node,
            )
        scale: ir.Value = self.builder.constant(
            fitted.scale.reshape(()) if fitted.axis is None else fitted.scale.reshape(-1, 1),
            "s",
        )
        if fitted.axis is not None:
            scale = self.builder.node(
                "Gather", [scale, indices], output="s", attributes={"axis": 0}, before=node
            )
        result = self.builder.node("Mul", [picked, scale], output="r", before=node)
        output = node.outputs[0]
        self.builder.stand_in(output, result, list(output.uses()))
        return result


def dequantized(value: ir.Value | None) -> bool:
    """Whether ``value`` comes from a DequantizeLinear."""
    producer = None if value is None else value.producer()
    return producer is not None and producer.op_type == "DequantizeLinear"


def input_channels(work: LayerWork) -> int:
    """Extent of axis 1 of the activation that a Conv, ConvTranspose or Gemm reads."""
    shape = [int(extent or 1) for extent in work.weight_shape]
    if work.kind is LayerKind.CONV and work.window is not None:
        return shape[1] * work.window.group
    return shape[1] if work.transposed else shape[0]


def label(node: ir.Node, layer: Layer, mode: ActivationMode) -> None:
    """Say on the node that carries out ``layer`` what became of it; the node takes the layer's name."""
    if node is not layer.node:
        node.name, layer.node.name = layer.node.name, ""
    node.metadata_props[keys.WEIGHTS] = layer.fitted.format.name
    node.metadata_props[keys.ACTIVATIONS] = mode.value


def set_input(node: ir.Node, index: int, value: ir.Value) -> None:
    """Set input ``index``, growing the input list if need be."""
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)
