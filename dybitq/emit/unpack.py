"""Packed codes in the file, integers in the kernel: the grouped-table decode.

Codes are stored as the bit stream of ``bits.pack``. A group of ``g`` neighbouring codes, ``K = g * bits``
bits, is one index into a table with a row of ``g`` integers for every possible group; the table is built
in the graph from the ``2**bits`` integers of the format by outer products. Everything here hangs on
constants, so that onnxruntime folds it once, when the session is created.

* K = 8 or 16: the stream read as uint8 or uint16 is the list of indices.
* otherwise eight codes are ``bits`` bytes; one matrix product with powers of two lifts the bytes around
  every group into a number below 2**24, exact in float32, whose lower K bits are the index. Where that
  number stays below 2**16, the table repeats itself up to there and the upper bits do no harm; else they are
  cut off.

What counts is how long a session takes to be created: the number of nodes, and the bytes between them.
"""

import numpy as np
import onnx_ir as ir

from dybitq import bits as bit_stream
from dybitq.emit.builder import Builder
from dybitq.records.formats import NumberFormat

DOMAIN = "dybitq"
GROUP = {1: 8, 2: 4, 3: 4, 4: 4, 5: 2, 6: 2, 7: 2, 8: 1}
"""Codes in one index, by width."""

REPEATED = frozenset({3, 5, 6})
"""Widths whose table has 2**16 rows, because no number that a group is lifted to is larger."""


def add_decode(
    builder: Builder, fmt: NumberFormat, codes: np.ndarray, *, as_float: bool, before: ir.Node | None = None
) -> ir.Value:
    """Store ``codes`` packed and add the nodes that turn them into integers.

    Args:
        builder: of the model.
        fmt: the table; its integers must fit int8 unless ``as_float``.
        codes: uint8, any shape.
        as_float: make float32 integers instead of int8 ones.
        before: node in front of which the decode goes; None puts it at the head of the graph.

    Returns:
        int8 or float32 value, shape of ``codes``.
    """
    dtype = np.dtype(np.float32 if as_float else np.int8)
    if fmt.bits == 8 and not as_float:
        return builder.constant(fmt.table[codes].astype(np.int8), "w")
    stored = builder.constant(stored_form(codes, fmt.bits), "w")
    whole = codes.size % codes_stored_together(fmt.bits) == 0
    builder.add_function(_unpack_function(builder, fmt.bits, whole=whole))
    operands = [stored, _rows(builder, fmt, dtype), builder.constant(np.array(codes.shape, np.int64), "n")]
    for use in stored.uses():  # layers that share a weight share its decoding
        if list(use.node.inputs) == operands and use.node.domain == DOMAIN:
            return use.node.outputs[0]
    return builder.node(
        f"Unpack{fmt.bits}" if whole else f"Unpack{fmt.bits}Part",
        operands,
        output="i",
        attributes={} if whole else {"count": [codes.size]},
        domain=DOMAIN,
        before=before,
    )


def codes_stored_together(bits: int) -> int:
    """Codes after which the stored form is complete: one index where it is 8 or 16 bits wide, else eight."""
    group = GROUP[bits]
    return group if group * bits in (8, 16) else bit_stream.GROUP


def stored_form(codes: np.ndarray, bits: int) -> np.ndarray:
    """Packed codes as the initializer that holds them, padded with zero codes to whole rows.

    Returns:
        uint8 or uint16 ``[indices]`` where an index has 8 or 16 bits; otherwise uint8 ``[rows, bits]``, a row
        holding eight codes.
    """
    together = codes_stored_together(bits)
    rows = -(-codes.size // together)
    flat = np.zeros(rows * together, np.uint8)
    flat[: codes.size] = codes.reshape(-1)
    stream = np.frombuffer(bit_stream.pack(flat, bits), np.uint8)
    index_bits = GROUP[bits] * bits
    if index_bits == 16:
        return stream.view("<u2")
    return stream if index_bits == 8 else stream.reshape(rows, bits)


def _rows(builder: Builder, fmt: NumberFormat, dtype: np.dtype) -> ir.Value:
    """Build the rows of one format, ``[rows, g]``, once at the head of the graph."""
    table = builder.constant(fmt.table.astype(dtype), f"{fmt.name}_table")
    for use in table.uses():
        if use.node.op_type.startswith("Rows"):
            return use.node.outputs[0]
    builder.add_function(_rows_function(builder, fmt.bits))
    return builder.node(f"Rows{fmt.bits}", [table], output="rows", domain=DOMAIN)


def _opset(builder: Builder) -> int:
    return builder.model.graph.opset_imports[""]


class _Body:
    """Nodes of a function under construction."""

    def __init__(self) -> None:
        self.nodes: list[ir.Node] = []

    def op(self, op_type: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        node = ir.node(op_type, list(inputs), dict(attributes))
        node.outputs[0].name = f"t{len(self.nodes)}"
        self.nodes.append(node)
        return node.outputs[0]

    def constant(self, value: np.ndarray | list[int]) -> ir.Value:
        """Add a tensor, or a list of int64 (which takes fewer bytes as an attribute of its own kind)."""
        attributes = {"value_ints": value} if isinstance(value, list) else {"value": ir.tensor(value)}
        node = ir.node("Constant", [], attributes)
        node.outputs[0].name = f"t{len(self.nodes)}"
        self.nodes.append(node)
        return node.outputs[0]

    def integers(self, attribute: str) -> ir.Value:
        """Read the function's list-of-integers attribute as a tensor."""
        reference = ir.RefAttr("value_ints", attribute, ir.AttributeType.INTS)
        node = ir.Node("", "Constant", [], [reference])
        node.outputs[0].name = f"t{len(self.nodes)}"
        self.nodes.append(node)
        return node.outputs[0]


def _function(
    builder: Builder,
    name: str,
    inputs: list[ir.Value],
    body: _Body,
    output: ir.Value,
    attributes: tuple[str, ...],
) -> ir.Function:
    graph = ir.Graph(inputs, [output], nodes=body.nodes, opset_imports={"": _opset(builder)}, name=name)
    for node in graph:
        node.name = ""  # onnx-ir makes names up, which the file would hold for no use
    declared = [ir.Attr(a, ir.AttributeType.INTS, None) for a in attributes]
    return ir.Function(DOMAIN, name, graph=graph, attributes=declared)


def _rows_function(builder: Builder, bits: int) -> ir.Function:
    """Table ``[2**b]`` to rows ``[2**K, g]``: column j is the table along axis j of a g-dimensional cube.

    Repeated up to ``[2**16, g]`` where :data:`REPEATED` says so.
    """
    group, size = GROUP[bits], 2**bits
    body = _Body()
    table = ir.val("table")
    cube = body.constant([size] * group)
    column = body.constant([-1, 1])
    columns = []
    for j in range(group):
        shape = [1] * group
        shape[group - 1 - j] = size  # the first code of a group is the lowest part of the index
        axis = body.op("Reshape", table, body.constant(shape))
        columns.append(body.op("Reshape", body.op("Expand", axis, cube), column))
    rows = body.op("Concat", *columns, axis=1)
    if bits in REPEATED:
        repeats = 1 << (16 - group * bits)
        rows = body.op("Expand", rows, body.constant([repeats, size**group, group]))
        rows = body.op("Reshape", rows, body.constant([-1, group]))
    return _function(builder, f"Rows{bits}", [table], body, rows, ())


def _unpack_function(builder: Builder, bits: int, *, whole: bool) -> ir.Function:
    """Define stored codes and rows to a tensor; unless ``whole``, ``count`` cuts the padding off."""
    body = _Body()
    stored, rows, shape = ir.val("stored"), ir.val("rows"), ir.val("shape")
    index_bits = GROUP[bits] * bits
    if index_bits in (8, 16):
        index = body.op("Cast", stored, to=int(ir.DataType.INT32))
    else:
        octets = body.op("Cast", stored, to=int(ir.DataType.FLOAT))
        windows = body.op("MatMul", octets, body.constant(window_matrix(bits)))
        index = body.op("Cast", windows, to=int(ir.DataType.INT32))
        if bits not in REPEATED:
            index = body.op("Mod", index, body.constant(np.array(1 << index_bits, np.int32)))
    integers = body.op("Gather", rows, index, axis=0)
    if not whole:
        flat = body.op("Reshape", integers, body.constant([-1]))
        integers = body.op("Slice", flat, body.constant([0]), body.integers("count"))
    shaped = body.op("Reshape", integers, shape)
    name = f"Unpack{bits}" if whole else f"Unpack{bits}Part"
    return _function(builder, name, [stored, rows, shape], body, shaped, () if whole else ("count",))


def window_matrix(bits: int) -> np.ndarray:
    """Float32 ``[bits, 8 / g]``: bytes times this, truncated, has index k in its lower K bits.

    Index k starts at bit ``k * K`` of its eight codes and touches at most three bytes, so that the sum
    keeps its 24 bits exactly.
    """
    index_bits = GROUP[bits] * bits
    matrix = np.zeros((bits, 8 // GROUP[bits]), np.float32)
    for k in range(matrix.shape[1]):
        start = k * index_bits
        first, last = start // 8, (start + index_bits - 1) // 8
        for octet in range(first, last + 1):
            matrix[octet, k] = 2.0 ** (8 * (octet - first) - (start - 8 * first))
    return matrix
