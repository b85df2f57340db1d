"""Pieces of the explicit flavour: integer products and sums, integer multipliers, shifts and clamps.

Accumulators are int32, as ConvInteger and MatMulInteger have them; they are rescaled in int64. Weights
beyond int8 are split in two, ``w = 64 high + low``, and multiplied one after the other.
"""

import numpy as np
import onnx_ir as ir

from dybitq.emit.integer.graph import IntegerGraph
from dybitq.emit.integer.round_shift import add_round_shift, clamped, lowered
from dybitq.records.integer_network import Requantize

INT32, UINT8 = int(ir.DataType.INT32), int(ir.DataType.UINT8)
_INT64 = int(ir.DataType.INT64)


def wide(graph: IntegerGraph, value: ir.Value) -> ir.Value:
    """Cast an accumulator or codes to int64."""
    return graph.node("Cast", [value], attributes={"to": _INT64})


def centred(graph: IntegerGraph, name: str, zero: int) -> ir.Value:
    """Subtract the zero point from codes, in int64."""
    value = wide(graph, graph.get(name))
    if not zero:
        return value
    return graph.node("Add", [value, graph.array(np.array(-zero, np.int64))])


def requantized(graph: IntegerGraph, value: ir.Value, target: Requantize, rank: int) -> ir.Value:
    """Rescale int64 accumulators to uint8 codes; channels lie ``rank`` axes before the last."""
    multiplier, shift = along(target.multiplier, rank), along(target.shift, rank)
    if not (multiplier == 1).all():
        value = graph.node("Mul", [value, graph.array(multiplier)])
    value = add_round_shift(graph, value, shift, target.rounding)
    return coded(graph, value, target.zero_point, target.low, target.high, UINT8)


def coded(graph: IntegerGraph, value: ir.Value, zero_point: int, low: int, high: int, dtype: int) -> ir.Value:
    """Clamp a lifted value so that with the zero point it lies in ``low .. high``, and cast it."""
    value = clamped(graph, value, low - zero_point, high - zero_point)
    return graph.node("Cast", [lowered(graph, value, zero_point)], attributes={"to": dtype})


def along(array: np.ndarray, rank: int) -> np.ndarray:
    """Shape ``[channels]`` to broadcast with channels ``rank`` axes before the last; ``[1]`` as a scalar."""
    return array.reshape(()) if array.size == 1 else array.reshape(-1, *[1] * rank)
