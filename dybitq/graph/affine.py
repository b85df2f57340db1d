"""Scaling and shifting of a layer's output channels by its weights and bias."""

import numpy as np
import onnx_ir as ir

from dybitq.graph.values import constant, int_attribute, is_op, replace_constant


def output_channels(node: ir.Node) -> int | None:
    """Count output channels of a Conv, ConvTranspose or Gemm with a constant weight; None for other nodes."""
    if not is_op(node, "Conv", "ConvTranspose", "Gemm"):
        return None
    weight = constant(node.inputs[1])
    if weight is None or weight.dtype != np.float32:
        return None
    if is_op(node, "Conv"):
        return weight.shape[0]
    if is_op(node, "ConvTranspose"):
        return weight.shape[1] * int_attribute(node, "group", 1)
    return weight.shape[0] if int_attribute(node, "transB", 0) else weight.shape[1]


def apply_output_affine(model: ir.Model, node: ir.Node, scale: np.ndarray, shift: np.ndarray) -> bool:
    """Make the layer compute ``y * scale + shift`` instead of ``y``.

    Computed in float64 and rounded once to float32. Nothing is changed where the bias is computed at run
    time or the result is not finite in float32.

    Args:
        model: the model, changed in place.
        node: Conv, ConvTranspose, or Gemm with alpha = beta = 1 and no or a vector bias.
        scale: float ``[channels]``.
        shift: float ``[channels]``.

    Returns:
        True if the layer was changed.
    """
    channels = output_channels(node)
    bias_value = node.inputs[2] if len(node.inputs) > 2 else None
    bias = constant(bias_value)
    if channels is None or (bias_value is not None and bias is None):
        return False
    old = np.zeros(channels) if bias is None else bias.astype(np.float64)
    if old.shape != (channels,) or scale.shape != (channels,) or shift.shape != (channels,):
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        new_weight = _scaled_weight(node, scale.astype(np.float64)).astype(np.float32)
        new_bias = (old * scale.astype(np.float64) + shift.astype(np.float64)).astype(np.float32)
    if not (np.isfinite(new_weight).all() and np.isfinite(new_bias).all()):
        return False
    if not np.array_equal(scale, np.ones_like(scale)):
        replace_constant(model, node, 1, new_weight)
    if bias is not None or new_bias.any():
        replace_constant(model, node, 2, new_bias)
    return True


def _scaled_weight(node: ir.Node, scale: np.ndarray) -> np.ndarray:
    weight = constant(node.inputs[1])
    if weight is None:
        raise ValueError(f"layer {node.name!r} has no constant weight")
    wide = weight.astype(np.float64)
    if is_op(node, "Conv"):
        return wide * scale.reshape(-1, *[1] * (wide.ndim - 1))
    if is_op(node, "ConvTranspose"):  # [I, O/g, *k], channel o of group j is row block j, column o
        group = int_attribute(node, "group", 1)
        grouped = wide.reshape(group, wide.shape[0] // group, *wide.shape[1:])
        factors = scale.reshape(group, 1, wide.shape[1], *[1] * (wide.ndim - 2))
        return (grouped * factors).reshape(wide.shape)
    return wide * (scale[:, None] if int_attribute(node, "transB", 0) else scale[None, :])
