"""The explicit flavour: integer products and sums, integer multipliers, shifts, clamps, and nothing else.

Accumulators are int32, as ConvInteger and MatMulInteger have them; they are rescaled in int64. Weights
beyond int8 are split in two, ``w = 64 high + low``, and multiplied one after the other.
"""

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from dybitq.emit.integer.round_shift import add_round_shift, clamped, lifted, lowered
from dybitq.emit.integer.writer import IntegerWriter, convolution_operands, window_attributes
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

_INT64, _INT32, _UINT8 = int(ir.DataType.INT64), int(ir.DataType.INT32), int(ir.DataType.UINT8)


class ExplicitWriter(IntegerWriter):
    """Writes integer operators of ONNX."""

    def convolution(self, operation: Convolution) -> None:
        """ConvInteger, bias, requantization."""
        parts = self.split(operation.weight)
        attributes = window_attributes(operation.window)
        sums = []
        for part, label in zip(parts, (operation.name, f"{operation.name}/low"), strict=False):
            operands = convolution_operands(self, replace(operation, weight=part))
            sums.append(self.canvas.node("ConvInteger", operands, attributes=attributes, label=label))
        self.describe(sums[0], operation.weight)
        rank = len(operation.window.kernel)
        value = self._biased(self.joined(sums), operation.bias, rank)
        if operation.requantize is None:
            self.canvas.put(operation.output, value)
        else:
            self.put(operation.output, self._requantized(self._wide(value), operation.requantize, rank))

    def product(self, operation: Product) -> None:
        """MatMulInteger, bias, requantization."""
        value = self.accumulate_product(operation)
        if operation.requantize is None:
            self.canvas.put(operation.output, value)
        else:
            self.put(operation.output, self._requantized(self._wide(value), operation.requantize, 0))

    def activation_product(self, operation: ActivationProduct) -> None:
        """MatMulInteger of two activations."""
        operands = [self.canvas.get(name) for name in operation.inputs]
        operands += [self.canvas.scalar(zero, np.uint8) for zero in operation.zeros]
        value = self.canvas.node("MatMulInteger", operands, label=operation.name)
        self.put(operation.output, self._requantized(self._wide(value), operation.requantize, 0))

    def addition(self, operation: Addition) -> None:
        """Both operands times their multipliers, added, shifted; or shifted and added."""
        canvas = self.canvas
        multipliers, shift = operation.multipliers, np.array(operation.shift, np.int64)
        terms = []
        for name, zero, multiplier in zip(operation.inputs, operation.zeros, multipliers, strict=True):
            centred = self._centred(name, zero)
            factor = multiplier.reshape(()) if multiplier.size == 1 else multiplier
            terms.append(canvas.node("Mul", [centred, canvas.array(factor)]))
        if operation.each_branch:
            rounded = [add_round_shift(canvas, term, shift, operation.rounding) for term in terms]
            terms = [lowered(canvas, term) for term in rounded]
        value = canvas.node("Add", terms, label=operation.name)
        if operation.each_branch:
            value = lifted(canvas, value)
        else:
            value = add_round_shift(canvas, value, shift, operation.rounding)
        low, high = operation.low, operation.high
        if operation.bits == 8:
            self.put(operation.output, self._coded(value, operation.zero_point, low, high, _UINT8))
        else:
            canvas.put(operation.output, self._coded(value, 0, low, high, _INT32))

    def multiplication(self, operation: Multiplication) -> None:
        """Product of the centred codes, requantized."""
        operands = [self._centred(n, z) for n, z in zip(operation.inputs, operation.zeros, strict=True)]
        value = self.canvas.node("Mul", operands, label=operation.name)
        self.put(operation.output, self._requantized(value, operation.requantize, 0))

    def concatenation(self, operation: Concatenation) -> None:
        """Every operand requantized, then Concat."""
        parts = [
            self._requantized(self._centred(name, zero), target, 0)
            for name, zero, target in zip(
                operation.inputs, operation.zeros, operation.requantize, strict=True
            )
        ]
        value = self.canvas.node("Concat", parts, attributes={"axis": operation.axis}, label=operation.name)
        self.put(operation.output, value)

    def requantization(self, operation: Requantization) -> None:
        """Codes centred and rescaled."""
        value = self._requantized(
            self._centred(operation.input, operation.input_zero), operation.requantize, 0
        )
        self.put(operation.output, value, label=operation.name)

    def mean(self, operation: Mean) -> None:
        """Sum over space, requantized."""
        if operation.requantize is None:
            self.sum_up(operation)
            return
        axes = self.canvas.array(np.array(operation.axes, np.int64))
        centred = self._centred(operation.input, operation.input_zero)
        value = self.canvas.node("ReduceSum", [centred, axes], label=operation.name)
        self.describe_mean(value, operation)
        self.put(operation.output, self._requantized(value, operation.requantize, 0))

    # ----------------------------------------------------------------- pieces

    def _biased(self, value: ir.Value, bias: np.ndarray | None, rank: int) -> ir.Value:
        if bias is None:
            return value
        return self.canvas.node("Add", [value, self.canvas.array(along(bias, rank).astype(np.int32))])

    def _wide(self, value: ir.Value) -> ir.Value:
        return self.canvas.node("Cast", [value], attributes={"to": _INT64})

    def _centred(self, name: str, zero: int) -> ir.Value:
        value = self._wide(self.canvas.get(name))
        if not zero:
            return value
        return self.canvas.node("Add", [value, self.canvas.array(np.array(-zero, np.int64))])

    def _requantized(self, value: ir.Value, target: Requantize, rank: int) -> ir.Value:
        """Int64 accumulators to uint8 codes; channels lie ``rank`` axes before the last."""
        multiplier, shift = along(target.multiplier, rank), along(target.shift, rank)
        if not (multiplier == 1).all():
            value = self.canvas.node("Mul", [value, self.canvas.array(multiplier)])
        value = add_round_shift(self.canvas, value, shift, target.rounding)
        return self._coded(value, target.zero_point, target.low, target.high, _UINT8)

    def _coded(self, value: ir.Value, zero_point: int, low: int, high: int, dtype: int) -> ir.Value:
        """A lifted value clamped so that with the zero point it lies in ``low .. high``, and cast."""
        value = clamped(self.canvas, value, low - zero_point, high - zero_point)
        return self.canvas.node("Cast", [lowered(self.canvas, value, zero_point)], attributes={"to": dtype})


def along(array: np.ndarray, rank: int) -> np.ndarray:
    """``[channels]`` shaped to broadcast with channels ``rank`` axes before the last; ``[1]`` as a scalar."""
    return array.reshape(()) if array.size == 1 else array.reshape(-1, *[1] * rank)
