"""Records of an integer-only network, operation by operation.

An integer network is a list of operations on named tensors. Activations are uint8 codes; code ``q`` of a
tensor with zero point ``z`` stands for the integer ``q - z``, and ``z`` is 0 or 128. Each docstring states
its operation as an equation on integers, with ``requantize`` for the one step that rounds:

    requantize(v) = clip(round(v * b / 2^c) + z, low, high)

The same records are made by fitting, written into a model by emission, read back from a model by
verification and by export. docs/integer-only.md is the long form.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

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

    @property
    def factors(self) -> tuple[tuple[int, int], ...]:
        """Pairs of multiplier and shift."""
        return tuple(zip(self.multiplier.tolist(), self.shift.tolist(), strict=True))


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


class _Facts:
    """Facts that every operation has.

    Attributes:
        kind: its name, as in the tables of docs/integer-only.md.
    """

    __slots__ = ()
    kind: ClassVar[str]

    @property
    def factors(self) -> tuple[tuple[int, int], ...]:
        """Pairs of multiplier and shift by which it rescales."""
        return ()

    @property
    def hands_out_sum(self) -> bool:
        """True where the output is an int32 accumulator, not codes."""
        return False


class _Rescaled(_Facts):
    """Facts of operations that rescale one accumulator, or hand it out where ``requantize`` is None."""

    __slots__ = ()
    requantize: Requantize | None

    @property
    def factors(self) -> tuple[tuple[int, int], ...]:
        """Pairs of multiplier and shift, one or one for each channel."""
        return () if self.requantize is None else self.requantize.factors

    @property
    def hands_out_sum(self) -> bool:
        """True where the output is an int32 accumulator, not codes."""
        return self.requantize is None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantize(_Facts):
    """Float to codes: ``clip(rint(x / scale) + zero_point, low, high)``, in float32, once at the input."""

    kind: ClassVar[str] = "quantize"

    name: str
    input: str
    output: str
    scale: float
    zero_point: int
    low: int = 0
    high: int = 255


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dequantize(_Facts):
    """Integers to float: ``(q - zero_point) * scale``, in float32, once at the output.

    ``scale`` is float32 ``[1]``, or ``[channels]`` along the last axis where the input is an accumulator.
    """

    kind: ClassVar[str] = "dequantize"

    name: str
    input: str
    output: str
    scale: np.ndarray
    zero_point: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Convolution(_Rescaled):
    """``requantize(sum w * (q - input_zero) + bias)``, padding with the input's zero point.

    Without ``requantize`` the output is the int32 accumulator itself.
    """

    kind: ClassVar[str] = "convolution"

    name: str
    input: str
    output: str
    input_zero: int
    weight: Weight
    bias: np.ndarray | None  # int64 [out], in units of the accumulator
    requantize: Requantize | None
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Product(_Rescaled):
    """``requantize((q - input_zero) @ w + bias)`` with ``w`` as ``[..., K, N]``; bias along N.

    Without ``requantize`` the output is the int32 accumulator itself. ``input_rank`` is the rank of the
    input, None where it is unknown.
    """

    kind: ClassVar[str] = "product"

    name: str
    input: str
    output: str
    input_zero: int
    weight: Weight
    bias: np.ndarray | None
    requantize: Requantize | None
    input_rank: int | None = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActivationProduct(_Rescaled):
    """``requantize((a - zeros[0]) @ (b - zeros[1]))`` of two activations."""

    kind: ClassVar[str] = "activation_product"

    name: str
    inputs: tuple[str, str]
    output: str
    zeros: tuple[int, int]
    requantize: Requantize


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Addition(_Facts):
    """``clip(round((b0 (q0 - z0) + b1 (q1 - z1)) / 2^c) + zero_point, low, high)``.

    The exact sum is rounded once. With ``each_branch`` the two terms are rounded one by one before they are
    added, as HAWQ-V3 does it. Operands may be codes, accumulators, or sums of 16 bits.

    Attributes:
        zeros: of the operands.
        multipliers: b of the operands, int64 ``[1]``, or shaped to broadcast against an accumulator.
        shift: c, shared.
        bits: 8 where the result is uint8 codes, 16 where it is a signed sum (zero point 0).
    """

    kind: ClassVar[str] = "addition"

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

    @property
    def factors(self) -> tuple[tuple[int, int], ...]:
        """Pairs of multiplier and the shift that all share."""
        return tuple((int(b), self.shift) for array in self.multipliers for b in array.reshape(-1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Multiplication(_Rescaled):
    """``requantize((q0 - z0) * (q1 - z1))``, elementwise with broadcasting."""

    kind: ClassVar[str] = "multiplication"

    name: str
    inputs: tuple[str, str]
    output: str
    zeros: tuple[int, int]
    requantize: Requantize


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Concatenation(_Facts):
    """Operands side by side along ``axis``, each rescaled: ``requantize_i(q_i - z_i)``."""

    kind: ClassVar[str] = "concatenation"

    name: str
    inputs: tuple[str, ...]
    output: str
    zeros: tuple[int, ...]
    axis: int
    requantize: tuple[Requantize, ...]

    @property
    def factors(self) -> tuple[tuple[int, int], ...]:
        """Pairs of multiplier and shift of all operands."""
        return tuple(pair for target in self.requantize for pair in target.factors)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requantization(_Rescaled):
    """``requantize(q - input_zero)``: the same values in other codes."""

    kind: ClassVar[str] = "requantization"

    name: str
    input: str
    output: str
    input_zero: int
    requantize: Requantize


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mean(_Rescaled):
    """``requantize(sum over space of (q - input_zero))``; ``b / 2^c`` holds the reciprocal of ``count``.

    Without ``requantize`` the output is the int32 sum itself.
    """

    kind: ClassVar[str] = "mean"

    name: str
    input: str
    output: str
    input_zero: int
    axes: tuple[int, ...]
    count: int
    requantize: Requantize | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lookup(_Facts):
    """``table[q]``: any function of one value. ``table`` is uint8 ``[256]``."""

    kind: ClassVar[str] = "lookup"

    name: str
    input: str
    output: str
    table: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clamp(_Facts):
    """``clip(q, low, high)``."""

    kind: ClassVar[str] = "clamp"

    name: str
    input: str
    output: str
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Move(_Facts):
    """An ONNX operator that only moves or compares values, run on the codes as it stands.

    Attributes:
        op_type: MaxPool, Reshape, Transpose, Slice, Pad, Concat, ...
        operands: inputs in ONNX order: a tensor's name, a constant array, or None where one is left out.
        attributes: of the operator.
    """

    kind: ClassVar[str] = "move"

    name: str
    op_type: str
    operands: tuple[str | np.ndarray | None, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Other(_Facts):
    """An operator of the float network that stays as it is: in float, or on shapes.

    ``reason`` says why it is not integer arithmetic; it is empty for what never touches a float value.
    """

    kind: ClassVar[str] = "other"

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
class IntegerNetwork:
    """A whole network.

    Attributes:
        operations: in an order in which they can be run.
        constants: uint8 codes of constant operands, by tensor name.
        scales: what one step of each coded tensor is worth in the units of the float network, which
            no operation needs.
    """

    operations: tuple[Operation, ...]
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)


def inputs_of(operation: Operation) -> tuple[str, ...]:
    """Return the names of the tensors that an operation reads."""
    if isinstance(operation, Move):
        return tuple(o for o in operation.operands if isinstance(o, str))
    if isinstance(operation, ActivationProduct | Addition | Multiplication | Concatenation | Other):
        return tuple(operation.inputs)
    return (operation.input,)


def outputs_of(operation: Operation) -> tuple[str, ...]:
    """Names of the tensors that an operation writes."""
    if isinstance(operation, Move | Other):
        return operation.outputs
    return (operation.output,)
