"""The static proof: between quantizers and dequantizers nothing but integer arithmetic.

Every node of the stored model (functions inlined) gets one kind. A float tensor may only stand in front of a
quantizer that reads a model input, and after the last dequantizers, where operators that move values may
arrange the outputs. Quantized operators of the runtime have float parameters, which have to obey the rules
of :mod:`dybitq.verification.rules`.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from dybitq.graph.stored.plain import PlainGraph, PlainNode
from dybitq.verification.interpreter import TAIL_OPERATORS
from dybitq.verification.rules import rule_of

_ONNX_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "float32",
}
_ARITHMETIC = frozenset(
    {
        "ConvInteger",
        "MatMulInteger",
        "Add",
        "Sub",
        "Mul",
        "BitShift",
        "Clip",
        "Cast",
        "ReduceSum",
        "Max",
        "Min",
    }
)
_MOVES = TAIL_OPERATORS | {"MaxPool", "GlobalMaxPool", "Pad", "Resize", "GatherElements", "GatherND"}
_SHAPES = frozenset({"Shape", "Size", "Range", "ConstantOfShape", "Equal", "Where", "Div", "Mod", "NonZero"})


class NodeKind(StrEnum):
    """Part of a node in the proof."""

    QUANTIZE = "quantize"
    INTEGER = "integer"
    MOVE = "move"
    SHAPE = "shape"
    DEQUANTIZE = "dequantize"
    ARRANGE = "arrange"  # moves dequantized values to the outputs
    FLOAT = "float"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Contradiction to integer-only arithmetic.

    Attributes:
        operator, op_type: where.
        problem: a sentence.
        floating: whether a float operator remains; otherwise a parameter breaks a rule.
    """

    operator: str
    op_type: str
    problem: str
    floating: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StaticProof:
    """Result of :func:`prove`.

    Attributes:
        kinds: by name of a node's first output, in topological order.
        findings: empty where the proof holds.
    """

    kinds: dict[str, NodeKind]
    findings: tuple[Finding, ...]

    def count(self, kind: NodeKind) -> int:
        """Return the number of nodes of one kind."""
        return sum(found is kind for found in self.kinds.values())


def prove(graph: PlainGraph) -> StaticProof:
    """Examine every node of the inner form of a stored model."""
    types: dict[str, str] = {info.name: info.dtype for info in graph.inputs}
    types.update((name, str(array.dtype)) for name, array in graph.constants.items())
    kinds: dict[str, NodeKind] = {}
    findings: list[Finding] = []
    outside = {info.name for info in graph.inputs}  # computed before any quantizer
    arranged: set[str] = set()
    for node in graph.nodes:
        written = _result_type(node, types)
        types.update((name, written) for name in node.outputs)
        kind = _kind(node, types, graph, arranged)
        kinds[node.outputs[0]] = kind
        if kind in (NodeKind.DEQUANTIZE, NodeKind.ARRANGE):
            arranged.update(node.outputs)
        findings += [
            Finding(operator=node.name, op_type=node.op_type, problem=problem, floating=floating)
            for problem, floating in _problems(node, kind, graph, outside)
        ]
    return StaticProof(kinds=kinds, findings=tuple(findings))


def _result_type(node: PlainNode, types: dict[str, str]) -> str:
    if node.op_type == "Cast":
        return _ONNX_TYPES.get(int(node.attributes["to"]), "float32")
    if node.op_type in ("ConvInteger", "MatMulInteger"):
        return "int32"
    if node.op_type in ("Shape", "Size", "ArgMax", "NonZero"):
        return "int64"
    if node.op_type == "DequantizeLinear":
        return "float32"
    if node.op_type == "QuantizeLinear":
        return types[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else "uint8"
    if node.op_type == "QLinearConcat":
        return types[node.inputs[1]]
    if node.op_type in ("Equal", "Less", "Greater", "And", "Or", "Not"):
        return "bool"
    if node.op_type == "Where":
        return types[node.inputs[1]]
    if node.op_type == "ConstantOfShape":
        value = node.attributes.get("value")
        return str(value.dtype) if isinstance(value, np.ndarray) else "float32"
    return types[node.inputs[0]] if node.inputs and node.inputs[0] else "float32"


def _kind(node: PlainNode, types: dict[str, str], graph: PlainGraph, arranged: set[str]) -> NodeKind:
    if node.op_type == "QuantizeLinear":
        return NodeKind.QUANTIZE
    if node.op_type == "DequantizeLinear":
        return NodeKind.DEQUANTIZE
    if rule_of(node.op_type) is not None:
        return NodeKind.INTEGER
    variable = [name for name in node.inputs if name and name not in graph.constants]
    if any(types[name].startswith("float") for name in (*variable, *node.outputs) if name):
        if node.op_type in TAIL_OPERATORS and node.domain == "":
            data = [name for name in variable if types[name].startswith("float")]
            if data and all(name in arranged for name in data):
                return NodeKind.ARRANGE
        return NodeKind.SHAPE if node.op_type in ("Shape", "Size") else NodeKind.FLOAT
    if node.op_type in _SHAPES:
        return NodeKind.SHAPE
    if node.op_type in _MOVES:
        by_place = node.op_type != "Resize" or node.attributes.get("mode", "nearest") == "nearest"
        return NodeKind.MOVE if by_place else NodeKind.FLOAT
    return NodeKind.INTEGER if node.op_type in _ARITHMETIC and node.domain == "" else NodeKind.FLOAT


def _problems(
    node: PlainNode, kind: NodeKind, graph: PlainGraph, outside: set[str]
) -> list[tuple[str, bool]]:
    rule = rule_of(node.op_type)
    if rule is not None:
        return [(problem, False) for problem in rule(graph, node)]
    if kind is NodeKind.FLOAT:
        return [("computes in float", True)]
    if kind is not NodeKind.QUANTIZE:
        return []
    if node.inputs[0] not in outside:
        return [("quantizes what was float in between", True)]
    found: list[tuple[str, bool]] = []
    for index, what in ((1, "scale"), (2, "zero point")):
        array = graph.constants.get(node.inputs[index]) if index < len(node.inputs) else None
        if array is None or array.size != 1:
            found.append((f"its {what} is not one constant", False))
        elif what == "zero point" and (array.dtype != np.uint8 or int(array.reshape(())) not in (0, 128)):
            found.append(
                (f"its zero point is {array.dtype} {int(array.reshape(()))}; expected uint8 0 or 128", False)
            )
    return found
