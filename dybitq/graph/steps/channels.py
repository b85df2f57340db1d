"""Operators that scale every channel by its own number: normalisation in front of a layer, PReLU.

A BatchNormalization behind a convolution is folded into it; one in front (DenseNet, pre-activation ResNets)
is a gain and a shift for each channel, and so are products and sums with a constant of one number a channel.
"""

import numpy as np
import onnx_ir as ir

from dybitq.graph.passes.batch_norm import affine_of
from dybitq.graph.values import constant, is_constant, is_op, shape_of

Gains = tuple[np.ndarray, np.ndarray]
"""Gain and shift of every channel, float64 ``[channels]`` each."""


def channel_gains(node: ir.Node) -> tuple[ir.Value, Gains] | None:
    """The tensor that ``node`` scales and shifts channel by channel, and by how much; None for others."""
    if is_op(node, "BatchNormalization"):
        source, gains = node.inputs[0], affine_of(node)
        return None if source is None or gains is None or not _has_space(source) else (source, gains)
    if not is_op(node, "Mul", "Div", "Add", "Sub") or len(node.inputs) != 2:
        return None
    index = 1 if is_constant(node.inputs[1]) else 0
    source = node.inputs[1 - index]
    numbers = None if source is None else _per_channel(node.inputs[index], source)
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


def channel_slopes(node: ir.Node) -> np.ndarray | None:
    """Slope of every channel below zero, float64 ``[channels]``, of a PRelu with constant slopes."""
    source = node.inputs[0]
    if not is_op(node, "PRelu") or source is None:
        return None
    return _per_channel(node.inputs[1], source)


def _per_channel(value: ir.Value | None, source: ir.Value) -> np.ndarray | None:
    """A constant that varies along the channels of ``source`` (axis 1) alone, else None."""
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
