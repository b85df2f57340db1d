"""Re-codings between a quantizer and a layer: operators on codes that run at the edge of the array."""

from dataclasses import dataclass

import onnx_ir as ir

from dybitq.graph import keys
from dybitq.graph.values import constant, is_op, sole_consumer

# Re-codings are made of these; two moves among them, because emission needs no other.
_STEPS = frozenset(
    [
        *("Reshape", "Transpose", "Cast", "Shape", "Gather", "GatherElements", "Equal", "Or", "Where"),
        *("Max", "Min", "Clip", "Mul", "Add", "Sub", "Mod", "BitShift"),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recodings:
    """Nodes that only re-code, and the codes that they start from.

    Attributes:
        nodes: not priced.
        source: the original codes of each re-coded value, by name.
    """

    nodes: frozenset[ir.Node]
    source: dict[str, ir.Value]


def find_recodings(model: ir.Model, constant: set[str]) -> Recodings:
    """Find the re-codings of layers whose metadata name one."""
    nodes: set[ir.Node] = set()
    source: dict[str, ir.Value] = {}
    for node in model.graph:
        if keys.RECODE not in node.metadata_props:
            continue
        for value in node.inputs:
            dequantize = None if value is None else value.producer()
            if dequantize is None or not is_op(dequantize, "DequantizeLinear"):
                continue
            codes = dequantize.inputs[0]
            if codes is None or (codes.name or "") in constant:
                continue
            steps, origins = _trace_back(codes, constant)
            if steps and len(origins) == 1:
                nodes |= steps
                source[codes.name or ""] = next(iter(origins))
    return Recodings(nodes=frozenset(nodes), source=source)


def _trace_back(codes: ir.Value, constant: set[str]) -> tuple[set[ir.Node], set[ir.Value]]:
    """Collect the nodes back to the quantized codes, and those codes."""
    steps: set[ir.Node] = set()
    origins: set[ir.Value] = set()
    pending = [codes]
    while pending:
        value = pending.pop()
        node = value.producer()
        if (value.name or "") in constant:
            continue
        if node is None or node.op_type not in _STEPS:
            origins.add(value)
        elif node not in steps:
            steps.add(node)
            pending += [item for item in node.inputs if item is not None]
    return steps, origins


def clamped_code_bits(node: ir.Node) -> int | None:
    """Return the width to which a Clip limits unsigned 8-bit codes; None for other nodes."""
    source = node.inputs[0] if node.inputs else None
    if not is_op(node, "Clip") or source is None or source.dtype != ir.DataType.UINT8 or len(node.inputs) < 3:
        return None
    high = constant(node.inputs[2])
    if high is None or sole_consumer(source) is not node:
        return None
    return max(int(high.reshape(())).bit_length(), 1)
