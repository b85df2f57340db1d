"""Operators that scale every channel by its own number, as depthwise convolutions with one weight a channel.

A BatchNormalization after a convolution is folded into it; one in front (DenseNet, pre-activation ResNets)
is a gain and a shift for each channel, and so are products and sums with a constant of one number a channel.
"""

import numpy as np
import onnx_ir as ir

from dybitq.encodings import dyadic, formats
from dybitq.graph.passes.batch_norm import affine_of
from dybitq.graph.values import constant, is_constant, is_op, shape_of
from dybitq.integer.factors import dyadic_factors, requantize
from dybitq.records.arithmetic import IntegerOptions
from dybitq.records.fitted import FittedEdge
from dybitq.records.geometry.windows import Window
from dybitq.records.integer_network import Requantize, Weight

_MANTISSAS = np.arange(64, 128)  # weights from which the factor's mantissa is chosen
_SMALLEST = 2.0**-40

Gains = tuple[np.ndarray, np.ndarray]
"""Gain and shift of every channel, float64 ``[channels]`` each."""


def channel_gains(node: ir.Node) -> tuple[ir.Value, Gains] | None:
    """Return the tensor that ``node`` scales and shifts by channel, and by how much; None for others."""
    if is_op(node, "BatchNormalization"):
        source, gains = node.inputs[0], affine_of(node)
        return None if source is None or gains is None or not _has_space(source) else (source, gains)
    if not is_op(node, "Mul", "Div", "Add", "Sub") or len(node.inputs) != 2:
        return None
    index = 1 if is_constant(node.inputs[1]) else 0
    source = node.inputs[1 - index]
    numbers = None if source is None else per_channel(node.inputs[index], source)
    if source is None or numbers is None or is_constant(source):
        return None
    ones, zeros = np.ones_like(numbers), np.zeros_like(numbers)
    match node.op_type, index:
        case "Mul", _:
            return source, (numbers, zeros)
        case "Add", _:
            return source, (ones, numbers)
        case "Sub", 1:
            return source, (ones, -numbers)
        case "Sub", 0:
            return source, (-ones, numbers)
        case "Div", 1 if numbers.all():
            return source, (1.0 / numbers, zeros)
    return None


def per_channel(value: ir.Value | None, source: ir.Value) -> np.ndarray | None:
    """Return a constant that varies along the channels of ``source`` (axis 1) alone, else None."""
    array, shape = constant(value), shape_of(source)
    if array is None or not _has_space(source) or shape is None or array.dtype.kind != "f":
        return None
    channels = shape[1]
    if array.ndim > len(shape) or array.shape[-len(shape) + 1 :] != (channels, *[1] * (len(shape) - 2)):
        return None
    return None if array.size != channels else array.astype(np.float64).reshape(-1)


def _has_space(source: ir.Value) -> bool:
    shape = shape_of(source)
    return shape is not None and len(shape) > 2 and isinstance(shape[1], int)


def channel_weights(
    name: str, factors: np.ndarray, output: FittedEdge, options: IntegerOptions
) -> tuple[np.ndarray, Requantize, float]:
    """Choose the integer weight and dyadic factor of every channel whose product is closest to its factor.

    Args:
        name: of the operator, for messages.
        factors: float64 ``[channels]``.
        output: encoding of the result.
        options: of integer-only arithmetic.

    Returns:
        Weights, int64 ``[channels]``; the requantization; the largest relative error.
    """
    magnitudes = np.abs(factors)
    wanted = np.maximum(magnitudes, _SMALLEST)[:, None] / _MANTISSAS
    b, c = dyadic_factors(name, wanted, options)
    errors = np.abs(dyadic.value(b, c) / wanted - 1)
    best = errors.argmin(axis=1)
    rows = np.arange(len(factors))
    chosen, relative = dyadic.value(b[rows, best], c[rows, best]), errors[rows, best]
    dead = magnitudes < _SMALLEST
    weights = np.where(dead, 0, _MANTISSAS[best] * np.sign(factors)).astype(np.int64)
    # a channel whose factor vanishes at the largest shift takes the weight that is left of it
    vanishing = relative > 1 / _MANTISSAS[0]
    weights = np.where(vanishing & ~dead, np.rint(factors / chosen), weights).astype(np.int64)
    target, _ = requantize(name, chosen, output, options)
    return weights, target, float(np.where(dead | vanishing, 0.0, relative).max())


def depthwise(weights: np.ndarray, rank: int) -> Weight:
    """Return integers ``[channels]`` as the weight of a depthwise convolution of one tap."""
    fmt = formats.get("int8")
    order = np.argsort(fmt.table)
    codes = order[np.searchsorted(fmt.table[order], weights)].astype(np.uint8)
    return Weight(format=fmt, codes=codes.reshape(-1, 1, *[1] * (rank - 2)))


def point(channels: int, rank: int) -> Window:
    """Return the window of a depthwise convolution of one tap."""
    ones = (1,) * (rank - 2)
    return Window(kernel=ones, strides=ones, dilations=ones, pads=(0,) * 2 * len(ones), group=channels)
