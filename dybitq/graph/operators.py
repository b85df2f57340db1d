"""Roles of operators on 8-bit codes, which planning and emission share.

The roles follow measurements of stock onnxruntime (tests in ``tests/emit/test_runtime_table.py`` keep
them true): operators that only move or compare values run on the codes themselves; a second group is fused
into a quantized kernel when a DequantizeLinear stands before and a QuantizeLinear after it.
"""

from collections.abc import Mapping
from enum import StrEnum

import onnx_ir as ir

from dybitq.graph.values import constant, is_constant
from dybitq.records.layers import LayerWork


class Role(StrEnum):
    """Part of an operator in a stretch of 8-bit codes."""

    WEIGHTED = "weighted"  # a layer of the survey
    FUSED = "fused"  # DequantizeLinear -> op -> QuantizeLinear becomes one quantized kernel
    CODES = "codes"  # moves or compares values: runs on the codes, encoding unchanged
    CLAMP = "clamp"  # Relu and Clip: a clamp of the codes, or nothing if the range is inside
    TABLE = "table"  # function of one value: a 256-entry table on the codes
    FLOAT = "float"  # stays in float32


class Movement(StrEnum):
    """Arrangement of the values of its first input by an operator that computes nothing."""

    SHAPE = "shape"  # every value once, in the order of memory: another shape or name
    ORDER = "order"  # every value once, in another order
    PART = "part"  # some of the values
    REPEAT = "repeat"  # all of them, some more than once
    PICK = "pick"  # by position or size, where attributes and inputs have it so (see :func:`role`)


MOVES: dict[str, Movement] = {
    **dict.fromkeys(("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"), Movement.SHAPE),
    **dict.fromkeys(("Transpose", "DepthToSpace", "SpaceToDepth"), Movement.ORDER),
    **dict.fromkeys(("Slice", "Split"), Movement.PART),
    **dict.fromkeys(("Expand", "Tile"), Movement.REPEAT),
    **dict.fromkeys(("Gather", "MaxPool", "Pad", "Resize"), Movement.PICK),
}
"""Every operator that hands on values as they are."""


def moving(*kinds: Movement) -> frozenset[str]:
    """Operators that arrange values in one of these ways."""
    return frozenset(name for name, kind in MOVES.items() if kind in kinds)


UNCONDITIONAL_MOVES = moving(Movement.SHAPE, Movement.ORDER, Movement.PART, Movement.REPEAT)
"""Operators that only move values, whatever their attributes and other inputs."""

_ON_CODES = UNCONDITIONAL_MOVES - {"Identity"}  # the normal form keeps one only as a name of an output
_FUSED = frozenset({"Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "Sigmoid", "LeakyRelu"})
_TABLE = frozenset(
    {"HardSwish", "Gelu", "Tanh", "HardSigmoid", "Elu", "Selu", "Softplus", "Mish", "Erf", "Abs"}
)
POINTWISE = _TABLE | {"Sigmoid", "LeakyRelu"}
"""Operators that compute a function of one value."""


def role(node: ir.Node, layers: Mapping[str, LayerWork]) -> Role:
    """Return the role of ``node``; ``layers`` are the survey's layers by node name."""
    if node.name in layers:
        return Role.WEIGHTED
    if node.domain not in ("", "ai.onnx") or not node.outputs:
        return Role.FLOAT
    op = node.op_type
    if op in _ON_CODES or (op == "MaxPool" and len(node.outputs) == 1):
        return Role.CODES
    if op == "Gather" and is_constant(node.inputs[1]):
        return Role.CODES
    if op == "Resize" and _attribute(node, "mode", "nearest") == "nearest":
        return Role.CODES
    if op == "Pad" and _pads_with_zero(node):
        return Role.CODES
    if op == "Relu" or (op == "Clip" and clamp_bounds(node) is not None):
        return Role.CLAMP
    if op in _FUSED:
        return Role.FUSED
    if op in _TABLE:
        return Role.TABLE
    return Role.FLOAT


def activation_inputs(node: ir.Node) -> tuple[ir.Value, ...]:
    """Return the inputs of ``node`` that carry float activations (not constants, not shapes or axes)."""
    data_only = node.op_type in (MOVES.keys() - {"Identity"}) | {"Clip"}
    candidates = node.inputs[:1] if data_only else node.inputs
    return tuple(v for v in candidates if v is not None and not is_constant(v))


def clamp_bounds(node: ir.Node) -> tuple[float, float] | None:
    """Return the real-valued bounds of a Relu or Clip; None where a bound is computed at run time."""
    if node.op_type == "Relu":
        return 0.0, float("inf")
    bounds = [-float("inf"), float("inf")]
    for index in (1, 2):
        value = node.inputs[index] if len(node.inputs) > index else None
        if value is None:
            continue
        array = constant(value)
        if array is None:
            return None
        bounds[index - 1] = float(array.reshape(()))
    return bounds[0], bounds[1]


def _attribute(node: ir.Node, name: str, default: str) -> str:
    attribute = node.attributes.get(name)
    return attribute.as_string() if attribute is not None else default


def _pads_with_zero(node: ir.Node) -> bool:
    if _attribute(node, "mode", "constant") != "constant":
        return True
    value = node.inputs[2] if len(node.inputs) > 2 else None
    array = constant(value)
    return value is None or (array is not None and float(array.reshape(())) == 0.0)
