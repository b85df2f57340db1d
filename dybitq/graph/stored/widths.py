"""Widths of activations at the multiplier and in memory, found by following the graph."""

import math
from dataclasses import dataclass

import onnx_ir as ir

from dybitq.graph.operators import MOVES
from dybitq.graph.stored.storage import type_name
from dybitq.graph.values import constant, is_constant, is_op

_STEPS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """Bits of one element, and their format or element type."""

    bits: int
    format: str


def _of_type(value: ir.Value) -> Width:
    return Width(bits=32 if value.dtype is None else value.dtype.bitwidth, format=type_name(value.dtype))


def _of_zero_point(node: ir.Node, codes: ir.Value) -> Width:
    """Return the element type of codes; from their zero point where inference does not know it."""
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    return _of_type(zero if codes.dtype is None and zero is not None else codes)


def _of_codes(codes: ir.Value, node: ir.Node) -> Width:
    """Return the width of quantized codes; a Clip right after the quantizer narrows them."""
    width = _of_zero_point(node, codes)
    clip = _before_moves(codes).producer()
    if clip is None or not is_op(clip, "Clip") or not clip.inputs or clip.inputs[0] is None:
        return width
    quantizer = clip.inputs[0].producer()
    bounds = [constant(value) for value in clip.inputs[1:3]]
    if not is_op(quantizer, "QuantizeLinear") or len(bounds) < 2 or bounds[0] is None or bounds[1] is None:
        return width
    levels = int(bounds[1].reshape(())) - int(bounds[0].reshape(())) + 1
    bits = max(1, math.ceil(math.log2(levels))) if levels > 1 else 1
    return (
        width if bits >= width.bits else Width(bits=bits, format=f"{width.format.rstrip('0123456789')}{bits}")
    )


def _before_moves(value: ir.Value) -> ir.Value:
    """Return the value before the operators that only move it."""
    for _ in range(_STEPS):
        node = value.producer()
        if node is None or not is_op(node, *MOVES) or not node.inputs or node.inputs[0] is None:
            break
        value = node.inputs[0]
    return value


def input_width(value: ir.Value | None) -> Width:
    """Return the width of an operand, through operators that only move values.

    Codes read by an integer operator have their own width; float values from a DequantizeLinear have that of
    the codes that it read.
    """
    current = value
    for _ in range(_STEPS):
        node = None if current is None else current.producer()
        if current is None or node is None:
            break
        if is_op(node, "DequantizeLinear") and node.inputs[0] is not None:
            return _of_codes(node.inputs[0], node)
        if is_op(node, "DynamicQuantizeLinear"):
            return Width(bits=8, format="dynamic uint8")
        if is_op(node, "QuantizeLinear"):
            return _of_codes(current, node)
        if not is_op(node, *MOVES) or not node.inputs:
            break
        current = node.inputs[0]
    return Width(bits=32, format="float32") if value is None else _of_type(value)


def output_width(node: ir.Node) -> Width:
    """Return the width of a node's result in memory: that of a quantizer after it, beyond clamps and bias."""
    value = node.outputs[0]
    for _ in range(_STEPS):
        uses = tuple(value.uses())
        follower = uses[0].node if uses else None
        if follower is None:
            break
        if is_op(follower, "QuantizeLinear"):
            return _quantized_by(follower)
        passes = is_op(follower, "Relu", "Clip", *MOVES) or (
            is_op(follower, "Add") and any(is_constant(v) for v in follower.inputs)
        )
        if not passes or len(uses) > 1 or uses[0].idx > 1:
            break
        value = follower.outputs[0]
    return _of_type(node.outputs[0])


def _quantized_by(quantizer: ir.Node) -> Width:
    codes = quantizer.outputs[0]
    uses = tuple(codes.uses())
    if len(uses) == 1 and is_op(uses[0].node, "Clip"):
        return _of_codes(uses[0].node.outputs[0], uses[0].node)
    return _of_type(codes)
