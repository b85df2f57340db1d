"""Integer programs: what an integer-only network computes, operation by operation, as records.

A program is a list of operations on named tensors. Activations are uint8 codes; code ``q`` of a tensor with
zero point ``z`` stands for the integer ``q - z``, and ``z`` is 0 or 128. What an operation does is stated in
its docstring as an equation on integers, with ``requantize`` for the one step that rounds:

    requantize(v) = clip(round(v * b / 2^c) + z, low, high)

The same records are made by fitting, written into a model by emission, read back from a model by
verification and by export. docs/integer-only.md is the long form.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dybitq.records.arithmetic import TieRounding
from dybitq.records.formats import NumberFormat
from dybitq.records.geometry.windows import Window

AttributeValue = int | float | str | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requantize:
    """Accumulator to codes: ``clip(round(v * b / 2^c) + zero_point, low, high)``.

    Attributes:
        multiplier: b, int64 ``[1]`` or ``[channels]``, at least 1.
        shift: c, int64, same shape, not negative.
        zero_point: of the codes that are written.
        low, high: the codes are clamped to them; Relu and Clip are nothing else.
        rounding: what becomes of ties.
    """

    multiplier: np.ndarray
    shift: np.ndarray
    zero_point: int
    low: int = 0
    high: int = 255
    rounding: TieRounding = TieRounding.HALF_EVEN


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weight:
    """Codes of a constant operand; the integer of code ``k`` is ``format.table[k]``.

    Attributes:
        format: the table.
        codes: uint8; ``[out, in/group, *kernel]`` of a convolution, ``[..., K, N]`` of a product.
    """

    format: NumberFormat
    codes: np.ndarray

    @property
    def integers(self) -> np.ndarray:
        """The integers, int64."""
        return self.format.table[self.codes]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantize:
    """Float to codes: ``clip(rint(x / scale) + zero_point, low, high)``, in float32, once at the input."""

    name: str
    input: str
    output: str
    scale: float
    zero_point: int
    low: int = 0
    high: int = 255


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dequantize:
    """Integers to float: ``(q - zero_point) * scale``, in float32, once at the output.

    ``scale`` is float32 ``[1]``, or ``[channels]`` along the last axis where the input is an accumulator.
    """

    name: str
    input: str
    output: str
    scale: np.ndarray
    zero_point: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Convolution:
    """``requantize(sum w * (q - input_zero) + bias)``, padding with the input's zero point.

    Without ``requantize`` the output is the int32 accumulator itself.
    """

    name: str
    input: str
    output: str
    input_zero: int
    weight: Weight
    bias: np.ndarray | None  # int64 [out], in units of the accumulator
    window: Window
    requantize: Requantize | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Product:
    """``requantize((q - input_zero) @ w + bias)`` with ``w`` as ``[..., K, N]``; bias along N.

    Without ``requantize`` the output is the int32 accumulator itself. ``input_rank`` is the rank of the
    input, None where it is unknown.
    """

    name: str
    input: str
    output: str
    input_zero: int
    weight: Weight
    bias: np.ndarray | None
    requantize: Requantize | None
    input_rank: int | None = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActivationProduct:
    """``requantize((a - zeros[0]) @ (b - zeros[1]))`` of two activations."""

    name: str
    inputs: tuple[str, str]
    output: str
    zeros: tuple[int, int]
    requantize: Requantize


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Addition:
    """``clip(round((b0 (q0 - z0) + b1 (q1 - z1)) / 2^c) + zero_point, low, high)``.

    The exact sum is rounded once. With ``each_branch`` the two terms are rounded one by one before they are
    added, as HAWQ-V3 does it. Operands may be codes, accumulators, or sums of 16 bits.

    Attributes:
        zeros: of the operands.
        multipliers: b of the operands, int64 ``[1]``, or shaped to broadcast against an accumulator.
        shift: c, shared.
        bits: 8 where the result is uint8 codes, 16 where it is a signed sum (zero point 0).
    """

    name: str
    inputs: tuple[str, str]
    output: str
    zeros: tuple[int, int]
    multipliers: tuple[np.ndarray, np.ndarray]
    shift: int
    zero_point: int
    low: int = 0
    high: int = 255
    rounding: TieRounding = TieRounding.HALF_EVEN
    each_branch: bool = False
    bits: int = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Multiplication:
    """``requantize((q0 - z0) * (q1 - z1))``, elementwise with broadcasting."""

    name: str
    inputs: tuple[str, str]
    output: str
    zeros: tuple[int, int]
    requantize: Requantize


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Concatenation:
    """Operands side by side along ``axis``, each rescaled: ``requantize_i(q_i - z_i)``."""

    name: str
    inputs: tuple[str, ...]
    output: str
    zeros: tuple[int, ...]
    requantize: tuple[Requantize, ...]
    axis: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requantization:
    """``requantize(q - input_zero)``: the same values in other codes."""

    name: str
    input: str
    output: str
    input_zero: int
    requantize: Requantize


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mean:
    """``requantize(sum over space of (q - input_zero))``; ``b / 2^c`` holds the reciprocal of ``count``.

    Without ``requantize`` the output is the int32 sum itself.
    """

    name: str
    input: str
    output: str
    input_zero: int
    axes: tuple[int, ...]
    count: int
    requantize: Requantize | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lookup:
    """``table[q]``: any function of one value. ``table`` is uint8 ``[256]``."""

    name: str
    input: str
    output: str
    table: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clamp:
    """``clip(q, low, high)``."""

    name: str
    input: str
    output: str
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Move:
    """An ONNX operator that only moves or compares values, run on the codes as it stands.

    Attributes:
        op_type: MaxPool, Reshape, Transpose, Slice, Pad, Concat, ...
        operands: inputs in ONNX order: a tensor's name, a constant array, or None where one is left out.
        attributes: of the operator.
    """

    name: str
    op_type: str
    operands: tuple[str | np.ndarray | None, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """An operator of the float network that stays as it is: in float, or on shapes.

    ``reason`` says why it is not integer arithmetic; it is empty for what never touches a float value.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reason: str


Operation = (
    Quantize
    | Dequantize
    | Convolution
    | Product
    | ActivationProduct
    | Addition
    | Multiplication
    | Concatenation
    | Requantization
    | Mean
    | Lookup
    | Clamp
    | Move
    | Other
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """A whole network.

    Attributes:
        operations: in an order in which they can be run.
        constants: uint8 codes of constant operands, by tensor name.
        scales: what one step of each coded tensor is worth in the units of the float network; for people,
            no operation needs it.
    """

    operations: tuple[Operation, ...]
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)


def outputs_of(operation: Operation) -> tuple[str, ...]:
    """Names of the tensors that an operation writes."""
    if isinstance(operation, Move | Other):
        return operation.outputs
    return (operation.output,)
