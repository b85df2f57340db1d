"""Records of the tensors and weighted layers of a network; ``None`` stands for a dynamic extent."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from dybitq.records.formats import Granularity

Shape = tuple[int | None, ...]


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


class LayerKind(StrEnum):
    """Kind of computation of a weighted layer."""

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
