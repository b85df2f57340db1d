"""Weighted layers in the emitted graph: packed weights on their way into an integer or a float kernel."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from dybitq.emit.builder import Builder
from dybitq.emit.edges import Edges
from dybitq.emit.unpack import add_decode
from dybitq.records import ActivationMode, FittedWeight, LayerKind, LayerPlan, LayerWork


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """One weighted layer under emission."""

    node: ir.Node
    work: LayerWork
    plan: LayerPlan
    fitted: FittedWeight


class Layers:
    """Writes weighted layers into one graph."""

    def __init__(self, builder: Builder, edges: Edges) -> None:
        self.builder = builder
        self.edges = edges
        self._dynamic: dict[str, tuple[ir.Value, ir.Value, ir.Value]] = {}

    def emit(self, layer: Layer) -> None:
        """Write ``layer`` in the mode of its plan.

        A table wider than int8, an operator without a quantized kernel, and an input that has no codes
        all end in float arithmetic on decoded weights.
        """
        static = self.edges.get(self._activation(layer)) is not None
        if layer.work.kind is LayerKind.GATHER:
            self._gather(layer)
        elif layer.plan.activations is ActivationMode.DYNAMIC and layer.fitted.format.fits_int8:
            self._dynamic_matmul(layer)
        elif layer.plan.activations is ActivationMode.STATIC and static and layer.fitted.format.fits_int8:
            self._static(layer)
        else:
            self._float(layer)
        layer.node.metadata_props["dybitq.weights"] = layer.fitted.format.name
        layer.node.metadata_props["dybitq.activations"] = layer.plan.activations.value

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

    def _static(self, layer: Layer) -> None:
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
        if layer.fitted.bias is None:
            return
        if layer.work.kind not in (LayerKind.CONV, LayerKind.GEMM):
            self._float_bias(layer)
        elif _bias_is_ours(layer):
            self._integer_bias(layer, coded.edge.scale)

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

    def _float_bias(self, layer: Layer) -> None:
        """Bias in float: an input where the operator has one, else the Add behind it (made if need be)."""
        bias = layer.fitted.bias
        if bias is None:
            return
        if layer.work.kind in (LayerKind.CONV, LayerKind.CONV_TRANSPOSE, LayerKind.GEMM):
            if _bias_is_ours(layer):
                set_input(layer.node, 2, self.builder.constant(bias, "b"))
            return
        value = self.builder.constant(bias, "b")
        output = layer.node.outputs[0]
        for use in list(output.uses()):
            if use.node.name == layer.work.bias_node:
                use.node.replace_input_with(1 - use.idx, value)
                return
        readers = list(output.uses())
        added = self.builder.node("Add", [output, value], output="r", after=layer.node)
        added.type, added.shape = output.type, output.shape
        for use in readers:
            use.node.replace_input_with(use.idx, added)
        outputs = self.builder.graph.outputs
        for position, found in enumerate(outputs):
            if found is output:
                outputs[position] = added
                output.name, added.name = self.builder.fresh("f"), output.name

    def _dynamic_matmul(self, layer: Layer) -> None:
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
        scales = self.builder.node("Mul", [scale, self._scale(layer)], output="s", before=before)
        result = self.builder.node("Mul", [real, scales], output="r", before=before)
        product.producer().metadata_props.update(  # type: ignore[union-attr]
            {"dybitq.weights": layer.fitted.format.name, "dybitq.activations": "dynamic"}
        )
        self._float_bias(layer)
        _replace(self.builder, layer.node.outputs[0], result)

    def _dynamic_codes(self, layer: Layer, activation: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        assert activation.name is not None
        if activation.name not in self._dynamic:
            node = ir.node("DynamicQuantizeLinear", [activation], num_outputs=3)
            for value, suffix in zip(node.outputs, ("q", "s", "z"), strict=True):
                value.name = self.builder.fresh(suffix)
            self.builder.graph.insert_before(layer.node, node)
            self._dynamic[activation.name] = (node.outputs[0], node.outputs[1], node.outputs[2])
        return self._dynamic[activation.name]

    def _float(self, layer: Layer) -> None:
        """Decoded weights times their scale, in float32: folded to a constant by the runtime."""
        integers = self._integers(layer, as_float=True) if not self._stored_int8(layer) else self._cast(layer)
        fitted = layer.fitted
        scale = fitted.scale.reshape(())
        if fitted.axis is not None:
            shape = [1] * fitted.codes.ndim
            shape[fitted.axis] = -1
            scale = fitted.scale.reshape(shape)
        real = self.builder.node(
            "Mul",
            [integers, self.builder.constant(scale.astype(np.float32), "s")],
            output="r",
            before=layer.node,
        )
        layer.node.replace_input_with(self._weight_index(layer), real)
        self._float_bias(layer)

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

    def _gather(self, layer: Layer) -> None:
        """Embedding: rows are picked as integers and scaled behind the look-up, so the table stays small."""
        node, fitted = layer.node, layer.fitted
        wide = not fitted.format.fits_int8
        integers = self._integers(layer, as_float=wide)
        indices = node.inputs[1]
        picked = self.builder.node(
            "Gather", [integers, indices], output="i", attributes={"axis": 0}, before=node
        )
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
        producer = result.producer()
        assert producer is not None
        producer.metadata_props.update({"dybitq.weights": fitted.format.name, "dybitq.activations": "float"})
        _replace(self.builder, node.outputs[0], result)


def set_input(node: ir.Node, index: int, value: ir.Value) -> None:
    """Set input ``index``, growing the input list if need be."""
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def _bias_is_ours(layer: Layer) -> bool:
    """Whether the bias input is absent or the constant that the survey named (not a computed tensor)."""
    present = len(layer.node.inputs) > 2 and layer.node.inputs[2] is not None
    return not present or layer.work.bias is not None


def _replace(builder: Builder, old: ir.Value, new: ir.Value) -> None:
    """Let ``new`` take the place, the name and the type of ``old``."""
    new.type, new.shape = old.type, old.shape
    name = old.name
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name = builder.fresh("f")
    new.name = name
