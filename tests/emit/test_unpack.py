"""Packed codes come out of the runtime as the integers of their table, bit by bit."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from dybitq import bits as bit_stream
from dybitq.emit.builder import Builder
from dybitq.emit.unpack import GROUP, REPEATED, add_decode, codes_stored_together, stored_form, window_matrix
from dybitq.encodings import formats
from dybitq.graph.export import to_bytes
from tests.emit.toolkit import optimized, run

NAMES = ["ternary", "int2", "dybit3", "int3", "dybit4", "e2m1", "int5", "dybit5", "int6", "int7", "int8"]
WIDE = ["dybit6", "dybit7", "dybit8"]


def decoder(arrays: list[np.ndarray], name: str, *, as_float: bool, opset: int = 17) -> onnx.ModelProto:
    """A model that adds decoded arrays to its input, so that they cannot be anything but constants."""
    kind = ir.DataType.FLOAT if as_float else ir.DataType.INT8
    x = ir.val("x", dtype=kind, shape=[1])
    nodes = [ir.node("Identity", [x])]
    graph = ir.Graph([x], [], nodes=nodes, opset_imports={"": opset}, name="decoder")
    builder = Builder(ir.Model(graph, ir_version=8))
    fmt = formats.get(name)
    for number, codes in enumerate(arrays):
        integers = add_decode(builder, fmt, codes, as_float=as_float, before=nodes[0])
        wide = builder.node("Cast", [integers], attributes={"to": 6}, output="c", before=nodes[0])
        offset = builder.node("Cast", [x], attributes={"to": 6}, output="c", before=nodes[0])
        total = builder.node("Add", [wide, offset], output="t", before=nodes[0])
        total.name, total.type = f"y{number}", ir.TensorType(ir.DataType.INT32)
        total.shape = ir.Shape(codes.shape)
        graph.outputs.append(total)
    graph.remove(nodes[0])
    model = to_bytes(builder.model)
    onnx.checker.check_model(model, full_check=True)
    return onnx.load_model_from_string(model)


def codes_of(name: str, *shape: int, seed: int = 0) -> np.ndarray:
    """Random codes of a format."""
    return np.random.default_rng(seed).integers(0, 2 ** formats.get(name).bits, shape).astype(np.uint8)


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (1,), (7, 5), (3, 1, 2, 2), (2, 8), (1, 1, 1, 1), (13, 3)])
@pytest.mark.parametrize("name", NAMES)
def test_int8(name, shape):
    """Every width and table, at sizes that do and do not fill the last group."""
    codes = codes_of(name, *shape)
    proto = decoder([codes], name, as_float=False)
    found = run(proto.SerializeToString(), {"x": np.zeros(1, np.int8)})["y0"]
    np.testing.assert_array_equal(found, formats.get(name).table[codes])


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (7, 5)])
@pytest.mark.parametrize("name", [*NAMES, *WIDE])
def test_float32(name, shape):
    """Tables wider than int8 decode to exact float integers."""
    codes = codes_of(name, *shape)
    proto = decoder([codes], name, as_float=True)
    found = run(proto.SerializeToString(), {"x": np.zeros(1, np.float32)})["y0"]
    np.testing.assert_array_equal(found, formats.get(name).table[codes])


@pytest.mark.parametrize("name", ["int2", "int3", "dybit4", "int5", "int6", "int7"])
def test_every_code_at_every_place(name):
    """All codes of a group, in all positions: no neighbour leaks into another's bits."""
    fmt = formats.get(name)
    size = 2**fmt.bits
    codes = np.concatenate([np.roll(np.resize(np.arange(size), 8 * size), k) for k in range(8)])
    extremes = np.tile([0, size - 1, size - 1, 0, size - 1], 16)
    codes = np.concatenate([codes, extremes]).astype(np.uint8)
    proto = decoder([codes], name, as_float=False)
    found = run(proto.SerializeToString(), {"x": np.zeros(1, np.int8)})["y0"]
    np.testing.assert_array_equal(found, fmt.table[codes])


@pytest.mark.parametrize("opset", [13, 15, 18, 21, 23])
@pytest.mark.parametrize("name", ["dybit4", "int3", "int5"])
def test_opsets(name, opset):
    """The functions use nothing that opset 13 lacks or a later one took away."""
    codes = codes_of(name, 5, 7)
    proto = decoder([codes], name, as_float=False, opset=opset)
    found = run(proto.SerializeToString(), {"x": np.zeros(1, np.int8)})["y0"]
    np.testing.assert_array_equal(found, formats.get(name).table[codes])


@pytest.mark.parametrize("name", ["int2", "dybit3", "dybit4", "int7"])
def test_by_the_letter_of_the_standard(name):
    """ONNX's own reference implementation decodes the same."""
    arrays = [codes_of(name, 4, 8), codes_of(name, 3, 7, seed=1)]
    proto = decoder(arrays, name, as_float=False)
    found = ReferenceEvaluator(proto).run(None, {"x": np.zeros(1, np.int8)})
    for codes, result in zip(arrays, found, strict=True):
        np.testing.assert_array_equal(result, formats.get(name).table[codes])


def test_nothing_is_left_to_do_at_run_time():
    """All of the decoding is folded when the session is created."""
    arrays = [codes_of("dybit4", 6, 4, 3, 3), codes_of("dybit4", 7, 5)]
    proto = decoder(arrays, "dybit4", as_float=False)
    ops = {node.op_type for node in optimized(proto.SerializeToString()).graph.node}
    assert ops == {"Add", "Cast"}


def test_one_table_for_one_format():
    """The rows of a table are built once, and functions stand in the file once."""
    arrays = [codes_of("dybit4", 6, 4), codes_of("dybit4", 8, 5), codes_of("dybit4", 3, 3)]
    proto = decoder(arrays, "dybit4", as_float=False)
    assert [node.op_type for node in proto.graph.node].count("Rows4") == 1
    assert sorted(function.name for function in proto.functions) == ["Rows4", "Unpack4", "Unpack4Part"]


def test_equal_weights_are_stored_once():
    """Two layers with the same codes share one initializer."""
    codes = codes_of("dybit4", 6, 4)
    proto = decoder([codes, codes.copy()], "dybit4", as_float=False)
    assert sum(tensor.data_type == onnx.TensorProto.UINT16 for tensor in proto.graph.initializer) == 1


@pytest.mark.parametrize("name", NAMES)
def test_stored_form(name):
    """The bit stream of ``bits.pack``, in rows, padded with zeros by less than one row."""
    fmt = formats.get(name)
    codes = codes_of(name, 45)
    stored = stored_form(codes, fmt.bits)
    stream = stored.tobytes()
    packed = bit_stream.pack(codes, fmt.bits)
    assert stream[: len(packed)] == packed and not any(stream[len(packed) :])
    whole = -(-codes.size // codes_stored_together(fmt.bits)) * codes_stored_together(fmt.bits)
    assert len(stream) == whole * fmt.bits // 8
    assert len(stream) - len(packed) < 8


def test_eight_bits_are_stored_as_they_are():
    """Codes of 8 bits need no function."""
    proto = decoder([codes_of("int8", 6, 4)], "int8", as_float=False)
    assert not proto.functions


def test_windows_are_exact_in_float32():
    """No index needs more than 24 bits on the way."""
    for bits, group in GROUP.items():
        if group * bits in (8, 16):
            continue
        matrix = window_matrix(bits)
        assert matrix.shape == (bits, 8 // group)
        assert (matrix.sum(axis=0) * 255 < 2**24).all()
        assert bits not in REPEATED or (matrix.sum(axis=0) * 255 < 2**16).all()
