"""The fast flavour: the runtime's quantized kernels, with parameters under which they are exact.

Inside the integer stretch one step of every tensor counts as 1.0: input and output scales of the kernels are
1.0, and the scale of the weights is the dyadic factor itself. So the float32 number that the kernel
multiplies its accumulator with is exactly ``b * 2^-c``, and with c <= 16 every step it takes is exact (see
``encodings/dyadic.py``). For means the factor times the count stands as input scale and is divided by the
count in the kernel, without a rest.
"""

import numpy as np
import onnx_ir as ir

from dybitq.emit.integer.graph import CONTRIB
from dybitq.emit.integer.writer import IntegerWriter, convolution_operands, window_attributes
from dybitq.encodings import dyadic
from dybitq.records.integer_network import (
    ActivationProduct,
    Addition,
    Concatenation,
    Convolution,
    Mean,
    Multiplication,
    Product,
    Requantization,
    Requantize,
)


class FastWriter(IntegerWriter):
    """Writes QLinear operators."""

    def convolution(self, operation: Convolution) -> None:
        """QLinearConv."""
        assert operation.requantize is not None
        target = operation.requantize
        codes, weights, zero = convolution_operands(self, operation)
        operands: list[ir.Value | None] = [codes, self._one(), zero, weights, *self._weight_scale(target)]
        operands += [self._one(), self._zero(target.zero_point)]
        if operation.bias is not None:
            operands.append(self.canvas.array(operation.bias.astype(np.int32)))
        value = self.canvas.node(
            "QLinearConv", operands, attributes=window_attributes(operation.window), label=operation.name
        )
        self.describe(value, operation.weight)
        self.put(operation.output, self.clipped(value, target.low, target.high))

    def product(self, operation: Product) -> None:
        """QGemm on matrices; QLinearMatMul on more axes, where there is no bias to add."""
        target = operation.requantize
        if target is None:
            self.canvas.put(operation.output, self.accumulate_product(operation))
            return
        codes = self.canvas.get(operation.input)
        zero = self._zero(operation.input_zero)
        weights, scale = self.weights(operation.weight), self._weight_scale(target)
        written = [self._one(), self._zero(target.zero_point)]
        if operation.bias is None:
            value = self.canvas.node(
                "QLinearMatMul", [codes, self._one(), zero, weights, *scale, *written], label=operation.name
            )
            shape = None
        else:
            codes, shape = self._as_matrix(codes, operation)
            bias = self.canvas.array(operation.bias.astype(np.int32))
            operands = [codes, self._one(), zero, weights, *scale, bias, *written]
            value = self.canvas.node("QGemm", operands, domain=CONTRIB, label=operation.name)
        self.describe(value, operation.weight)
        value = self.clipped(value, target.low, target.high)
        if shape is not None:
            value = self.canvas.node("Reshape", [value, shape])
        self.put(operation.output, value)

    def _as_matrix(self, codes: ir.Value, operation: Product) -> tuple[ir.Value, ir.Value | None]:
        """Codes as ``[rows, K]``, and the shape that the result has to get back."""
        if operation.input_rank == 2:
            return codes, None
        k, n = operation.weight.codes.shape
        canvas = self.canvas
        flat = canvas.node("Reshape", [codes, canvas.array(np.array([-1, k], np.int64))])
        shape = canvas.node("Shape", [codes], attributes={"end": -1} if self._has_shape_end() else None)
        if not self._has_shape_end():
            zero, last = np.zeros(1, np.int64), np.array([-1], np.int64)
            shape = canvas.node("Slice", [shape, canvas.array(zero), canvas.array(last)])
        columns = canvas.array(np.array([n], np.int64))
        return flat, canvas.node("Concat", [shape, columns], attributes={"axis": 0})

    def _has_shape_end(self) -> bool:
        return self.canvas.model.graph.opset_imports[""] >= 15

    def activation_product(self, operation: ActivationProduct) -> None:
        """QLinearMatMul of two activations."""
        target = operation.requantize
        left, right = (self.canvas.get(name) for name in operation.inputs)
        factor = self.canvas.scalar(float(dyadic.value(target.multiplier, target.shift)[0]), np.float32)
        operands = [left, factor, self._zero(operation.zeros[0]), right, self._one()]
        operands += [self._zero(operation.zeros[1]), self._one(), self._zero(target.zero_point)]
        value = self.canvas.node("QLinearMatMul", operands, label=operation.name)
        self.put(operation.output, self.clipped(value, target.low, target.high))

    def addition(self, operation: Addition) -> None:
        """QLinearAdd, each operand scaled by its factor."""
        scales = [np.ldexp(float(b[0]), -operation.shift) for b in operation.multipliers]
        operands: list[ir.Value] = []
        for name, scale, zero in zip(operation.inputs, scales, operation.zeros, strict=True):
            operands += [self.canvas.get(name), self.canvas.scalar(scale, np.float32), self._zero(zero)]
        operands += [self._one(), self._zero(operation.zero_point)]
        value = self.canvas.node("QLinearAdd", operands, domain=CONTRIB, label=operation.name)
        self.put(operation.output, self.clipped(value, operation.low, operation.high))

    def multiplication(self, operation: Multiplication) -> None:
        """QLinearMul, the factor on the first operand."""
        target = operation.requantize
        left, right = (self.canvas.get(name) for name in operation.inputs)
        factor = self.canvas.scalar(float(dyadic.value(target.multiplier, target.shift)[0]), np.float32)
        operands = [left, factor, self._zero(operation.zeros[0]), right, self._one()]
        operands += [self._zero(operation.zeros[1]), self._one(), self._zero(target.zero_point)]
        value = self.canvas.node("QLinearMul", operands, domain=CONTRIB, label=operation.name)
        self.put(operation.output, self.clipped(value, target.low, target.high))

    def concatenation(self, operation: Concatenation) -> None:
        """QLinearConcat, each operand scaled by its factor."""
        first = operation.requantize[0]
        operands = [self._one(), self._zero(first.zero_point)]
        for name, zero, target in zip(operation.inputs, operation.zeros, operation.requantize, strict=True):
            factor = float(dyadic.value(target.multiplier, target.shift)[0])
            operands += [self.canvas.get(name), self.canvas.scalar(factor, np.float32), self._zero(zero)]
        value = self.canvas.node(
            "QLinearConcat",
            operands,
            attributes={"axis": operation.axis},
            domain=CONTRIB,
            label=operation.name,
        )
        self.put(operation.output, self.clipped(value, first.low, first.high))

    def requantization(self, operation: Requantization) -> None:
        """QLinearConcat of one operand, which rescales it."""
        self.concatenation(
            Concatenation(
                name=operation.name,
                inputs=(operation.input,),
                output=operation.output,
                zeros=(operation.input_zero,),
                requantize=(operation.requantize,),
                axis=0,
            )
        )

    def mean(self, operation: Mean) -> None:
        """QLinearGlobalAveragePool; the kernel divides the input scale by the count."""
        target = operation.requantize
        if target is None:
            self.sum_up(operation)
            return
        factor = float(dyadic.value(target.multiplier, target.shift)[0]) * operation.count
        operands = [
            self.canvas.get(operation.input),
            self.canvas.scalar(factor, np.float32),
            self._zero(operation.input_zero),
            self._one(),
            self._zero(target.zero_point),
        ]
        value = self.canvas.node(
            "QLinearGlobalAveragePool",
            operands,
            attributes={"channels_last": 0},
            domain=CONTRIB,
            label=operation.name,
        )
        self.describe_mean(value, operation)
        self.put(operation.output, self.clipped(value, target.low, target.high))

    def _one(self) -> ir.Value:
        return self.canvas.scalar(1.0, np.float32)

    def _zero(self, zero_point: int) -> ir.Value:
        return self.canvas.scalar(zero_point, np.uint8)

    def _weight_scale(self, target: Requantize) -> list[ir.Value]:
        """The dyadic factors as float32, which holds them exactly, and the weights' zero point."""
        factors = dyadic.value(target.multiplier, target.shift).astype(np.float32)
        zeros = np.zeros(factors.shape, np.int8)
        if factors.size == 1:
            factors, zeros = factors.reshape(()), zeros.reshape(())
        return [self.canvas.array(factors), self.canvas.array(zeros)]
