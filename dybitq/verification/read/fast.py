"""Quantized operators of the runtime as operations of an integer program."""

from dataclasses import replace

import numpy as np

from dybitq.graph import keys
from dybitq.graph.stored.plain import PlainNode
from dybitq.records.geometry.windows import Window
from dybitq.records.integer_network import (
    ActivationProduct,
    Addition,
    Concatenation,
    Convolution,
    Mean,
    Multiplication,
    Operation,
    Product,
    Requantize,
)
from dybitq.verification.exact import Factor, factor_of
from dybitq.verification.read.graph import Reading, weight_of


def read_quantized(reading: Reading, node: PlainNode) -> Operation | None:
    """The operation of a QLinear operator; None for any other node.

    Raises:
        NotDyadicError: its scales give no dyadic factor.
    """
    method = {
        "QLinearConv": _convolution,
        "QLinearMatMul": _product,
        "QGemm": _gemm,
        "QLinearAdd": _addition,
        "QLinearMul": _multiplication,
        "QLinearConcat": _concatenation,
        "QLinearGlobalAveragePool": _mean,
    }.get(node.op_type)
    return None if method is None else method(reading, node)


def _constant(reading: Reading, node: PlainNode, index: int) -> np.ndarray:
    array = reading.array(node.inputs[index])
    if array is None:
        raise ValueError(f"{node.op_type} {node.name!r}: its {index + 1}. input is computed at run time")
    return array


def _zero(reading: Reading, node: PlainNode, index: int) -> int:
    return int(_constant(reading, node, index).reshape(-1)[0])


def _factor(reading: Reading, node: PlainNode, over: tuple[int, ...], under: int) -> Factor:
    scales = [_constant(reading, node, index).reshape(-1) for index in over]
    return factor_of(scales, _constant(reading, node, under))


def _requantize(factor: Factor, zero_point: int) -> Requantize:
    return Requantize(multiplier=factor.numerator, shift=factor.shift, zero_point=zero_point)


def window_of(node: PlainNode, kernel: tuple[int, ...]) -> Window:
    """Geometry of a convolution from its attributes and the shape of its weight."""
    rank = len(kernel)
    return Window(
        kernel=kernel,
        strides=tuple(node.attributes.get("strides", (1,) * rank)),
        dilations=tuple(node.attributes.get("dilations", (1,) * rank)),
        pads=tuple(node.attributes.get("pads", (0,) * 2 * rank)),
        group=int(node.attributes.get("group", 1)),
    )


def _bias(reading: Reading, node: PlainNode, index: int) -> np.ndarray | None:
    if len(node.inputs) <= index or not node.inputs[index]:
        return None
    return _constant(reading, node, index).astype(np.int64)


def _convolution(reading: Reading, node: PlainNode) -> Operation:
    integers = _constant(reading, node, 3).astype(np.int64)
    return Convolution(
        name=node.name,
        input=node.inputs[0],
        output=node.outputs[0],
        input_zero=_zero(reading, node, 2),
        weight=weight_of(node, integers),
        bias=_bias(reading, node, 8),
        window=window_of(node, integers.shape[2:]),
        requantize=_requantize(_factor(reading, node, (1, 4), 6), _zero(reading, node, 7)),
    )


def _product(reading: Reading, node: PlainNode) -> Operation:
    target = _requantize(_factor(reading, node, (1, 4), 6), _zero(reading, node, 7))
    integers = reading.array(node.inputs[3])
    if integers is None:
        return ActivationProduct(
            name=node.name,
            inputs=(node.inputs[0], node.inputs[3]),
            output=node.outputs[0],
            zeros=(_zero(reading, node, 2), _zero(reading, node, 5)),
            requantize=target,
        )
    return Product(
        name=node.name,
        input=node.inputs[0],
        output=node.outputs[0],
        input_zero=_zero(reading, node, 2),
        weight=weight_of(node, integers.astype(np.int64)),
        bias=None,
        requantize=target,
        input_rank=None,
    )


def _gemm(reading: Reading, node: PlainNode) -> Operation:
    integers = _constant(reading, node, 3).astype(np.int64)
    return Product(
        name=node.name,
        input=node.inputs[0],
        output=node.outputs[0],
        input_zero=_zero(reading, node, 2),
        weight=weight_of(node, integers.T if node.attributes.get("transB", 0) else integers),
        bias=_bias(reading, node, 6),
        requantize=_requantize(_factor(reading, node, (1, 4), 7), _zero(reading, node, 8)),
    )


def _addition(reading: Reading, node: PlainNode) -> Operation:
    left, right = (_factor(reading, node, (index,), 6) for index in (1, 4))
    shift = max(int(left.shift[0]), int(right.shift[0]))
    multipliers = tuple(np.array([int(f.numerator[0]) << (shift - int(f.shift[0]))]) for f in (left, right))
    return Addition(
        name=node.name,
        inputs=(node.inputs[0], node.inputs[3]),
        output=node.outputs[0],
        zeros=(_zero(reading, node, 2), _zero(reading, node, 5)),
        multipliers=(multipliers[0], multipliers[1]),
        shift=shift,
        zero_point=_zero(reading, node, 7),
    )


def _multiplication(reading: Reading, node: PlainNode) -> Operation:
    return Multiplication(
        name=node.name,
        inputs=(node.inputs[0], node.inputs[3]),
        output=node.outputs[0],
        zeros=(_zero(reading, node, 2), _zero(reading, node, 5)),
        requantize=_requantize(_factor(reading, node, (1, 4), 6), _zero(reading, node, 7)),
    )


def _concatenation(reading: Reading, node: PlainNode) -> Operation:
    first = range(2, len(node.inputs), 3)
    zero_point = _zero(reading, node, 1)
    return Concatenation(
        name=node.name,
        inputs=tuple(node.inputs[i] for i in first),
        output=node.outputs[0],
        zeros=tuple(_zero(reading, node, i + 2) for i in first),
        requantize=tuple(_requantize(_factor(reading, node, (i + 1,), 0), zero_point) for i in first),
        axis=int(node.attributes["axis"]),
    )


def _mean(reading: Reading, node: PlainNode) -> Operation:
    count = int(node.metadata.get(keys.COUNT, "0"))
    if count < 1:
        raise ValueError(f"{node.op_type} {node.name!r}: the number of values that it averages is unknown")
    under = np.float32(_constant(reading, node, 3).reshape(())) * np.float32(count)
    factor = factor_of([_constant(reading, node, 1).reshape(-1)], np.asarray(under))
    return Mean(
        name=node.name,
        input=node.inputs[0],
        output=node.outputs[0],
        input_zero=_zero(reading, node, 2),
        axes=tuple(int(a) for a in node.metadata.get(keys.AXES, "2,3").split(",")),
        count=count,
        requantize=_requantize(factor, _zero(reading, node, 4)),
    )


def clamped(operation: Operation, low: int, high: int, output: str) -> Operation | None:
    """The operation with a Clip behind it taken in; None if it has no clamp of its own."""
    if isinstance(operation, Addition):
        return replace(operation, low=low, high=high, output=output)
    if isinstance(operation, Concatenation):
        parts = tuple(replace(target, low=low, high=high) for target in operation.requantize)
        return replace(operation, requantize=parts, output=output)
    if isinstance(operation, Convolution | Product | ActivationProduct | Multiplication | Mean):
        if operation.requantize is None:
            return None
        return replace(operation, requantize=replace(operation.requantize, low=low, high=high), output=output)
    return None
