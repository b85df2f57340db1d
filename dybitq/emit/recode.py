"""Re-codings on the consumer's edge: tables on codes, in pairs of neighbouring channels where asked."""

import numpy as np
import onnx_ir as ir

from dybitq.emit.builder import Builder
from dybitq.emit.edges import Coded, CodedEdges
from dybitq.emit.layers import Layer
from dybitq.emit.lookup import add_flat, add_flat_lookup
from dybitq.encodings.sparq import partners
from dybitq.graph import keys
from dybitq.records.fitted import Recoding
from dybitq.records.layers import LayerWork, Shape


class RecodedInputs:
    """Re-coded inputs of the layers of one graph; layers that re-code one tensor alike share it."""

    def __init__(self, builder: Builder, edges: CodedEdges) -> None:
        self.builder = builder
        self.edges = edges
        self._made: dict[tuple[str, str, bytes], ir.Value] = {}

    def read(self, layer: Layer) -> None:
        """Let ``layer`` read its input re-coded and dequantized, if it re-codes and its input has codes."""
        recoding, coded = layer.recoding, self.edges.get(layer.activation)
        if recoding is None or coded is None:
            return
        axis, _, groups = layer.work.geometry.pair_axis
        pairs = groups if recoding.paired else 1
        key = (str(coded.value.name), f"{recoding.name}/{axis}/{pairs}", recoding.both.tobytes())
        if key not in self._made:
            self._made[key] = self._dequantized(layer, coded, recoding)
        layer.node.metadata_props[keys.RECODE] = recoding.name
        layer.node.replace_input_with(0, self._made[key])

    def _dequantized(self, layer: Layer, coded: Coded, recoding: Recoding) -> ir.Value:
        codes = add_recoding(self.builder, coded.value, recoding, layer.work, before=layer.node)
        unchanged = layer.activation
        if codes is coded.value and unchanged is not None:
            return unchanged
        return self.builder.node(
            "DequantizeLinear",
            [codes, self.edges.scale(coded.edge), self.edges.zero_point(coded.edge)],
            output="r",
            before=layer.node,
        )


def add_recoding(
    builder: Builder, codes: ir.Value, recoding: Recoding, layer: LayerWork, *, before: ir.Node
) -> ir.Value:
    """Codes as ``layer`` multiplies them, uint8, shape of ``codes``; ``codes`` itself if they all stay.

    Pairs are neighbouring input channels at one tap of a convolution, or neighbours along the reduction
    axis of a matrix product. A value beside a zero goes through ``recoding.single``, others through
    ``recoding.both``.

    The work is done with channels last. That is how the runtime runs a quantized convolution, and it would
    transpose the codes there and back around a table; it cancels these with the ones written here.
    """
    axis, count, groups = layer.geometry.pair_axis
    partner, lone = partners(count, groups)
    paired = recoding.paired and not lone.all()
    table = recoding.single if recoding.paired else recoding.both
    if not paired and _is_identity(table):
        return codes
    rank, shape = len(layer.weight_shape), layer.input_shape
    if axis == 1:
        codes = builder.node(
            "Transpose", [codes], attributes={"perm": [0, *range(2, rank), 1]}, output="q", before=before
        )
        shape = (*shape[:1], *shape[2:], *shape[1:2])
    flat = add_flat(builder, codes, before=before)
    if paired:
        alone = _beside_zero(builder, codes, recoding.zero_point, partner, lone, before=before)
        found = _one_of_two(builder, flat, recoding, alone, before=before)
    else:
        found = add_flat_lookup(builder, flat, table, before=before)
    extents = _extents(builder, codes, shape, before=before)
    recoded = builder.node("Reshape", [found, extents], output="q", before=before)
    if axis == 1:
        perm = [0, rank - 1, *range(1, rank - 1)]
        recoded = builder.node("Transpose", [recoded], attributes={"perm": perm}, output="q", before=before)
    return recoded


def _beside_zero(
    builder: Builder,
    codes: ir.Value,
    zero_point: int,
    partner: np.ndarray,
    lone: np.ndarray,
    *,
    before: ir.Node,
) -> ir.Value:
    """Tell for every code whether its partner is zero or missing, bool along one axis; channels are last.

    Partners are picked with channels first, where they are contiguous: along the last axis the runtime
    copies byte by byte, which takes 40 times as long.
    """

    def node(op_type: str, *inputs: ir.Value, **attributes: int | list[int]) -> ir.Value:
        return builder.node(op_type, inputs, attributes=attributes, output="m", before=before)

    rows = node("Reshape", codes, builder.constant(np.array([-1, len(partner)], np.int64), "n"))
    channels = node("Transpose", rows, perm=[1, 0])
    neighbours = node("Gather", channels, builder.constant(partner, "n"), axis=0)
    alone = node("Equal", neighbours, builder.constant(np.array(zero_point, np.uint8), "z"))
    if lone.any():
        alone = node("Or", alone, builder.constant(lone.reshape(-1, 1), "m"))
    return add_flat(builder, node("Transpose", alone, perm=[1, 0]), before=before)


def _one_of_two(
    builder: Builder, flat: ir.Value, recoding: Recoding, alone: ir.Value, *, before: ir.Node
) -> ir.Value:
    """Look up once in both tables, one after the other.

    Where(alone, flat, ...) would do where codes beside a zero stay as they are, but on bytes it takes four
    times as long as the look-up on processors without AVX-512.
    """

    def node(op_type: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        return builder.node(op_type, inputs, attributes=attributes, output="i", before=before)

    integers = int(ir.DataType.INT32)
    offset = node("Mul", node("Cast", alone, to=integers), builder.constant(np.array(256, np.int32), "n"))
    index = node("Add", node("Cast", flat, to=integers), offset)
    tables = builder.constant(np.concatenate([recoding.both, recoding.single]), "t")
    return node("GatherElements", tables, index)


def _extents(builder: Builder, codes: ir.Value, shape: Shape, *, before: ir.Node) -> ir.Value:
    """Return ``shape`` where at most one extent of it is unknown, else what ``codes`` has at run time."""
    if shape and shape.count(None) <= 1:
        return builder.constant(np.array([-1 if d is None else d for d in shape], np.int64), "n")
    return builder.node("Shape", [codes], output="i", before=before)


def _is_identity(table: np.ndarray) -> bool:
    return bool((table == np.arange(256)).all())
