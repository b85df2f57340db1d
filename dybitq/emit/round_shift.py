"""Right shift with rounding, on integers that may be negative, of the unsigned shift that ONNX has.

BitShift takes unsigned integers only. An offset of 2^62, a multiple of every power of two in question, makes
any value of magnitude below 2^62 non-negative; the shifted offset is taken off again afterwards. With
``u = v + 2^62`` and c >= 1::

    half up:    (u + 2^(c-1)) >> c
    half even:  (u + 2^(c-1) - 1 + lowest bit of (u >> c)) >> c
"""

import numpy as np
import onnx_ir as ir

from dybitq.emit.canvas import Canvas
from dybitq.emit.unpack import DOMAIN
from dybitq.encodings.dyadic import Rounding
from dybitq.errors import UnsupportedError

OFFSET_BITS = 62
_NAMES = {Rounding.HALF_EVEN: "RoundShiftHalfEven", Rounding.HALF_UP: "RoundShiftHalfUp"}


def add_round_shift(canvas: Canvas, value: ir.Value, shift: np.ndarray, rounding: Rounding) -> ir.Value:
    """``round(value / 2^shift)``.

    Args:
        canvas: the graph.
        value: int64 of magnitude below 2^62.
        shift: int64, 0 to 60, broadcast against ``value``.
        rounding: what becomes of ties.

    Returns:
        int64 value.

    Raises:
        UnsupportedError: a shift is larger.
    """
    if int(shift.max()) >= OFFSET_BITS - 1:
        raise UnsupportedError(
            f"a shift by {int(shift.max())} leaves nothing of 64 bits; expected at most 60"
        )
    if not shift.any():
        return value
    if (shift == 0).any():  # the equations need c >= 1: the caller has doubled b instead
        raise ValueError("shifts of 0 beside others")
    half = np.int64(1) << (shift - 1)
    if rounding is Rounding.HALF_EVEN:
        half = half - 1
    back = -(np.int64(1) << (OFFSET_BITS - shift))
    canvas.builder.add_function(_function(canvas.model.graph.opset_imports[""], rounding))
    operands = [
        value,
        canvas.array(half.astype(np.uint64)),
        canvas.array(shift.astype(np.uint64)),
        canvas.array(back),
    ]
    return canvas.node(_NAMES[rounding], operands, domain=DOMAIN)


def _function(opset: int, rounding: Rounding) -> ir.Function:
    value, half, shift, back = (ir.val(name) for name in ("value", "half", "shift", "back"))
    nodes: list[ir.Node] = []

    def op(op_type: str, *inputs: ir.Value, **attributes: int | str) -> ir.Value:
        nodes.append(ir.node(op_type, list(inputs), dict(attributes)))
        nodes[-1].outputs[0].name = f"r{len(nodes)}"
        return nodes[-1].outputs[0]

    def constant(number: int, dtype: type[np.generic]) -> ir.Value:
        nodes.append(ir.node("Constant", [], {"value": ir.tensor(np.array(number, dtype))}))
        nodes[-1].outputs[0].name = f"r{len(nodes)}"
        return nodes[-1].outputs[0]

    lifted = op("Add", value, constant(1 << OFFSET_BITS, np.int64))
    lifted = op("Cast", lifted, to=int(ir.DataType.UINT64))
    total = op("Add", lifted, half)
    if rounding is Rounding.HALF_EVEN:
        top = constant(63, np.uint64)
        floor = op("BitShift", lifted, shift, direction="RIGHT")
        odd = op("BitShift", op("BitShift", floor, top, direction="LEFT"), top, direction="RIGHT")
        total = op("Add", total, odd)
    shifted = op("BitShift", total, shift, direction="RIGHT")
    result = op("Add", op("Cast", shifted, to=int(ir.DataType.INT64)), back)
    name = _NAMES[rounding]
    graph = ir.Graph([value, half, shift, back], [result], nodes=nodes, opset_imports={"": opset}, name=name)
    return ir.Function(DOMAIN, name, graph=graph, attributes=[])
