"""Right shift with rounding, on integers that may be negative, of the unsigned shift that ONNX has.

BitShift takes unsigned integers only. An offset of 2^62 makes any value of magnitude below 2^62 non-negative;
such a *lifted* value is uint64. With ``u = v + 2^62`` and c >= 1, a multiple of 2^c being added::

    half up:    (u + 2^(c-1)) >> c
    half even:  (u + 2^(c-1) - 1 + lowest bit of (u >> c)) >> c

and ``2^62 - (2^62 >> c)`` puts the result at the same height again. Where some channels have c = 0, nothing
is added there: their constant is 0, and the bit that is looked at is bit 63, which is 0.

Values stay lifted while they are clamped: onnxruntime's Clip compares uint64 correctly, but its int64 version
takes numbers between 2^31 and 2^32 for negative (seen in 1.31.1 on x86-64 with AVX-512).
"""

import numpy as np
import onnx_ir as ir

from dybitq.emit.integer.graph import IntegerGraph
from dybitq.emit.unpack import DOMAIN
from dybitq.errors import UnsupportedError
from dybitq.records.arithmetic import TieRounding

OFFSET_BITS = 62
OFFSET = 1 << OFFSET_BITS
_INT64, _UINT64 = int(ir.DataType.INT64), int(ir.DataType.UINT64)
_NAMES = {TieRounding.HALF_EVEN: "RoundShiftHalfEven", TieRounding.HALF_UP: "RoundShiftHalfUp"}


def add_round_shift(
    graph: IntegerGraph, value: ir.Value, shift: np.ndarray, rounding: TieRounding
) -> ir.Value:
    """``round(value / 2^shift)``, lifted.

    Args:
        graph: to add to.
        value: int64 of magnitude below 2^62.
        shift: int64, 0 to 60, broadcast against ``value``.
        rounding: what becomes of ties.

    Returns:
        uint64 value.

    Raises:
        UnsupportedError: a shift is larger.
    """
    if int(shift.max()) >= OFFSET_BITS - 1:
        raise UnsupportedError(
            f"a shift by {int(shift.max())} leaves nothing of 64 bits; expected at most 60"
        )
    if not shift.any():
        return lifted(graph, value)
    half = np.int64(1) << np.maximum(shift - 1, 0)
    half = np.where(shift == 0, 0, half - (rounding is TieRounding.HALF_EVEN))
    rise = np.int64(OFFSET) - (np.int64(OFFSET) >> shift)
    constants = [half, shift, rise]
    if rounding is TieRounding.HALF_EVEN:
        constants.append(np.where(shift == 0, 63, shift))
    graph.builder.add_function(_function(graph.model.graph.opset_imports[""], rounding))
    operands = [value, *(graph.array(array.astype(np.uint64)) for array in constants)]
    return graph.node(_NAMES[rounding], operands, domain=DOMAIN)


def lifted(graph: IntegerGraph, value: ir.Value) -> ir.Value:
    """``value + 2^62`` as uint64, from int64."""
    raised = graph.node("Add", [value, graph.array(np.array(OFFSET, np.int64))])
    return graph.node("Cast", [raised], attributes={"to": _UINT64})


def lowered(graph: IntegerGraph, value: ir.Value, offset: int = 0) -> ir.Value:
    """``value - 2^62 + offset`` as int64, from uint64."""
    signed = graph.node("Cast", [value], attributes={"to": _INT64})
    return graph.node("Add", [signed, graph.array(np.array(offset - OFFSET, np.int64))])


def clamped(graph: IntegerGraph, value: ir.Value, low: int, high: int) -> ir.Value:
    """Clamp a lifted value to ``low .. high``."""
    bounds = [graph.array(np.array(OFFSET + bound, np.uint64)) for bound in (low, high)]
    return graph.node("Clip", [value, *bounds])


def _function(opset: int, rounding: TieRounding) -> ir.Function:
    inputs = [ir.val(name) for name in ("value", "half", "shift", "rise", "parity")]
    value, half, shift, rise, parity = inputs
    nodes: list[ir.Node] = []

    def op(op_type: str, *inputs: ir.Value, **attributes: int | str) -> ir.Value:
        nodes.append(ir.node(op_type, list(inputs), dict(attributes)))
        nodes[-1].outputs[0].name = f"r{len(nodes)}"
        return nodes[-1].outputs[0]

    def constant(number: int, dtype: type[np.generic]) -> ir.Value:
        nodes.append(ir.node("Constant", [], {"value": ir.tensor(np.array(number, dtype))}))
        nodes[-1].outputs[0].name = f"r{len(nodes)}"
        return nodes[-1].outputs[0]

    raised = op("Cast", op("Add", value, constant(OFFSET, np.int64)), to=_UINT64)
    total = op("Add", raised, half)
    if rounding is TieRounding.HALF_EVEN:
        top = constant(63, np.uint64)
        floor = op("BitShift", raised, parity, direction="RIGHT")
        odd = op("BitShift", op("BitShift", floor, top, direction="LEFT"), top, direction="RIGHT")
        total = op("Add", total, odd)
    result = op("Add", op("BitShift", total, shift, direction="RIGHT"), rise)
    name = _NAMES[rounding]
    used = inputs if rounding is TieRounding.HALF_EVEN else inputs[:4]
    graph = ir.Graph(used, [result], nodes=nodes, opset_imports={"": opset}, name=name)
    return ir.Function(DOMAIN, name, graph=graph, attributes=[])
