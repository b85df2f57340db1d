"""Packed weights on the kernels of stock onnxruntime, CPU: the default target.

Weights are stored as packed codes, and decoded by operators that the runtime folds when a session is
created; activations are uint8 codes between DequantizeLinear and QuantizeLinear, which it fuses with the
operator between them. What it fuses and folds is a tested table, ``tests/emit/test_runtime_table.py``; what
is written is in docs/emitted-model.md, operator by operator.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from dybitq.emit.builder import Builder
from dybitq.emit.dynamic import DynamicProducts
from dybitq.emit.edges import CodedEdges
from dybitq.emit.layers import (
    Layer,
    dequantized_weight,
    float_bias,
    integer_bias,
    keep_float,
    label,
    packed_integers,
)
from dybitq.emit.recode import RecodedInputs
from dybitq.emit.target import Refusal, targets
from dybitq.graph import keys
from dybitq.records.formats import NumberFormat
from dybitq.records.geometry.products import EmbeddingTable
from dybitq.records.geometry.windows import SlidingWindow
from dybitq.records.layers import LayerWork
from dybitq.records.plan import ActivationMode, Plan

_IR_VERSION = 10  # node metadata came with it


class OnnxRuntime:
    """The target that carries everything a plan can say, integer-only arithmetic as well."""

    def carries(self, fmt: NumberFormat) -> bool:
        """Tell that every format can be written; layers with tables wider than int8 compute in float."""
        return True

    def refusals(self, plan: Plan, layers: Mapping[str, LayerWork]) -> Sequence[Refusal]:
        """List nothing: every plan that passes its checks can be written."""
        return ()

    def open(self, model: ir.Model, plan: Plan) -> "OnnxRuntimeWriter":
        """Return a writer of packed weights and uint8 codes."""
        return OnnxRuntimeWriter(model, plan)


targets.register("onnxruntime")(OnnxRuntime())


class OnnxRuntimeWriter:
    """Writes one graph; see :class:`dybitq.emit.target.GraphWriter`."""

    def __init__(self, model: ir.Model, plan: Plan) -> None:
        self.model = model
        self.builder = Builder(model)
        pow2 = bool(plan.edges) and all(edge.range == "pow2" for edge in plan.edges)
        self.edges = CodedEdges(self.builder, pow2=pow2)
        self._recoded = RecodedInputs(self.builder, self.edges)
        self._dynamic = DynamicProducts(self.builder)

    def layer(self, layer: Layer, *, output_coded: bool) -> ir.Value:
        """Write ``layer`` in the mode of its plan.

        A table wider than int8, an operator without a quantized kernel, an input that has no codes, and a
        convolution whose output gets none all end in float arithmetic on decoded weights.
        """
        if isinstance(layer.work.geometry, EmbeddingTable):
            return _rows(self.builder, layer)
        reason = self._why_float(layer, output_coded=output_coded)
        if reason is None and layer.plan.activations is ActivationMode.DYNAMIC:
            return self._dynamic_product(layer)
        if reason is None and layer.plan.activations is ActivationMode.STATIC:
            return self._static(layer)
        output = self._float(layer, reason or "")
        if output_coded:
            keep_float(self.builder, layer.node, layer.work)
        return output

    def float_layer(self, node: ir.Node, work: LayerWork, *, output_coded: bool) -> None:
        """Leave the layer as it is, with its weights in float."""
        if output_coded:
            keep_float(self.builder, node, work)

    def finish(self) -> None:
        """Set the IR version."""
        self.model.ir_version = max(self.model.ir_version, _IR_VERSION)

    def _why_float(self, layer: Layer, *, output_coded: bool) -> str | None:
        """Return why a layer planned for an integer kernel computes in float; None if it need not."""
        if layer.plan.activations is ActivationMode.FLOAT:
            return None
        if not layer.fitted.format.fits_int8:
            return f"the integers of {layer.fitted.format.name} do not fit int8"
        if layer.plan.activations is ActivationMode.DYNAMIC:
            return None
        if not self.edges.has_codes(layer.activation):
            return "its input has no codes"
        if isinstance(layer.work.geometry, SlidingWindow) and not output_coded:
            return "its output gets no codes"
        return None

    def _static(self, layer: Layer) -> ir.Value:
        """Write DequantizeLinear on both operands: QLinearConv, QGemm or QLinearMatMul in the runtime."""
        integers = packed_integers(self.builder, layer, as_float=False)
        zero_point = None
        if not isinstance(layer.work.geometry, SlidingWindow):  # else the runtime fuses no Gemm and MatMul
            zero_point = np.zeros(layer.scale.shape, np.int8)
        dequantized_weight(self.builder, layer, integers, zero_point=zero_point)
        coded = self.edges.get(layer.activation)
        assert coded is not None
        label(layer.node, layer, ActivationMode.STATIC)
        self._recoded.read(layer)
        if layer.fitted.bias is not None and layer.work.geometry.takes_bias:
            integer_bias(self.builder, layer, coded.edge.scale)
            return layer.node.outputs[0]
        return float_bias(self.builder, layer, layer.node.outputs[0])

    def _dynamic_product(self, layer: Layer) -> ir.Value:
        activation = self._dynamic.quantized(layer)
        integers = packed_integers(self.builder, layer, as_float=False)
        return float_bias(self.builder, layer, self._dynamic.product(layer, activation, integers))

    def _float(self, layer: Layer, reason: str) -> ir.Value:
        """Write decoded weights times their scale, in float32: folded to a constant by the runtime."""
        fmt, fitted = layer.fitted.format, layer.fitted
        stored_int8 = fmt.bits == 8 and fmt.fits_int8
        integers = packed_integers(self.builder, layer, as_float=not stored_int8)
        if stored_int8:
            integers = _as_float(self.builder, integers, "i", before=layer.node)
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
        layer.node.replace_input_with(layer.weight_index, real)
        label(layer.node, layer, ActivationMode.FLOAT)
        if reason:
            layer.node.metadata_props[keys.REASON] = reason
        self._recoded.read(layer)
        return float_bias(self.builder, layer, layer.node.outputs[0])


def _as_float(builder: Builder, integers: ir.Value, base: str, *, before: ir.Node) -> ir.Value:
    to_float = {"to": int(ir.DataType.FLOAT)}
    return builder.node("Cast", [integers], attributes=to_float, output=base, before=before)


def _rows(builder: Builder, layer: Layer) -> ir.Value:
    """Write an embedding: rows are picked as integers and scaled afterwards, so the table stays small."""
    node, fitted = layer.node, layer.fitted
    wide = not fitted.format.fits_int8
    integers = packed_integers(builder, layer, as_float=wide)
    indices = node.inputs[1]
    picked = builder.node("Gather", [integers, indices], output="i", attributes={"axis": 0}, before=node)
    lookup = picked.producer()
    assert lookup is not None
    label(lookup, layer, ActivationMode.FLOAT)
    if not wide:
        picked = _as_float(builder, picked, "r", before=node)
    per_row = fitted.axis is not None
    scale: ir.Value = builder.constant(fitted.scale.reshape((-1, 1) if per_row else ()), "s")
    if per_row:
        scale = builder.node("Gather", [scale, indices], output="s", attributes={"axis": 0}, before=node)
    result = builder.node("Mul", [picked, scale], output="r", before=node)
    output = node.outputs[0]
    builder.stand_in(output, result, list(output.uses()))
    return result
