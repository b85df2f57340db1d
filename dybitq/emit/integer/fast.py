"""Pieces of the fast flavour: the runtime's quantized kernels, with parameters under which they are exact.

Inside the integer stretch one step of every tensor counts as 1.0: input and output scales of the kernels are
1.0, and the scale of the weights is the dyadic factor itself. So the float32 number that the kernel
multiplies its accumulator with is exactly ``b * 2^-c``, and with c <= 16 every step it takes is exact (see
``encodings/dyadic.py``). For means the factor times the count stands as input scale and is divided by the
count in the kernel, without a remainder.
"""

import numpy as np
import onnx_ir as ir

from dybitq.emit.integer.graph import CONTRIB, IntegerGraph
from dybitq.encodings import dyadic
from dybitq.records.integer_network import ActivationProduct, Concatenation, Multiplication, Requantize


def one(graph: IntegerGraph) -> ir.Value:
    """Add the scale of a tensor whose step counts as 1."""
    return graph.scalar(1.0, np.float32)


def zero(graph: IntegerGraph, zero_point: int) -> ir.Value:
    """Add a zero point."""
    return graph.scalar(zero_point, np.uint8)


def weight_scale(graph: IntegerGraph, target: Requantize) -> list[ir.Value]:
    """Add the dyadic factors as float32, which holds them exactly, and the weights' zero point."""
    factors = dyadic.value(target.multiplier, target.shift).astype(np.float32)
    zeros = np.zeros(factors.shape, np.int8)
    if factors.size == 1:
        factors, zeros = factors.reshape(()), zeros.reshape(())
    return [graph.array(factors), graph.array(zeros)]


def product_of_two(
    graph: IntegerGraph, op_type: str, operation: ActivationProduct | Multiplication, *, domain: str = ""
) -> None:
    """Add a quantized product of two activations, with the factor on the first operand."""
    target = operation.requantize
    left, right = (graph.get(name) for name in operation.inputs)
    factor = graph.scalar(float(dyadic.value(target.multiplier, target.shift)[0]), np.float32)
    operands = [left, factor, zero(graph, operation.zeros[0]), right, one(graph)]
    operands += [zero(graph, operation.zeros[1]), one(graph), zero(graph, target.zero_point)]
    value = graph.node(op_type, operands, domain=domain, label=operation.name)
    graph.put_codes(operation.output, graph.clipped(value, target.low, target.high))


def joined_codes(graph: IntegerGraph, operation: Concatenation) -> None:
    """Add a QLinearConcat, each operand scaled by its factor."""
    first = operation.requantize[0]
    operands = [one(graph), zero(graph, first.zero_point)]
    for name, zero_point, target in zip(operation.inputs, operation.zeros, operation.requantize, strict=True):
        factor = float(dyadic.value(target.multiplier, target.shift)[0])
        operands += [graph.get(name), graph.scalar(factor, np.float32), zero(graph, zero_point)]
    attributes = {"axis": operation.axis}
    value = graph.node("QLinearConcat", operands, attributes=attributes, domain=CONTRIB, label=operation.name)
    graph.put_codes(operation.output, graph.clipped(value, first.low, first.high))
