"""Operators that are no products: their elementary operations per element on a vector unit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from dybitq.graph.operators import Movement, moving
from dybitq.graph.values import ints_attribute

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """``per_element`` elementary operations on each element of the output, or of the input.

    ``in_place``: element by element, so that it can ride on the tiles of its producer.
    """

    per_element: int
    of_input: bool = False
    in_place: bool = False


_ELEMENTWISE = [
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Max",
    "Min",
    "Mod",
    "PRelu",
    "Where",
    "Pow",
    "Relu",
    "Clip",
    "LeakyRelu",
    "Neg",
    "Abs",
    "Sqrt",
    "Reciprocal",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "Not",
    "And",
    "Or",
    "Xor",
    "Equal",
    "Greater",
    "Less",
    "GreaterOrEqual",
    "LessOrEqual",
    "ThresholdedRelu",
    "QLinearAdd",
    "QLinearMul",
    "QLinearLeakyRelu",
]
# One look-up in a 256-entry table per element, as integer accelerators have them.
_TABLES = [
    "Sigmoid",
    "Tanh",
    "Erf",
    "Exp",
    "Log",
    "Elu",
    "Selu",
    "Celu",
    "Softplus",
    "Softsign",
    "HardSigmoid",
    "HardSwish",
    "Mish",
    "Gelu",
    "Sin",
    "Cos",
    "Atan",
    "QuickGelu",
    "FastGelu",
    "QLinearSigmoid",
    "Swish",
]
_MOVES = [
    *sorted(moving(Movement.ORDER, Movement.PICK) - {"MaxPool"}),  # a pool costs its window, see PASSES
    "Tile",
    "GatherND",
    "GatherElements",
    "ScatterND",
    "ScatterElements",
    "Compress",
    "ReverseSequence",
    "Upsample",
    "NonZero",
    "Trilu",
]
_REDUCTIONS = [
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSumExp",
    "ArgMax",
    "ArgMin",
    "CumSum",
    "TopK",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GlobalLpPool",
    "QLinearGlobalAveragePool",
    "QLinearReduceMean",
]

PASSES: dict[str, Passes] = {
    **{name: Passes(per_element=1, in_place=True) for name in (*_ELEMENTWISE, *_TABLES)},
    **{name: Passes(per_element=1) for name in _MOVES},
    **{name: Passes(per_element=1, of_input=True) for name in _REDUCTIONS},
    # maximum; subtract and exponentiate; sum; divide
    **{name: Passes(per_element=4) for name in ("Softmax", "LogSoftmax", "QLinearSoftmax", "Hardmax")},
    # mean; centre and square; variance; scale and shift
    **{
        name: Passes(per_element=4)
        for name in (
            "LayerNormalization",
            "InstanceNormalization",
            "GroupNormalization",
            "SkipLayerNormalization",
        )
    },
    **{name: Passes(per_element=3) for name in ("LpNormalization", "RMSNormalization", "LRN")},
    # minimum and maximum; quantize
    "DynamicQuantizeLinear": Passes(per_element=3),
    "BatchNormalization": Passes(per_element=2, in_place=True),
    **{name: Passes(per_element=1) for name in ("MaxPool", "AveragePool", "LpPool", "QLinearAveragePool")},
}
"""Vector operators; sliding pools cost one operation per window element."""

RENAMING = moving(Movement.SHAPE) | {
    "Dropout",
    "Cast",
    "CastLike",
    "QuantizeLinear",
    "DequantizeLinear",
    "Expand",  # its reader reads the same values again
}
"""Operators whose output is their first input under another name, shape or number format."""

MERGING = moving(Movement.PART) | {"Concat", "QLinearConcat"}
"""Views: producers write into, or consumers read from, parts of one storage."""

DROPPED = frozenset(
    [
        "Shape",
        "Size",
        "Range",
        "ConstantOfShape",
        "Constant",
        "NonMaxSuppression",
        "RandomNormal",
        "RandomUniform",
    ]
)
"""Operators without a price."""


def passes(node: ir.Node, inputs: Sequence[Shape], out: Shape) -> int:
    """Count the elementary operations of one vector operator."""
    kind = PASSES[node.op_type]
    window = math.prod(ints_attribute(node, "kernel_shape") or (1,))
    linear = node.op_type in ("Resize", "Upsample") and _mode(node) != "nearest"
    size = math.prod(inputs[0]) if kind.of_input and inputs else math.prod(out)
    return size * kind.per_element * window * (4 if linear else 1)


def _mode(node: ir.Node) -> str:
    attribute = node.attributes.get("mode")
    return "nearest" if attribute is None else attribute.as_string()
