"""The records that cross floors: formats, layers, statistics, plans, fitted arrays.

All of them are frozen. Arrays inside are never written to after construction. Shapes are given in
the comments in the notation ``[out, in, kh, kw]``; ``None`` stands for a dynamic extent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from dybitq.arithmetic import DEFAULT_OPTIONS, FLOAT_RESCALE, IntegerOptions

Shape = tuple[int | None, ...]


# --------------------------------------------------------------------------- encodings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NumberFormat:
    """A table of integers: code ``c`` stands for the integer ``table[c]``.

    Attributes:
        name: registered name with its width, for example ``dybit4`` or ``int8``.
        family: the name without the width, ``dybit``.
        bits: width of a code, 1 to 8.
        signed: whether the table holds negative integers.
        table: int64 ``[2**bits]``. Codes that an encoder never emits (a negative zero) repeat the
            integer of the code that it emits instead.
        reserved: the codes that an encoder never emits.
    """

    name: str
    family: str
    bits: int
    signed: bool
    table: np.ndarray
    reserved: tuple[int, ...] = ()

    @property
    def max_integer(self) -> int:
        """Largest magnitude in the table."""
        return int(np.abs(self.table).max())

    @property
    def fits_int8(self) -> bool:
        """Whether every integer fits an int8 (or uint8, if unsigned) kernel."""
        return self.max_integer <= (127 if self.signed else 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class PerTensor:
    """One scale for the whole tensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerChannel:
    """One scale for each index along ``axis``."""

    axis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PerBlock:
    """One scale for each run of ``size`` elements along ``axis``."""

    axis: int
    size: int


Granularity = PerTensor | PerChannel | PerBlock


# --------------------------------------------------------------------------- tensors of a model


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """An input or output of a model.

    Attributes:
        name: name in the graph.
        shape: extents, None where dynamic.
        dtype: numpy name of the element type (``float32``); empty for what is not a tensor, or has
            an element type that numpy lacks.
    """

    name: str
    shape: Shape
    dtype: str


# --------------------------------------------------------------------------- layers


class LayerKind(StrEnum):
    """What a weighted layer computes."""

    CONV = "conv"
    CONV_TRANSPOSE = "conv_transpose"
    GEMM = "gemm"
    MATMUL = "matmul"  # one operand is a weight, on either side
    MATMUL_DYNAMIC = "matmul_dynamic"  # both operands are activations
    GATHER = "gather"  # embedding table, weight-only


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Sliding-window geometry of a convolution; spatial axes in ONNX order."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]  # all begins, then all ends, as ONNX has them
    group: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWork:
    """One layer of the normalised graph that multiplies and accumulates.

    ``gemm`` is the work as ``groups`` products ``[m, k] x [k, n]`` at batch size 1 (unknown extents
    counted as ``None`` make all of it ``None``); ``macs`` is ``groups * m * k * n``.
    """

    name: str  # node name, unique in the graph
    kind: LayerKind
    op_type: str
    input: str  # activation that meets the weight (for MATMUL_DYNAMIC: the left operand)
    output: str  # raw output of the node itself
    weight: str | None  # initializer, or the right operand of MATMUL_DYNAMIC
    bias: str | None  # initializer added by this node, or by an Add right behind a MatMul
    bias_node: str | None  # that Add's node name, when the bias is not an input of the layer itself
    weight_shape: Shape
    channel_axis: int  # axis of the weight that indexes output channels
    weight_on_left: bool  # MatMul(weight, activation)
    transposed: bool  # Gemm with transB: weight is [out, in]
    window: Window | None
    input_shape: Shape
    output_shape: Shape
    gemm: tuple[int, int, int, int] | None  # (groups, m, k, n)
    macs: int | None

    @property
    def weight_count(self) -> int:
        """Number of weights (0 where both operands are activations)."""
        if self.kind is LayerKind.MATMUL_DYNAMIC:
            return 0
        return int(np.prod([d or 1 for d in self.weight_shape], dtype=np.int64))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedLayer:
    """One layer of any ONNX model, and the widths at which its operands are stored and multiplied.

    ``layer`` describes the work with the names of the model as it is stored: ``layer.op_type`` may be
    QLinearConv or MatMulInteger, ``layer.weight`` is the stored initializer that holds the codes.

    Attributes:
        layer: kind, shapes, window and MACs, as in the survey of a float network.
        weight_bits: stored bits of one weight, 32 if float32; for MATMUL_DYNAMIC the width at which the
            right operand is multiplied.
        weight_format: registered format where the model says so (``dybit4``), otherwise the stored
            element type (``int8``, ``uint4``, ``float32``).
        granularity: what shares one weight scale; None where the weights are not quantized.
        activation_bits: width at which the left operand meets the multiplier, 32 if float32.
        activation_format: its format or element type; ``dynamic`` in front where ranges are of the run.
        output_bits: width in which the layer's result is handed on, 32 if float32.
        stored_bytes: what the file holds for the weight: codes, scales, zero points and tables, each
            counted with the first layer that uses it.
        reason: why something is not quantized or differs, as the model or the survey says; may be empty.
    """

    layer: LayerWork
    weight_bits: int
    weight_format: str
    granularity: Granularity | None
    activation_bits: int
    activation_format: str
    output_bits: int
    stored_bytes: int
    reason: str = ""


# --------------------------------------------------------------------------- statistics


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TensorStatistics:
    """What one pass over the data learns of one float activation tensor.

    Attributes:
        samples, count: samples seen, and values in the histogram (some positions of every sample).
        minimum, maximum: exact extremes over all values.
        sum_sample_max, sum_sample_min: sums over samples of each one's own extremes; divided by ``samples``
            the first is SPARQ's mean of maxima.
        histogram: int64 ``[65536]``; bin ``i`` counts the float32 values whose upper 16 bits are ``i``.
    """

    samples: int
    count: int
    minimum: float
    maximum: float
    sum_sample_max: float
    sum_sample_min: float
    histogram: np.ndarray


class MomentKind(StrEnum):
    """How much of the second moment was kept within the memory budget."""

    FULL = "full"
    BLOCK = "block"
    DIAGONAL = "diagonal"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moment:
    """Sums of the patches that a layer multiplies with its weight matrix ``[groups, rows, K]``.

    Attributes:
        kind: FULL, BLOCK or DIAGONAL.
        rows: number of patches summed.
        first: float64 ``[groups, K]``, sum of the patches.
        second: sum of outer products; float64 ``[groups, K, K]`` (FULL), ``[groups, blocks, B, B]``
            (BLOCK; K padded with zeros to ``blocks * B``) or ``[groups, K]`` (DIAGONAL).
        minimum, maximum: float64 ``[groups, K]``, extremes of the patches.
    """

    kind: MomentKind
    rows: int
    first: np.ndarray
    second: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelStatistics:
    """Values of one layer output, float64 ``[channels]`` each.

    Attributes:
        count, total, squares: number, sum and sum of squares over a fixed subset of positions.
        minimum, maximum: extremes over all positions; infinite, the wrong way round, where there were none.
        histogram: counts ``[channels, 768]`` of :mod:`dybitq.octaves`, where a function follows; or None.
    """

    count: int
    total: np.ndarray
    squares: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    histogram: np.ndarray | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Statistics:
    """Sufficient statistics of one model on one data set; a monoid (see ``calibrate.merge``).

    Attributes:
        model_sha256: hash of the float32 model file (external data included).
        samples: number of samples.
        tensors: by activation name in the normalised graph.
        moments: by :func:`dybitq.patches.moment_key` of a layer.
        channels: by layer name; statistics of the layer's own raw output.
    """

    model_sha256: str
    samples: int
    tensors: Mapping[str, TensorStatistics]
    moments: Mapping[str, Moment]
    channels: Mapping[str, ChannelStatistics]


# --------------------------------------------------------------------------- plan


class ActivationMode(StrEnum):
    """How the activations of a layer reach its multiplier."""

    STATIC = "static"  # ranges fixed by calibration
    DYNAMIC = "dynamic"  # 8-bit ranges found at every run (MatMul)
    FLOAT = "float"  # weight-only


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPlan:
    """Decisions for one weighted layer.

    ``weights`` is a format name, or ``float`` to leave the layer alone. ``recode`` names what the
    layer does to its input codes on the way in (``none`` or a registered re-coding such as
    ``sparq4-5opt``).
    """

    layer: str
    weights: str
    granularity: str = "channel"  # channel | tensor
    scale: str = "mse"  # registered scale method: mse | max | pow2
    rounding: str = "compensated"  # registered rounding: nearest | compensated
    activations: ActivationMode = ActivationMode.STATIC
    recode: str = "none"
    reduce_range: bool = True  # weights so small that no kernel saturates, see fit/kernel_range.py
    reason: str = ""
    snap: float = 0.0  # integer-only, as carried out: largest relative move of a scale onto the dyadic grid


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgePlan:
    """Decisions for one quantized activation tensor (all tensors that share its codes follow)."""

    tensor: str
    format: str = "int8"
    range: str = "mse"  # registered range method: minmax | percentile | mse | entropy | ...
    reason: str = ""
    snap: float = 0.0  # integer-only, as carried out: relative error of the factors that write the tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every decision, no array: read, diff and edit it as YAML, and feed it back."""

    model_sha256: str
    layers: tuple[LayerPlan, ...]
    edges: tuple[EdgePlan, ...]
    bias_correction: bool = True
    arithmetic: str = FLOAT_RESCALE
    integer: IntegerOptions = DEFAULT_OPTIONS
    source: str = field(default="plan", compare=False)  # the file it stands in, for messages


# --------------------------------------------------------------------------- fitted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedWeight:
    """Codes and scales of one weight tensor.

    The weight is ``format.table[codes] * scale`` with the scale broadcast along ``axis``.

    Attributes:
        format: the table.
        codes: uint8, shape of the weight tensor as it stands in the graph.
        scale: float32 ``[1]`` (per tensor, ``axis`` is None) or ``[channels]``.
        axis: channel axis of the scale.
        bias: float32 ``[channels]``, the layer's bias after correction; None where it has none.
        error: relative output error predicted by the fit, ``E|dW x|^2 / E|W x|^2`` (nan if unknown).
    """

    format: NumberFormat
    codes: np.ndarray
    scale: np.ndarray
    axis: int | None
    bias: np.ndarray | None
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedEdge:
    """Scale and zero point of one uint8-coded activation tensor: ``x = (code - zero_point) * scale``.

    Codes are clamped to ``low .. high``, which is narrower than 0..255 below 8 bits.
    """

    format: str
    scale: float
    zero_point: int
    low: int = 0
    high: int = 255


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recoding:
    """What a layer does to its 8-bit input codes on the way in.

    Attributes:
        name: as it stands in a plan.
        single: uint8 ``[256]``, what replaces a code whose partner is zero.
        both: uint8 ``[256]``, what replaces a code whose partner is not zero.
        paired: whether partners are looked at; where not, ``single`` equals ``both``.
        zero_point: the code that stands for zero.
    """

    name: str
    single: np.ndarray
    both: np.ndarray
    paired: bool
    zero_point: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Arrays by layer name, edges by tensor name; ``notes`` says what was done otherwise than asked for."""

    weights: Mapping[str, FittedWeight] = field(default_factory=dict)
    edges: Mapping[str, FittedEdge] = field(default_factory=dict)
    recodings: Mapping[str, Recoding] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
