"""Records of the tensors and weighted layers of a network; ``None`` stands for a dynamic extent."""

from dataclasses import dataclass
from math import prod

from dybitq.records.formats import Granularity
from dybitq.records.geometry.base import Shape
from dybitq.records.geometry.products import ActivationProduct, EmbeddingTable, MatrixProduct
from dybitq.records.geometry.windows import SlidingWindow, TransposedWindow


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


Geometry = SlidingWindow | TransposedWindow | MatrixProduct | ActivationProduct | EmbeddingTable
"""How the activation and the weight of a layer become a product of matrices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWork:
    """One layer of the normalised graph that multiplies and accumulates.

    Attributes:
        name: node name, unique in the graph.
        op_type: operator of the node.
        input: activation that meets the weight; of two activations the left operand.
        output: raw output of the node itself.
        weight: initializer, or the right operand of two activations.
        bias: initializer added by this node, or by an Add right after a MatMul.
        bias_node: name of that Add, where the bias is not an input of the layer itself.
        geometry: the kind of product, the shape of the weight, and what follows from them.
        input_shape, output_shape: as the model declares them.
        gemm: the work as ``(groups, m, k, n)``, so many products ``[m, k] x [k, n]`` at batch size 1; None
            where an extent is not known, and for embeddings.
    """

    name: str
    op_type: str
    input: str
    output: str
    weight: str
    bias: str | None
    bias_node: str | None
    geometry: Geometry
    input_shape: Shape
    output_shape: Shape
    gemm: tuple[int, int, int, int] | None

    @property
    def weight_shape(self) -> Shape:
        """Shape of the weight, or of the right one of two activations."""
        return self.geometry.weight_shape

    @property
    def weight_count(self) -> int:
        """Number of weights (0 where both operands are activations)."""
        return self.geometry.weight_count

    @property
    def macs(self) -> int | None:
        """Multiplications and additions of one sample; None where an extent is not known."""
        if isinstance(self.geometry, EmbeddingTable):
            return 0
        return None if self.gemm is None else prod(self.gemm)

    @property
    def moment_key(self) -> str:
        """Name under which the moments of its patches are kept."""
        return self.geometry.moment_key(self.input)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedLayer:
    """One layer of any ONNX model, and the widths at which its operands are stored and multiplied.

    ``layer`` describes the work with the names of the model as it is stored: ``layer.op_type`` may be
    QLinearConv or MatMulInteger, ``layer.weight`` is the stored initializer that holds the codes.

    Attributes:
        layer: geometry, shapes and MACs, as in the survey of a float network.
        weight_bits: stored bits of one weight, 32 if float32; of two activations the width at which
            the right one is multiplied.
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
