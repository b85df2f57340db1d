"""Bounds of accumulators, from the actual weights, biases and code ranges of an integer network.

For each output channel the smallest and largest sums over all inputs are ``sum_k min(w_k lo, w_k hi)`` and
``sum_k max(w_k lo, w_k hi)`` with codes less zero point in ``lo .. hi``. Zero is within that range (padding
holds it), so partial sums in any order stay inside as well.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dybitq.errors import UnsupportedError
from dybitq.records.integer_network import (
    ActivationProduct,
    Addition,
    Clamp,
    Concatenation,
    Convolution,
    IntegerNetwork,
    Lookup,
    Mean,
    Move,
    Multiplication,
    Operation,
    Product,
    Quantize,
    Requantization,
    Requantize,
    outputs_of,
)

CODES = (0, 255)
_PAIR_LIMIT = 2**15 - 1  # what an int16 holds
_ONE_OPERAND = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Expand", "Tile", "Gather"}
    | {"GatherElements", "GatherND", "DepthToSpace", "SpaceToDepth", "MaxPool", "Pad", "Resize", "Identity"}
)  # moves whose other operands are shapes, places and factors


@dataclass(frozen=True, slots=True, kw_only=True)
class AccumulatorBound:
    """Bound of one operation.

    Attributes:
        name: of the operation.
        op_type: kind of the operation.
        low, high: range of the accumulator, bias included.
        bits: width of a signed accumulator that holds it.
        product_bits: width of a signed register that holds the accumulator times the multiplier, None where
            nothing is multiplied.
        saturates_pairs: whether kernels that add pairs of uint8 x int8 products in 16 bits can saturate.
        length: how many products one sum has.
    """

    name: str
    op_type: str
    low: int
    high: int
    bits: int
    product_bits: int | None
    saturates_pairs: bool
    length: int


def accumulator_bounds(network: IntegerNetwork) -> tuple[AccumulatorBound, ...]:
    """Bounds of every operation that sums or multiplies, in order."""
    ranges: dict[str, tuple[int, int]] = {
        name: (int(codes.min()), int(codes.max())) for name, codes in network.constants.items() if codes.size
    }
    found = []
    for operation in network.operations:
        bound = _bound(operation, lambda name: ranges.get(name, CODES))
        if bound is not None:
            found.append(bound)
        written = _written(operation, lambda name: ranges.get(name, CODES))
        if bound is not None and operation.hands_out_sum:
            written = bound.low, bound.high  # the accumulator itself
        ranges.update((name, written) for name in outputs_of(operation))
    return tuple(found)


def check_registers(network: IntegerNetwork) -> None:
    """Refuse networks whose sums do not fit the registers of the kernels: 32 bits, and 62 once multiplied.

    Raises:
        UnsupportedError: a bound is larger; the message names the layer.
    """
    weights = {
        op.name: op.weight.format for op in network.operations if isinstance(op, Convolution | Product)
    }
    for bound in accumulator_bounds(network):
        if bound.name in weights and bound.bits > 32:
            fmt = weights[bound.name]
            raise UnsupportedError(
                f"layer {bound.name}: its accumulator can reach {max(-bound.low, bound.high)}, which needs "
                f"{bound.bits} bits, more than 32; {bound.length} products of {fmt.name} weights (integers "
                f"up to {fmt.max_integer}) are too many, choose a narrower format for this layer"
            )
        if (bound.product_bits or 0) > 62:
            raise UnsupportedError(
                f"layer {bound.name}: accumulator times multiplier needs {bound.product_bits} bits, more "
                "than 62; choose fewer --multiplier-bits"
            )


def bits_of(low: int, high: int) -> int:
    """Width of the narrowest signed integer that holds ``low .. high``."""
    return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + 1


Range = Callable[[str], tuple[int, int]]


def _written(operation: Operation, known: Range) -> tuple[int, int]:
    """Range of the codes that an operation writes."""
    match operation:
        case Quantize() | Addition():
            return operation.low, operation.high
        case Convolution() | Product() | Mean() | ActivationProduct() | Multiplication() | Requantization():
            target = operation.requantize
            return CODES if target is None else (target.low, target.high)
        case Concatenation():
            return operation.requantize[0].low, operation.requantize[0].high
        case Lookup():
            low, high = known(operation.input)
            part = operation.table[low : high + 1]
            return int(part.min()), int(part.max())
        case Clamp():
            low, high = known(operation.input)
            return max(low, operation.low), min(high, operation.high)
        case Move():
            return _moved(operation, known)
    return CODES


def _moved(operation: Move, known: Range) -> tuple[int, int]:
    """Range of what a move writes: codes of its operands, or the constant that it pads with."""
    data = operation.operands[:1] if operation.op_type in _ONE_OPERAND else operation.operands
    parts = [known(o) for o in data if isinstance(o, str)] or [CODES]
    constants = [o for o in operation.operands if isinstance(o, np.ndarray) and o.dtype == np.uint8]
    parts += [(int(array.min()), int(array.max())) for array in constants if array.size]
    return min(low for low, _ in parts), max(high for _, high in parts)


def _bound(operation: Operation, known: Range) -> AccumulatorBound | None:
    match operation:
        case Convolution() | Product():
            return _weighted_bound(operation, known)
        case ActivationProduct():
            return None  # the length of the sum is not part of the network
        case Addition():
            return _addition_bound(operation, known)
        case Multiplication():
            ends = [
                [end - z for end in known(n)] for n, z in zip(operation.inputs, operation.zeros, strict=True)
            ]
            products = [a * b for a in ends[0] for b in ends[1]]
            return _made(operation, min(products), max(products), operation.requantize, length=1)
        case Mean():
            first, last = (end - operation.input_zero for end in known(operation.input))
            low, high = min(0, first * operation.count), max(0, last * operation.count)
            return _made(operation, low, high, operation.requantize, length=operation.count)
    return None


def _addition_bound(operation: Addition, known: Range) -> AccumulatorBound:
    """Its operands are what an accumulator has to hold; their scaled sum is the product."""
    ends = [
        (min(0, known(name)[0] - zero), max(0, known(name)[1] - zero))
        for name, zero in zip(operation.inputs, operation.zeros, strict=True)
    ]
    most = [int(b.max()) for b in operation.multipliers]
    half = (1 << operation.shift) >> 1
    low = sum(b * end[0] for b, end in zip(most, ends, strict=True))
    high = sum(b * end[1] for b, end in zip(most, ends, strict=True)) + half
    lowest, highest = min(end[0] for end in ends), max(end[1] for end in ends)
    return AccumulatorBound(
        name=operation.name,
        op_type=operation.kind,
        low=lowest,
        high=highest,
        bits=bits_of(lowest, highest),
        product_bits=bits_of(low, high),
        saturates_pairs=False,
        length=2,
    )


def _weighted_bound(operation: Convolution | Product, known: Range) -> AccumulatorBound:
    codes = known(operation.input)
    low, high = min(0, codes[0] - operation.input_zero), max(0, codes[1] - operation.input_zero)
    integers = operation.weight.integers
    if isinstance(operation, Convolution):
        rows = integers.reshape(integers.shape[0], -1)
    else:
        rows = np.swapaxes(integers, -1, -2).reshape(-1, integers.shape[-2])
    positive, negative = np.maximum(rows, 0).sum(axis=1), np.minimum(rows, 0).sum(axis=1)
    least, most = positive * low + negative * high, positive * high + negative * low
    bias = np.zeros(1, np.int64) if operation.bias is None else operation.bias
    repeated = np.resize(bias, least.shape)
    least, most = least + np.minimum(repeated, 0), most + np.maximum(repeated, 0)
    return _made(
        operation,
        int(least.min()),
        int(most.max()),
        operation.requantize,
        length=rows.shape[1],
        saturates=not _is_depthwise(operation) and _pairs_saturate(rows, codes[1]),
        channels=(least, most),
    )


def _is_depthwise(operation: Convolution | Product) -> bool:
    """Return whether it multiplies each channel by itself, in a kernel that adds in 32 bits."""
    if not isinstance(operation, Convolution):
        return False
    out, inputs = operation.weight.integers.shape[:2]
    return inputs == 1 and operation.window.group == out


def _pairs_saturate(rows: np.ndarray, largest_code: int) -> bool:
    """Return whether two products of one channel, added in 16 bits, can be too large.

    The kernel does not say which weights meet in a pair, so the two largest of each sign count. The kernel
    multiplies the codes as they are stored, before the zero point is taken off.
    """
    if rows.shape[1] < 2:
        return False
    ordered = np.sort(rows, axis=1)
    up = int(np.maximum(ordered[:, -2:], 0).sum(axis=1).max())
    down = int(np.minimum(ordered[:, :2], 0).sum(axis=1).min())
    return largest_code * up > _PAIR_LIMIT or largest_code * down < -_PAIR_LIMIT - 1


def _made(
    operation: Operation,
    low: int,
    high: int,
    target: Requantize | None,
    *,
    length: int,
    saturates: bool = False,
    channels: tuple[np.ndarray, np.ndarray] | None = None,
) -> AccumulatorBound:
    product_bits = None
    if target is not None:
        least, most = (np.array([low]), np.array([high])) if channels is None else channels
        b = np.resize(target.multiplier, least.shape)
        half = np.int64(1) << np.maximum(target.shift - 1, 0)
        half = np.resize(half, least.shape)
        products = [int(p) * int(m) for p, m in zip(least.tolist(), b.tolist(), strict=True)]
        tops = [
            int(p) * int(m) + int(h) for p, m, h in zip(most.tolist(), b.tolist(), half.tolist(), strict=True)
        ]
        product_bits = bits_of(min(products), max(tops))
    return AccumulatorBound(
        name=operation.name,
        op_type=operation.kind,
        low=low,
        high=high,
        bits=bits_of(low, high),
        product_bits=product_bits,
        saturates_pairs=saturates,
        length=length,
    )
