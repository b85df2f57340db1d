"""What both flavours of an integer graph write alike: the ways in and out, tables, clamps, weights."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from dybitq.emit.integer.graph import Canvas
from dybitq.emit.lookup import add_lookup
from dybitq.emit.unpack import add_decode
from dybitq.graph import keys
from dybitq.records.geometry.windows import Window
from dybitq.records.integer_network import (
    Clamp,
    Convolution,
    Dequantize,
    Lookup,
    Mean,
    Product,
    Quantize,
    Weight,
)

SPLIT = 64
"""Wide weights are multiplied in two parts of at most this magnitude."""


class IntegerWriter:
    """Writes operations into one canvas; ``scales`` are noted beside the codes, for people."""

    def __init__(self, canvas: Canvas, scales: Mapping[str, float]) -> None:
        self.canvas = canvas
        self._scales = scales

    def quantize(self, operation: Quantize) -> None:
        """QuantizeLinear, and a Clip where the codes are narrower than 8 bits."""
        canvas = self.canvas
        operands = [
            canvas.get(operation.input),
            canvas.scalar(operation.scale, np.float32),
            canvas.scalar(operation.zero_point, np.uint8),
        ]
        codes = canvas.node("QuantizeLinear", operands, label=operation.name)
        self.put(operation.output, self.clipped(codes, operation.low, operation.high))

    def dequantize(self, operation: Dequantize) -> None:
        """DequantizeLinear, per channel along the last axis for accumulators."""
        canvas = self.canvas
        source = canvas.get(operation.input)
        operands = [
            source,
            canvas.array(operation.scale.reshape(()) if operation.scale.size == 1 else operation.scale),
        ]
        if operation.zero_point:
            operands.append(canvas.scalar(operation.zero_point, np.uint8))
        attributes = {"axis": -1} if operation.scale.size > 1 else {}
        canvas.put(
            operation.output,
            canvas.node("DequantizeLinear", operands, attributes=attributes, label=operation.name),
        )

    def lookup(self, operation: Lookup) -> None:
        """A table, looked up by GatherElements on the flattened codes."""
        codes = add_lookup(self.canvas.builder, self.canvas.get(operation.input), operation.table)
        self.put(operation.output, codes, label=operation.name)

    def clamp(self, operation: Clamp) -> None:
        """Clip on codes."""
        source = self.canvas.get(operation.input)
        bounds = [self.canvas.scalar(b, np.uint8) for b in (operation.low, operation.high)]
        self.put(operation.output, self.canvas.node("Clip", [source, *bounds], label=operation.name))

    def accumulate_product(self, operation: Product) -> ir.Value:
        """MatMulInteger and the int32 bias."""
        canvas = self.canvas
        codes, zero = canvas.get(operation.input), canvas.scalar(operation.input_zero, np.uint8)
        sums = []
        labels = (operation.name, f"{operation.name}/low")
        for part, label in zip(self.split(operation.weight), labels, strict=False):
            sums.append(canvas.node("MatMulInteger", [codes, self.weights(part), zero], label=label))
        self.describe(sums[0], operation.weight)
        value = self.joined(sums)
        if operation.bias is None:
            return value
        return canvas.node("Add", [value, canvas.array(operation.bias.astype(np.int32))])

    def sum_up(self, operation: Mean) -> None:
        """Int32 sum over space."""
        canvas = self.canvas
        value = canvas.node("Cast", [canvas.get(operation.input)], attributes={"to": int(ir.DataType.INT32)})
        if operation.input_zero:
            value = canvas.node("Add", [value, canvas.array(np.array(-operation.input_zero, np.int32))])
        axes = canvas.array(np.array(operation.axes, np.int64))
        value = canvas.node("ReduceSum", [value, axes], label=operation.name)
        self.describe_mean(value, operation)
        canvas.put(operation.output, value)

    def weights(self, weight: Weight) -> ir.Value:
        """Packed codes and their decode to int8."""
        return add_decode(self.canvas.builder, weight.format, weight.codes, as_float=False)

    def split(self, weight: Weight) -> tuple[Weight, ...]:
        """The weight itself, or two of int8 where its integers are wider: ``w = 64 high + low``."""
        if weight.format.fits_int8:
            return (weight,)
        high = (weight.format.table + SPLIT // 2) // SPLIT
        low = weight.format.table - SPLIT * high
        return tuple(
            Weight(
                format=replace(weight.format, name=f"{weight.format.name}_{part}", table=table),
                codes=weight.codes,
            )
            for part, table in (("high", high), ("low", low))
        )

    def joined(self, sums: Sequence[ir.Value]) -> ir.Value:
        """The accumulator of a weight that :meth:`split` may have split."""
        if len(sums) == 1:
            return sums[0]
        factor = self.canvas.array(np.array(SPLIT, np.int32))
        return self.canvas.node("Add", [self.canvas.node("Mul", [sums[0], factor]), sums[1]])

    def clipped(self, codes: ir.Value, low: int, high: int) -> ir.Value:
        """Codes clamped to ``low .. high``, by a Clip unless they cannot be outside."""
        if low <= 0 and high >= 255:
            return codes
        bounds = [self.canvas.scalar(b, np.uint8) for b in (low, high)]
        return self.canvas.node("Clip", [codes, *bounds])

    def put(self, name: str, codes: ir.Value, *, label: str = "") -> None:
        """Call uint8 ``codes`` by ``name``; ``label`` names the node that makes them."""
        codes.type = ir.TensorType(ir.DataType.UINT8)
        node = codes.producer()
        if label and node is not None:
            node.name = label
        if name in self._scales and node is not None:
            node.metadata_props[keys.STEP] = f"{self._scales[name]:.9g}"
        self.canvas.put(name, codes)

    def describe_mean(self, value: ir.Value, operation: Mean) -> None:
        """Say on the node of a mean what it averages: shapes are not part of the file."""
        node = value.producer()
        assert node is not None
        node.metadata_props[keys.COUNT] = str(operation.count)
        node.metadata_props[keys.AXES] = ",".join(str(axis) for axis in operation.axes)

    def describe(self, value: ir.Value, weight: Weight) -> None:
        """Say on the node of a layer what its weights are."""
        node = value.producer()
        assert node is not None
        node.metadata_props[keys.WEIGHTS] = weight.format.name
        node.metadata_props[keys.ACTIVATIONS] = "static"


def window_attributes(window: Window) -> dict[str, int | tuple[int, ...]]:
    """Geometry of a convolution as ONNX attributes, those at their default left out."""
    rank = len(window.kernel)
    found: dict[str, int | tuple[int, ...]] = {"kernel_shape": window.kernel}
    if window.strides != (1,) * rank:
        found["strides"] = window.strides
    if window.dilations != (1,) * rank:
        found["dilations"] = window.dilations
    if any(window.pads):
        found["pads"] = window.pads
    if window.group != 1:
        found["group"] = window.group
    return found


def convolution_operands(
    writer: IntegerWriter, operation: Convolution
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Codes, weights and the input's zero point."""
    canvas = writer.canvas
    return (
        canvas.get(operation.input),
        writer.weights(operation.weight),
        canvas.scalar(operation.input_zero, np.uint8),
    )
