"""Products with a constant matrix: QGemm and QLinearMatMul, or MatMulInteger, a bias and a requantization."""

import numpy as np
import onnx_ir as ir

from dybitq.emit.integer.explicit import requantized, wide
from dybitq.emit.integer.fast import one, weight_scale, zero
from dybitq.emit.integer.graph import CONTRIB, IntegerGraph
from dybitq.emit.integer.weights import accumulate_product, decoded, describe
from dybitq.emit.integer.writers import Writers, operations
from dybitq.records.integer_network import Product


def fast(graph: IntegerGraph, operation: Product) -> None:
    """Write a QGemm on matrices; a QLinearMatMul on more axes, where there is no bias to add."""
    target = operation.requantize
    if target is None:
        graph.put(operation.output, accumulate_product(graph, operation))
        return
    codes = graph.get(operation.input)
    zero_point = zero(graph, operation.input_zero)
    weights, scale = decoded(graph, operation.weight), weight_scale(graph, target)
    written = [one(graph), zero(graph, target.zero_point)]
    if operation.bias is None:
        operands = [codes, one(graph), zero_point, weights, *scale, *written]
        value = graph.node("QLinearMatMul", operands, label=operation.name)
        shape = None
    else:
        codes, shape = _as_matrix(graph, codes, operation)
        bias = graph.array(operation.bias.astype(np.int32))
        operands = [codes, one(graph), zero_point, weights, *scale, bias, *written]
        value = graph.node("QGemm", operands, domain=CONTRIB, label=operation.name)
    describe(value, operation.weight)
    value = graph.clipped(value, target.low, target.high)
    if shape is not None:
        value = graph.node("Reshape", [value, shape])
    graph.put_codes(operation.output, value)


def _as_matrix(graph: IntegerGraph, codes: ir.Value, operation: Product) -> tuple[ir.Value, ir.Value | None]:
    """Write codes as ``[rows, K]``, and the shape that the result has to get back."""
    if operation.input_rank == 2:
        return codes, None
    k, n = operation.weight.codes.shape
    flat = graph.node("Reshape", [codes, graph.array(np.array([-1, k], np.int64))])
    has_end = graph.model.graph.opset_imports[""] >= 15
    shape = graph.node("Shape", [codes], attributes={"end": -1} if has_end else None)
    if not has_end:
        first, last = np.zeros(1, np.int64), np.array([-1], np.int64)
        shape = graph.node("Slice", [shape, graph.array(first), graph.array(last)])
    columns = graph.array(np.array([n], np.int64))
    return flat, graph.node("Concat", [shape, columns], attributes={"axis": 0})


def explicit(graph: IntegerGraph, operation: Product) -> None:
    """Write a MatMulInteger and its bias, and rescale the sums."""
    value = accumulate_product(graph, operation)
    if operation.requantize is None:
        graph.put(operation.output, value)
    else:
        codes = requantized(graph, wide(graph, value), operation.requantize, 0)
        graph.put_codes(operation.output, codes)


operations.register(Product.kind)(Writers(fast=fast, explicit=explicit))
