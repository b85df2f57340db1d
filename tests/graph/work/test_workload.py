"""Models as work: shapes, products, vector operators, widths, views, and what is left out."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from dybitq.encodings.widths import widths
from dybitq.errors import ConfigError, ModelError
from dybitq.graph.work.workload import workload_of_model
from tests.models import make_model


def work(body, shapes=None, **options):
    """The workload of a model from text."""
    return workload_of_model(ir.from_proto(make_model(body, **options)), name="m", shapes=shapes)


def weight(*shape):
    """A float32 weight."""
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def products(workload):
    """``(groups, m, k, n)`` by name."""
    return {op.name: (op.groups, op.m, op.k, op.n) for op in workload.ops if op.macs}


CASES = {
    "conv": ("y = Conv <pads = [1, 1, 1, 1]> (x, w)", {"w": weight(6, 4, 3, 3)}, (1, 72, 36, 6)),
    "strided": ("y = Conv <strides = [2, 2]> (x, w)", {"w": weight(6, 4, 3, 3)}, (1, 12, 36, 6)),
    "grouped": ("y = Conv <group = 2> (x, w)", {"w": weight(6, 2, 1, 1)}, (2, 72, 2, 3)),
    "depthwise": ("y = Conv <group = 4> (x, w)", {"w": weight(4, 1, 1, 1)}, (4, 72, 1, 1)),
    "transposed": ("y = ConvTranspose <strides = [2, 2]> (x, w)", {"w": weight(4, 6, 2, 2)}, (1, 72, 4, 24)),
}


@pytest.mark.parametrize("name", CASES)
def test_convolutions(name):
    """Pixels, reduction and channels of every kind of convolution, batch 1."""
    body, weights, expected = CASES[name]
    assert list(products(work(body, weights=weights)).values()) == [expected]


def test_one_dimensional_and_dilated_geometry():
    """A 1-D convolution has height 1; dilation is kept."""
    found = work(
        "y = Conv <dilations = [2], pads = [2, 2]> (x, w)",
        inputs="float[N, 4, 20] x",
        outputs="float[N, P, Q] y",
        weights={"w": weight(6, 4, 3)},
    )
    conv = found.ops[0].conv
    assert (conv.in_h, conv.in_w, conv.kernel_h, conv.kernel_w, conv.dilation_w, conv.pad_left) == (
        1,
        20,
        1,
        3,
        2,
        2,
    )


def test_matmul_forms():
    """Weights on the right, on the left, batched, and two activations."""
    plain = {"inputs": "float[N, 5, 8] x", "outputs": "float[N, P, Q] y"}
    assert products(work("y = MatMul (x, w)", weights={"w": weight(8, 3)}, **plain)) == {
        "MatMul_0": (1, 5, 8, 3)
    }
    left = work("y = MatMul (w, x)", weights={"w": weight(3, 5)}, **plain)
    assert products(left) == {"MatMul_0": (1, 8, 5, 3)}
    batched = work(
        "y = MatMul (x, w)",
        inputs="float[2, 5, 8] x",
        outputs="float[2, 5, 3] y",
        weights={"w": weight(2, 8, 3)},
    )
    assert products(batched) == {"MatMul_0": (2, 5, 8, 3)}
    both = work("y = MatMul (x, z)", inputs="float[N, 2, 5, 8] x, float[N, 2, 8, 6] z")
    assert products(both) == {"MatMul_0": (2, 5, 8, 6)}
    assert not both.tensors[both.ops[0].inputs[1]].constant


def test_gemm_and_batch():
    """The batch multiplies the rows when --shape says so."""
    body, options = "y = Gemm <transB = 1> (x, w)", {"inputs": "float[N, 8] x", "outputs": "float[N, Q] y"}
    weights = {"w": weight(3, 8)}
    assert list(products(work(body, weights=weights, **options)).values()) == [(1, 1, 8, 3)]
    batch = work(body, {"x": (64, 8)}, weights=weights, **options)
    assert list(products(batch).values()) == [(1, 64, 8, 3)]


def test_open_extents_are_assumed_and_noted():
    """Images of 224, sequences of 128, batch 1; --shape changes them."""
    options = {"inputs": "float[N, 3, H, W] x", "weights": {"w": weight(2, 3, 1, 1)}}
    found = work("y = Conv (x, w)", **options)
    assert found.ops[0].m == 224 * 224
    assert any("priced at [1, 3, 224, 224]" in note for note in found.notes)
    assert work("y = Conv (x, w)", {"x": (2, 3, 4, 5)}, **options).ops[0].m == 40


def test_shape_mistakes():
    """Names that are no inputs and shapes that contradict the model are refused."""
    options = {"weights": {"w": weight(2, 4, 1, 1)}}
    with pytest.raises(ConfigError, match="no such input"):
        work("y = Conv (x, w)", {"image": (1, 4, 9, 8)}, **options)
    with pytest.raises(ConfigError, match="the model declares"):
        work("y = Conv (x, w)", {"x": (1, 3, 9, 8)}, **options)


def test_unknown_shapes_name_the_layer():
    """A product whose operand has a shape that depends on data cannot be priced."""
    body = "n = NonZero (x)\nf = Cast <to = 1> (n)\ny = MatMul (f, z)"
    with pytest.raises(ModelError, match=r"layer 'MatMul_\d'.*--shape"):
        work(body, inputs="float[4, 4] x, float[K, 2] z", outputs="float[P, Q] y")


def test_vector_operators():
    """Passes over elements: one for Relu, window for pools, four for Softmax, input for reductions."""
    body = """
    a = Relu (x)
    b = MaxPool <kernel_shape = [3, 3], strides = [1, 1], pads = [1, 1, 1, 1]> (a)
    c = Softmax (b)
    d = GlobalAveragePool (c)
    y = Transpose <perm = [0, 2, 3, 1]> (d)
    """
    found = {op.op_type: op for op in work(body).ops}
    size = 4 * 9 * 8
    assert found["Relu"].vector_ops == size and found["Relu"].in_place
    assert found["MaxPool"].vector_ops == 9 * size and not found["MaxPool"].in_place
    assert found["Softmax"].vector_ops == 4 * size
    assert found["GlobalAveragePool"].vector_ops == size
    assert found["Transpose"].vector_ops == 4


@pytest.mark.parametrize("opset", [13, 14, 17])
def test_shapes_that_the_graph_computes(opset):
    """A Reshape back to the shape of another tensor, as behind a look-up on the codes of a QGemm."""
    body = """
    q = QuantizeLinear (x, s, z)
    g = com.microsoft.QGemm (q, s, z, w, s, i, b, s, z)
    k = Shape (g)
    f = Reshape (g, n)
    c = Cast <to = 6> (f)
    t = GatherElements (e, c)
    h = Reshape (t, k)
    d = DequantizeLinear (h, s, z)
    y = MatMul (d, v)
    """
    weights = {
        "s": np.float32(0.1),
        "z": np.uint8(3),
        "w": np.ones((16, 6), np.int8),
        "i": np.int8(0),
        "b": np.zeros(6, np.int32),
        "n": np.array([-1]),
        "e": np.arange(256, dtype=np.uint8),
        "v": weight(6, 5),
    }
    options = {"inputs": "float[N, 16] x", "outputs": "float[N, 5] y", "domains": ', "com.microsoft" : 1'}
    found = work(body, {"x": (4, 16)}, weights=weights, opset=opset, **options)
    assert list(products(found).values()) == [(1, 4, 16, 6), (1, 4, 6, 5)]


def test_views_and_reshapes_move_nothing():
    """Concat and Split are views; Reshape is another name of its input."""
    body = """
    a, b = Split <axis = 1> (x, s)
    c = Concat <axis = 1> (b, a)
    r = Reshape (c, t)
    y = Relu (r)
    """
    weights = {"s": np.array([2, 2]), "t": np.array([1, -1])}
    found = work(body, weights=weights, outputs="float[P, Q] y")
    assert [(op.op_type, op.view) for op in found.ops] == [
        ("Split", True), ("Split", True), ("Concat", True), ("Relu", False),
    ]  # fmt: skip
    assert found.ops[3].inputs == (found.ops[2].output,)


def test_quantizers_set_the_width():
    """A QDQ model: codes of activations and weights, whatever stands between them."""
    body = """
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    v = DequantizeLinear (w, s)
    p = Conv (d, v)
    o = QuantizeLinear (p, s, z)
    y = DequantizeLinear (o, s, z)
    """
    weights = {"s": np.float32(0.1), "z": np.uint8(3), "w": np.ones((6, 4, 1, 1), np.int8)}
    found = work(body, weights=weights)
    op = found.ops[0]
    assert (op.w_bits, op.a_bits, found.tensors[op.output].bits) == (8, 8, 8)
    assert len(found.ops) == 1


def test_float_models_are_32_bits_wide():
    """Nothing is taken to be quantized that is not."""
    found = work("y = Conv (x, w)", weights={"w": weight(6, 4, 1, 1)})
    assert (found.ops[0].w_bits, found.ops[0].a_bits) == (32, 32)
    assert found.tensors[found.ops[0].output].bits == 32


def test_embedding_moves_only_its_rows():
    """A look-up reads what it picks, not the table."""
    found = work(
        "y = Gather (t, i)",
        inputs="int64[N, S] i",
        outputs="float[N, S, Q] y",
        weights={"t": weight(1000, 8)},
    )
    assert found.tensors[found.ops[0].inputs[0]].elements == 128 * 8


def test_what_is_left_out_is_named():
    """Recurrent layers with their MACs, control flow, unknown operators."""
    body = "y, h, c = LSTM <hidden_size = 6> (x, w, r)"
    weights = {"w": weight(1, 24, 4), "r": weight(1, 24, 6)}
    found = work(body, inputs="float[7, 2, 4] x", outputs="float[7, 1, 2, 6] y", weights=weights)
    assert [(item.op_type, item.macs) for item in found.skipped] == [("LSTM", 7 * 2 * 24 * (4 + 6))]


def test_integer_operators():
    """MatMulInteger and QLinearConv count as products of 8 bits."""
    body = "y = MatMulInteger (x, w)"
    found = work(
        body,
        inputs="uint8[3, 8] x",
        outputs="int32[3, 5] y",
        weights={"w": np.ones((8, 5), np.int8)},
    )
    assert products(found) == {"MatMulInteger_0": (1, 3, 8, 5)}
    assert (found.ops[0].w_bits, found.ops[0].a_bits) == (8, 8)


def test_packed_weights_of_onnxruntime():
    """MatMulNBits: extents from its attributes, four bits from its packing."""
    rng = np.random.default_rng(0)
    body = "y = com.microsoft.MatMulNBits <K = 32, N = 6, bits = 4, block_size = 32> (x, w, s)"
    weights = {"w": rng.integers(0, 255, (6, 1, 16), dtype=np.uint8), "s": weight(6)}
    found = work(
        body,
        inputs="float[N, 5, 32] x",
        outputs="float[N, 5, 6] y",
        weights=weights,
        domains=', "com.microsoft" : 1',
    )
    assert list(products(found).values()) == [(1, 5, 32, 6)]
    assert found.ops[0].w_bits == 4


def test_reads_a_file(tmp_path):
    """The workload is called like the file."""
    from dybitq.graph.work.workload import read_workload

    path = tmp_path / "net.onnx"
    onnx.save(make_model("y = Relu (x)"), path)
    assert read_workload(path).name == "net"


def recoded(name):
    """A quantized Conv whose input codes go through a 256-entry table first, as the metadata say."""
    body = """
    q = QuantizeLinear (x, s, z)
    i = Cast <to = 7> (q)
    f = Reshape (i, flat)
    t = GatherElements (table, f)
    n = Shape (q)
    r = Reshape (t, n)
    d = DequantizeLinear (r, s, z)
    v = DequantizeLinear (w, s)
    y = Conv (d, v)
    """
    weights = {
        "s": np.float32(0.1),
        "z": np.uint8(0),
        "w": np.ones((6, 4, 1, 1), np.int8),
        "flat": np.array([-1]),
        "table": np.arange(256, dtype=np.uint8) // 16 * 16,
    }
    model = ir.from_proto(make_model(body, weights=weights))
    next(node for node in model.graph if node.op_type == "Conv").metadata_props["dybitq.recode"] = name
    return workload_of_model(model, name="m")


def test_pairs_happen_at_the_edge_of_the_array_too():
    """All that a window on pairs is made of: transpositions, partners, masks, the choice."""
    body = """
    q = QuantizeLinear (x, s, z)
    l = Transpose <perm = [0, 2, 3, 1]> (q)
    f = Reshape (l, flat)
    i = Cast <to = 6> (f)
    t = GatherElements (table, i)
    r = Reshape (l, rows)
    c = Transpose <perm = [1, 0]> (r)
    n = Gather <axis = 0> (c, partner)
    e = Equal (n, z)
    o = Or (e, lone)
    b = Transpose <perm = [1, 0]> (o)
    m = Reshape (b, flat)
    k = Where (m, f, t)
    h = Reshape (k, extents)
    u = Transpose <perm = [0, 3, 1, 2]> (h)
    d = DequantizeLinear (u, s, z)
    v = DequantizeLinear (w, s)
    y = Conv (d, v)
    """
    weights = {
        "s": np.float32(0.1),
        "z": np.uint8(0),
        "w": np.ones((6, 3, 1, 1), np.int8),
        "flat": np.array([-1]),
        "rows": np.array([-1, 3]),
        "extents": np.array([-1, 9, 8, 3]),
        "partner": np.array([1, 0, 2]),
        "lone": np.array([[False], [False], [True]]),
        "table": np.arange(256, dtype=np.uint8) // 16 * 16,
    }
    model = ir.from_proto(make_model(body, inputs="float[N, 3, 9, 8] x", weights=weights))
    next(node for node in model.graph if node.op_type == "Conv").metadata_props["dybitq.recode"] = (
        "sparq4-5opt"
    )
    found = workload_of_model(model, name="m")
    assert [op.op_type for op in found.ops] == ["Conv"]
    assert not found.skipped


@pytest.mark.parametrize(("name", "stored"), [("sparq4-5opt", 8), ("int4", 4), ("dybit4", 4)])
def test_recodings_happen_at_the_edge_of_the_array(name, stored):
    """They are no operators; a SPARQ window leaves 8 bits in memory, others are written narrow."""
    found = recoded(name)
    assert [op.op_type for op in found.ops] == ["Conv"]
    op = found.ops[0]
    assert (op.a_bits, op.a_family, op.a_windowed) == (4, widths(name).family, stored == 8)
    assert found.tensors[op.inputs[0]].bits == stored
