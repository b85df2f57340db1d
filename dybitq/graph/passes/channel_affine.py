"""Mul, Div, Add and Sub by per-channel constants after a Conv, ConvTranspose or Gemm are folded into it.

Frozen normalisation layers are exported this way. Only constants that vary along the channel axis alone
are folded; a MatMul keeps the Add after it, which is its bias.
"""

import numpy as np
import onnx_ir as ir

from dybitq.graph.affine import apply_output_affine, output_channels
from dybitq.graph.values import absorb, constant, is_op, sole_consumer


def fold_channel_affine(model: ir.Model) -> tuple[str, ...]:
    """Fold until each layer is followed by another kind of node."""
    for layer in list(model.graph):
        if layer.graph is None:  # folded into an earlier layer
            continue
        while (follower := sole_consumer(layer.outputs[0])) is not None:
            affine = _affine_of(layer, follower)
            if affine is None or not apply_output_affine(model, layer, *affine):
                break
            absorb(model, layer.outputs[0], follower)
    return ()


def _affine_of(layer: ir.Node, follower: ir.Node) -> tuple[np.ndarray, np.ndarray] | None:
    channels = output_channels(layer)
    if (
        channels is None
        or follower.graph is not layer.graph
        or not is_op(follower, "Mul", "Div", "Add", "Sub")
    ):
        return None
    index = 1 if follower.inputs[0] is layer.outputs[0] else 0
    weight = constant(layer.inputs[1])
    array = constant(follower.inputs[index])
    if array is None or weight is None:
        return None
    numbers = _per_channel(array, channels, weight.ndim)
    if numbers is None:
        return None
    ones, zeros = np.ones(channels), np.zeros(channels)
    match follower.op_type, index:
        case "Mul", _:
            return numbers, zeros
        case "Add", _:
            return ones, numbers
        case "Sub", 1:
            return ones, -numbers
        case "Sub", 0:
            return -ones, numbers
        case "Div", 1 if numbers.all():
            return 1.0 / numbers, zeros
    return None


def _per_channel(array: np.ndarray, channels: int, rank: int) -> np.ndarray | None:
    """Return the constant as float64 ``[channels]``; None where it varies along other axes or adds axes.

    The channel is axis 1 of the layer's output, which has the rank of the weight.
    """
    if array.ndim > rank:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    if any(extent != 1 for axis, extent in enumerate(shape) if axis != 1) or shape[1] not in (1, channels):
        return None
    return np.broadcast_to(array.reshape(-1).astype(np.float64), (channels,))
