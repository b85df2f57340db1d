"""Quantized operators with float32 scales, computed in integers from the exact values of the scales."""

import numpy as np

from dybitq.graph.stored.plain import PlainNode
from dybitq.verification.exact import convolve, factor_of, multiply, rescale, saturate, shift_half_even
from dybitq.verification.interpreter import operators

Inputs = list[np.ndarray | None]


@operators.register("QuantizeLinear")
def quantize(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """``rint(x / scale) + zero_point`` in float32, saturated: the one step that starts from float."""
    x, scale = _array(inputs, 0), _array(inputs, 1).reshape(())
    zero = inputs[2] if len(inputs) > 2 and inputs[2] is not None else np.array(0, np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):
        codes = np.rint(x.astype(np.float32) / scale) + np.float32(zero.reshape(()))
    limits = np.iinfo(zero.dtype)
    return [np.clip(codes, limits.min, limits.max).astype(zero.dtype)]


@operators.register("DequantizeLinear")
def dequantize(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """``(q - zero_point) * scale`` in float32: the one step that ends in float."""
    q, scale = _array(inputs, 0), _array(inputs, 1)
    zero = inputs[2] if len(inputs) > 2 and inputs[2] is not None else np.array(0, q.dtype)
    axis = int(node.attributes.get("axis", 1))
    if scale.size > 1:
        shape = [1] * q.ndim
        shape[axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape) if zero.size > 1 else zero
    centred = q.astype(np.int64) - zero.astype(np.int64)
    return [centred.astype(np.float32) * scale.astype(np.float32)]


@operators.register("QLinearConv")
def convolution(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Integer convolution, bias, one rescaling by channel."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = (_array(inputs, k) for k in range(8))
    rank = x.ndim - 2
    total = convolve(
        _centred(x, x_zero),
        _centred(w, w_zero.reshape(-1, *[1] * (w.ndim - 1)) if w_zero.size > 1 else w_zero),
        strides=node.attributes.get("strides", (1,) * rank),
        dilations=node.attributes.get("dilations", (1,) * rank),
        pads=node.attributes.get("pads", (0,) * 2 * rank),
        group=int(node.attributes.get("group", 1)),
    )
    if len(inputs) > 8 and inputs[8] is not None:
        total += inputs[8].astype(np.int64).reshape(-1, *[1] * rank)
    return [_coded(rescale(total, factor_of([x_scale, w_scale], y_scale), 1), y_zero)]


@operators.register("QLinearMatMul")
def matrix_product(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Integer product, one rescaling (by column, where the right scale has several)."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (_array(inputs, k) for k in range(8))
    total = multiply(_centred(a, a_zero), _centred(b, b_zero))
    return [_coded(rescale(total, factor_of([a_scale, b_scale], y_scale)), y_zero)]


@operators.register("QGemm")
def gemm(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Integer product with bias, one rescaling by column; alpha has to be 1."""
    a, a_scale, a_zero, b, b_scale, b_zero = (_array(inputs, k) for k in range(6))
    left, right = _centred(a, a_zero), _centred(b, b_zero)
    left = left.T if node.attributes.get("transA", 0) else left
    right = right.T if node.attributes.get("transB", 0) else right
    total = multiply(left, right)
    if len(inputs) > 6 and inputs[6] is not None:
        total = total + inputs[6].astype(np.int64)
    y_scale, y_zero = _array(inputs, 7), _array(inputs, 8)
    return [_coded(rescale(total, factor_of([a_scale, b_scale], y_scale)), y_zero)]


@operators.register("QLinearAdd")
def add(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Exact sum of the scaled operands over a common power of two, rounded once."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (_array(inputs, k) for k in range(8))
    left, right = factor_of([a_scale], y_scale), factor_of([b_scale], y_scale)
    shift = max(int(left.shift.max()), int(right.shift.max()))
    total = _centred(a, a_zero) * int((left.numerator << (shift - left.shift)).reshape(()))
    total = total + _centred(b, b_zero) * int((right.numerator << (shift - right.shift)).reshape(()))
    return [_coded(shift_half_even(total, shift), y_zero)]


@operators.register("QLinearMul")
def product(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Elementwise product of the centred codes, one rescaling."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (_array(inputs, k) for k in range(8))
    total = _centred(a, a_zero) * _centred(b, b_zero)
    return [_coded(rescale(total, factor_of([a_scale, b_scale], y_scale)), y_zero)]


@operators.register("QLinearConcat")
def concat(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Every operand rescaled, side by side."""
    y_scale, y_zero = _array(inputs, 0), _array(inputs, 1)
    parts = []
    for first in range(2, len(inputs), 3):
        x, scale, zero = (_array(inputs, first + k) for k in range(3))
        parts.append(_coded(rescale(_centred(x, zero), factor_of([scale], y_scale)), y_zero))
    return [np.concatenate(parts, axis=int(node.attributes["axis"]))]


@operators.register("QLinearGlobalAveragePool")
def global_mean(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Integer sum over space; the input scale over the count is the factor."""
    x, x_scale, x_zero, y_scale, y_zero = (_array(inputs, k) for k in range(5))
    axes = tuple(range(2, x.ndim))
    count = np.float32(np.prod(x.shape[2:]))
    total = _centred(x, x_zero).sum(axis=axes, keepdims=True)
    under = np.asarray(np.float32(y_scale.reshape(())) * count)  # as the kernel forms it
    return [_coded(rescale(total, factor_of([x_scale], under)), y_zero)]


def _array(inputs: Inputs, index: int) -> np.ndarray:
    found = inputs[index]
    assert found is not None
    return found


def _centred(codes: np.ndarray, zero: np.ndarray) -> np.ndarray:
    return codes.astype(np.int64) - zero.astype(np.int64)


def _coded(value: np.ndarray, zero: np.ndarray) -> np.ndarray:
    return saturate(value + int(zero.reshape(())), zero.dtype)
