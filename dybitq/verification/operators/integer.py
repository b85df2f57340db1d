"""Integer operators of ONNX: exact by their definition."""

import numpy as np

from dybitq.graph.stored.plain import PlainNode
from dybitq.verification.exact import convolve, multiply
from dybitq.verification.interpreter import operators

Inputs = list[np.ndarray | None]
_TYPES: dict[int, type[np.generic]] = {
    2: np.uint8,
    3: np.int8,
    4: np.uint16,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    12: np.uint32,
    13: np.uint64,
}  # element types of ONNX


@operators.register("ConvInteger")
def convolution(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Int32 accumulator of a convolution."""
    x, w = _array(inputs, 0), _array(inputs, 1)
    rank = x.ndim - 2
    total = convolve(
        _centred(x, inputs, 2),
        _centred(w, inputs, 3),
        strides=node.attributes.get("strides", (1,) * rank),
        dilations=node.attributes.get("dilations", (1,) * rank),
        pads=node.attributes.get("pads", (0,) * 2 * rank),
        group=int(node.attributes.get("group", 1)),
    )
    return [_int32(node, total)]


@operators.register("MatMulInteger")
def matrix_product(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Int32 accumulator of a matrix product."""
    a, b = _array(inputs, 0), _array(inputs, 1)
    return [_int32(node, multiply(_centred(a, inputs, 2), _centred(b, inputs, 3)))]


@operators.register("Add")
def add(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Sum in the type of the operands, which must not overflow."""
    return [_checked(node, np.add, inputs)]


@operators.register("Mul")
def product(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Product in the type of the operands, which must not overflow."""
    return [_checked(node, np.multiply, inputs)]


@operators.register("BitShift")
def shift(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Shift of unsigned integers; what is shifted out is lost."""
    value, count = _array(inputs, 0), _array(inputs, 1)
    return [value >> count if node.attributes["direction"] == "RIGHT" else value << count]


@operators.register("Clip")
def clip(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Clamp; a bound may be left out."""
    value = _array(inputs, 0)
    low = inputs[1] if len(inputs) > 1 else None
    high = inputs[2] if len(inputs) > 2 else None
    limits = np.iinfo(value.dtype)
    return [np.clip(value, limits.min if low is None else low, limits.max if high is None else high)]


@operators.register("Cast")
def cast(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Between integer types; the value has to fit."""
    value = _array(inputs, 0)
    target = _TYPES.get(int(node.attributes["to"]))
    if target is None:
        raise TypeError(f"Cast {node.name!r}: to no integer type")
    result = value.astype(target)
    if not np.array_equal(result, value):
        raise OverflowError(f"Cast {node.name!r}: a value does not fit {np.dtype(target)}")
    return [result]


@operators.register("ReduceSum")
def reduce_sum(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Sum over axes, int64."""
    value, axes = _array(inputs, 0), _array(inputs, 1)
    keep = bool(node.attributes.get("keepdims", 1))
    return [value.sum(axis=tuple(int(a) for a in axes), keepdims=keep, dtype=value.dtype)]


@operators.register("MaxPool")
def max_pool(node: PlainNode, inputs: Inputs) -> list[np.ndarray]:
    """Largest code of every window; padding never wins."""
    x = _array(inputs, 0)
    kernel = node.attributes["kernel_shape"]
    rank = len(kernel)
    strides = node.attributes.get("strides", (1,) * rank)
    dilations = node.attributes.get("dilations", (1,) * rank)
    pads = node.attributes.get("pads", (0,) * 2 * rank)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    rounding = strides if node.attributes.get("ceil_mode", 0) else (1,) * rank
    border, places = [(0, 0), (0, 0)], []
    for axis in range(rank):
        whole = x.shape[axis + 2] + pads[axis] + pads[axis + rank] - spans[axis]
        count = (whole + rounding[axis] - 1) // strides[axis] + 1
        if rounding[axis] > 1 and (count - 1) * strides[axis] >= x.shape[axis + 2] + pads[axis]:
            count -= 1  # a window that would start in the padding behind the end
        places.append(count)
        end = (count - 1) * strides[axis] + spans[axis] - x.shape[axis + 2] - pads[axis]
        border.append((pads[axis], max(0, end)))
    lowest = np.iinfo(x.dtype).min
    padded = np.pad(x, border, constant_values=lowest)
    best = np.full((*x.shape[:2], *places), lowest, x.dtype)
    for tap in np.ndindex(*kernel):
        window = [
            slice(t * d, t * d + (e - 1) * s + 1, s)
            for t, d, e, s in zip(tap, dilations, places, strides, strict=True)
        ]
        np.maximum(best, padded[:, :, *window], out=best)
    return [best]


def _array(inputs: Inputs, index: int) -> np.ndarray:
    found = inputs[index]
    assert found is not None
    return found


def _centred(codes: np.ndarray, inputs: Inputs, index: int) -> np.ndarray:
    zero = inputs[index] if len(inputs) > index else None
    return codes.astype(np.int64) - (0 if zero is None else zero.astype(np.int64))


def _int32(node: PlainNode, total: np.ndarray) -> np.ndarray:
    result = total.astype(np.int32)
    if not np.array_equal(result, total):
        raise OverflowError(f"{node.op_type} {node.name!r}: an accumulator does not fit 32 bits")
    return result


def _checked(node: PlainNode, operation: np.ufunc, inputs: Inputs) -> np.ndarray:
    left, right = _array(inputs, 0), _array(inputs, 1)
    result = operation(left, right)
    if left.dtype == np.int32 and not np.array_equal(
        result, operation(left.astype(np.int64), right.astype(np.int64))
    ):
        raise OverflowError(f"{node.op_type} {node.name!r}: a result does not fit 32 bits")
    return np.asarray(result)
