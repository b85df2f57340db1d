"""Re-codings in the emitted graph against the tables they stand for, bit by bit."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dybitq.emit.emit import emit
from dybitq.encodings import formats, sparq
from dybitq.graph.export import to_bytes
from dybitq.records.fitted import FittedEdge, FittedWeight
from dybitq.records.plan import Plan
from tests.emit.toolkit import Made, make, run
from tests.models import make_model

RNG = np.random.default_rng(0)
KEY = "dybitq.recode"
X = [27, 0, 155, 33, 0, 200, 124, 75, 7]
W = [5, -3, -17, 40, 9, -2, 12, -31, 100]
DOT_PRODUCTS = {  # rounded and truncated with pairing: golden vectors of the SPARQ kernel's definition
    "sparq4-5opt": -1797,
    "sparq4-5opt-raw": -1525,
    "sparq4-3opt": -1949,
    "sparq4-3opt-raw": -1373,
    "sparq4-2opt": -1949,
    "sparq4-2opt-raw": -1373,
    "sparq3-6opt": -2141,
    "sparq3-6opt-raw": -1101,
    "sparq2-7opt": -1272,
    "sparq2-7opt-raw": -1282,
}
SHAPES = {  # body, shape of the input, shape of the weight
    "conv": ("y = Conv <pads = [1, 1, 1, 1]> (x, w)", (2, 6, 5, 4), (3, 6, 3, 3)),
    "odd channels": ("y = Conv (x, w)", (2, 5, 5, 4), (3, 5, 3, 3)),
    "grouped": ("y = Conv <group = 2> (x, w)", (2, 8, 5, 4), (4, 4, 1, 1)),
    "grouped, odd": ("y = Conv <group = 3> (x, w)", (1, 9, 5, 4), (3, 3, 2, 2)),
    "depthwise": ("y = Conv <group = 4> (x, w)", (2, 4, 5, 4), (4, 1, 3, 3)),
    "one axis": ("y = Conv (x, w)", (2, 7, 9), (3, 7, 3)),
    "gemm": ("y = Gemm (x, w)", (6, 8), (8, 5)),
    "gemm, transposed, odd": ("y = Gemm <transB = 1> (x, w)", (6, 9), (5, 9)),
    "matmul": ("y = MatMul (x, w)", (2, 6, 10), (10, 5)),
    "matmul, odd": ("y = MatMul (x, w)", (2, 6, 7), (7, 5)),
}


def signed_or_not(shape: tuple[int, ...], *, signed: bool) -> np.ndarray:
    """Values of which about half are exactly zero."""
    x = RNG.standard_normal(shape).astype(np.float32)
    x = np.where(RNG.random(shape) < 0.4, 0, x).astype(np.float32)
    return x if signed else np.abs(x)


def made_of(tmp_path, name: str, activations: str, *, signed: bool = False, **settings: str) -> Made:
    """A one-layer network of the given kind, fed half zeros."""
    body, shape, weight = SHAPES[name]
    proto = make_model(
        body,
        inputs=f"float[{', '.join(map(str, shape))}] x",
        outputs=f"float[{', '.join('abcd'[: len(shape)])}] y",
        weights={"w": RNG.standard_normal(weight).astype(np.float32)},
    )
    batches = [{"x": signed_or_not(shape, signed=signed)} for _ in range(2)]
    return make(proto, tmp_path, batches=batches, activations=activations, **settings)


def codes_of(x: np.ndarray, edge: FittedEdge) -> np.ndarray:
    """The 8-bit codes of a tensor, as QuantizeLinear makes them."""
    codes = np.rint(x / np.float32(edge.scale)) + edge.zero_point
    return np.clip(codes, edge.low, edge.high).astype(np.uint8)


def recoded(model: bytes, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Codes behind the re-coding of every layer that has one, in graph order."""
    proto = onnx.load_model_from_string(model)
    producer = {output: node for node in proto.graph.node for output in node.output}
    names = []
    for node in proto.graph.node:
        if any(entry.key == KEY for entry in node.metadata_props):
            real = producer[node.input[0]]
            assert real.op_type == "DequantizeLinear"
            names.append(real.input[0])
    for name in names:
        proto.graph.output.append(helper.make_tensor_value_info(name, TensorProto.UINT8, None))
    found = run(proto.SerializeToString(), feeds, optimize=False)
    return [found[name] for name in names]


@pytest.mark.parametrize(
    "activations", ["sparq4-5opt", "sparq3-6opt", "sparq2-7opt-raw", "sparq4-2opt-nopair"]
)
@pytest.mark.parametrize("name", SHAPES)
def test_sparq_is_the_table(tmp_path, name, activations):
    """On random codes the emitted operators give exactly what the definition gives, for every layout."""
    made = made_of(tmp_path, name, activations)
    (layer,) = made.layers.values()
    edge = made.fitted.edges["x"]
    assert edge.zero_point == 0
    axis, count, groups = layer.geometry.pair_axis
    assert made.feeds["x"].shape[axis] == count
    codes = codes_of(made.feeds["x"], edge)
    expected = sparq.apply_pairs(codes, sparq.get(activations), axis, groups)
    if name == "depthwise" and activations == "sparq4-5opt":  # no channel has a partner: all bits stay
        np.testing.assert_array_equal(expected, codes)
        assert made.plan.layers[0].recode == "none" and not recoded(made.model, made.feeds)
        return
    (found,) = recoded(made.model, made.feeds)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["conv", "odd channels", "gemm", "matmul, odd"])
def test_sparq_on_signed_codes(tmp_path, name):
    """Around another zero point the window is of the magnitude, and the zero test is on that point."""
    made = made_of(tmp_path, name, "sparq4-5opt", signed=True)
    (layer,) = made.layers.values()
    edge = made.fitted.edges["x"]
    assert 0 < edge.zero_point < 255
    axis, _, groups = layer.geometry.pair_axis
    expected = sparq.apply_pairs(
        codes_of(made.feeds["x"], edge), sparq.get("sparq4-5opt", edge.zero_point), axis, groups
    )
    (found,) = recoded(made.model, made.feeds)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["conv", "grouped, odd", "depthwise", "gemm", "matmul"])
@pytest.mark.parametrize("activations", ["sparq4-5opt", "dybit4", "int4"])
def test_the_layer_multiplies_the_recoded_codes(tmp_path, name, activations):
    """The output is the product of the re-coded codes and the weight codes, within one output step."""
    made = made_of(tmp_path, name, activations, bias_correction=False)
    (layer,) = made.layers.values()
    edge = made.fitted.edges["x"]
    recoding = made.fitted.recodings.get(layer.name)
    codes = codes_of(made.feeds["x"], edge)
    if recoding is not None:
        axis, _, groups = layer.geometry.pair_axis
        codes = sparq.apply_pairs(codes, recoding, axis, groups)
    real = ((codes.astype(np.float32) - edge.zero_point) * np.float32(edge.scale)).astype(np.float32)
    fitted = made.fitted.weights[layer.name]
    shape = [1] * fitted.codes.ndim
    shape[fitted.axis] = -1
    weight = (fitted.format.table[fitted.codes] * fitted.scale.reshape(shape)).astype(np.float32)
    proto = onnx.load_model_from_string(to_bytes(made.network.model))
    for tensor in proto.graph.initializer:
        if tensor.name == layer.weight:
            tensor.CopyFrom(onnx.numpy_helper.from_array(weight, tensor.name))
    expected = run(proto.SerializeToString(), {"x": real}, optimize=False)["y"]
    found = run(made.model, made.feeds)["y"]
    output = made.fitted.edges.get("y")
    step = 1e-5 * np.abs(expected).max() if output is None else output.scale
    if output is not None:
        ends = [(code - output.zero_point) * output.scale for code in (output.low, output.high)]
        expected = np.clip(expected, *ends)
    np.testing.assert_allclose(found, expected, atol=1.01 * step)


@pytest.mark.parametrize("activations", DOT_PRODUCTS)
@pytest.mark.parametrize("name", ["gemm", "matmul", "conv"])
def test_golden_dot_products(tmp_path, name, activations):
    """The published example through onnxruntime: nine activations, nine weights, one integer."""
    body, shape, weight = {
        "gemm": ("y = Gemm (x, w)", (1, 9), (9, 1)),
        "matmul": ("y = MatMul (x, w)", (1, 9), (9, 1)),
        "conv": ("y = Conv (x, w)", (1, 9, 1, 1), (1, 9, 1, 1)),
    }[name]
    extents = ", ".join(map(str, shape))
    proto = make_model(
        body,
        inputs=f"float[{extents}] x",
        outputs=f"float[{', '.join('abcd'[: len(shape)])}] y",
        weights={"w": np.array(W, np.float32).reshape(weight)},
    )
    feeds = {"x": np.array(X, np.float32).reshape(shape)}
    made = make(proto, tmp_path, batches=[feeds], activations=activations, bias_correction=False)
    (layer,) = made.layers.values()
    old = made.fitted.weights[layer.name]
    fmt = formats.get("int8")
    codes = np.array([int(np.flatnonzero(fmt.table == w)[0]) for w in W], np.uint8).reshape(weight)
    exact = FittedWeight(
        format=fmt, codes=codes, scale=np.ones_like(old.scale), axis=old.axis, bias=None, error=0.0
    )
    edges = {
        name: replace(e, scale=1.0, zero_point=0, low=0, high=255) for name, e in made.fitted.edges.items()
    }
    if "y" in edges:  # a product of either sign, in steps of 16
        edges["y"] = replace(edges["y"], scale=16.0, zero_point=200)
    fitted = replace(made.fitted, weights={layer.name: exact}, edges=edges)
    model = to_bytes(emit(made.network, made.layers, made.plan, fitted))
    expected = DOT_PRODUCTS[activations]
    for optimize in (False, True):
        found = float(run(model, feeds, optimize=optimize)["y"].item())
        assert found == (16 * round(expected / 16) if "y" in edges else expected)


def test_layers_that_recode_alike_share_it(tmp_path):
    """Two convolutions of one tensor look their codes up once; one with other groups has its own pairs."""
    weights = {
        "v": RNG.standard_normal((4, 6, 1, 1)).astype(np.float32),
        "w": RNG.standard_normal((4, 6, 1, 1)).astype(np.float32),
        "u": RNG.standard_normal((4, 3, 1, 1)).astype(np.float32),
    }
    proto = make_model(
        "a = Conv (x, v)\n b = Conv (x, w)\n c = Conv <group = 2> (x, u)",
        inputs="float[2, 6, 5, 4] x",
        outputs="float[2, 4, 5, 4] a, float[2, 4, 5, 4] b, float[2, 4, 5, 4] c",
        weights=weights,
    )
    feeds = {"x": signed_or_not((2, 6, 5, 4), signed=False)}
    made = make(proto, tmp_path, batches=[feeds], activations="sparq4-5opt")
    ops = [n.op_type for n in onnx.load_model_from_string(made.model).graph.node]
    assert ops.count("GatherElements") == 2
    one, other, grouped = recoded(made.model, feeds)
    np.testing.assert_array_equal(one, other)
    codes = codes_of(feeds["x"], made.fitted.edges["x"])
    np.testing.assert_array_equal(grouped, sparq.apply_pairs(codes, sparq.get("sparq4-5opt"), 1, 2))


def test_pairs_of_a_convolution_are_not_those_of_a_product(tmp_path):
    """A Conv and a MatMul that read one tensor pair along different axes."""
    proto = make_model(
        "a = Conv (x, w)\n b = MatMul (x, v)",
        inputs="float[2, 6, 5, 4] x",
        outputs="float[2, 3, 5, 4] a, float[2, 6, 5, 2] b",
        weights={
            "w": RNG.standard_normal((3, 6, 1, 1)).astype(np.float32),
            "v": RNG.standard_normal((4, 2)).astype(np.float32),
        },
    )
    feeds = {"x": signed_or_not((2, 6, 5, 4), signed=False)}
    made = make(proto, tmp_path, batches=[feeds], activations="sparq4-2opt")
    codes = codes_of(feeds["x"], made.fitted.edges["x"])
    for found, axis in zip(recoded(made.model, feeds), (1, -1), strict=True):
        np.testing.assert_array_equal(found, sparq.apply_pairs(codes, sparq.get("sparq4-2opt"), axis))


# --------------------------------------------------------------------------- narrow codes and tables

CHAIN = "a = Conv (x, w)\n b = Relu (a)\n y = Conv (b, v)"


def chain(
    tmp_path, activations: str, body: str = CHAIN, outputs: str = "float[2, 3, 3, 2] y", **settings: str
):
    """Two convolutions with a Relu between them."""
    proto = make_model(
        body,
        inputs="float[2, 6, 5, 4] x",
        outputs=outputs,
        weights={
            "w": RNG.standard_normal((8, 6, 3, 3)).astype(np.float32),
            "v": RNG.standard_normal((3, 8, 1, 1)).astype(np.float32),
        },
    )
    feeds = {"x": signed_or_not((2, 6, 5, 4), signed=True)}
    return make(proto, tmp_path, batches=[feeds], activations=activations, **settings)


def formats_of(plan: Plan) -> dict[str, str]:
    """Format of every coded tensor."""
    return {edge.tensor: edge.format for edge in plan.edges}


@pytest.mark.parametrize("bits", [4, 5, 6, 7])
def test_uniform_widths_narrow_the_edge(tmp_path, bits):
    """All readers want intN: the tensor's own codes are 0 .. 2**N - 1, by one Clip, and no table is read."""
    made = chain(tmp_path, f"int{bits}")
    assert formats_of(made.plan)["b"] == f"int{bits}" and formats_of(made.plan)["x"] == f"int{bits}"
    assert [p.recode for p in made.plan.layers] == ["none", "none"]
    top = 2**bits - 1
    for name in ("x", "b"):
        edge = made.fitted.edges[name]
        assert edge.low >= 0 and edge.high == top and 0 <= edge.zero_point <= top
    assert made.fitted.edges["b"].zero_point == 0 and made.fitted.edges["x"].zero_point > 0
    proto = onnx.load_model_from_string(made.model)
    ops = [node.op_type for node in proto.graph.node]
    assert ops.count("Clip") == 2 and "GatherElements" not in ops
    clips = [node.output[0] for node in proto.graph.node if node.op_type == "Clip"]
    for name in clips:
        proto.graph.output.append(helper.make_tensor_value_info(name, TensorProto.UINT8, None))
    found = run(proto.SerializeToString(), made.feeds, optimize=False)
    for name in clips:
        assert found[name].max() <= top and len(np.unique(found[name])) <= 2**bits


def test_readers_that_differ_get_tables(tmp_path):
    """A tensor that is also added up keeps 8 bits; the layer that wants 4 reads it through a table."""
    made = chain(
        tmp_path,
        "int4",
        body="a = Conv (x, w)\n b = Relu (a)\n y = Conv (b, v)\n z = Add (b, b)",
        outputs="float[2, 3, 3, 2] y, float[2, 8, 3, 2] z",
    )
    assert formats_of(made.plan)["b"] == "int8"
    assert made.plan.layers[1].recode == "int4"
    found = recoded(made.model, made.feeds)[-1]
    assert len(np.unique(found)) <= 16


@pytest.mark.parametrize("activations", ["dybit4", "pot4", "int4", "sparq4-5opt"])
def test_the_optimised_graph_computes_the_same(tmp_path, activations):
    """What onnxruntime makes of a re-coded model at its defaults is, bit for bit, what the operators say."""
    made = chain(tmp_path, activations)
    plain, fast = (run(made.model, made.feeds, optimize=o)["y"] for o in (False, True))
    step = made.fitted.edges["y"].scale
    assert np.abs(plain - fast).max() <= 1.01 * step
    assert (plain != fast).mean() < 0.02


def test_constant_operands_follow_power_of_two_scales(tmp_path):
    """The constant of an addition on codes has a power-of-two scale where all activations have one."""
    proto = make_model(
        "a = Conv (x, w)\n b = Relu (a)\n c = Add (b, k)\n d = Relu (c)\n y = Conv (d, v)",
        inputs="float[2, 6, 5, 4] x",
        outputs="float[2, 3, 3, 2] y",
        weights={
            "w": RNG.standard_normal((8, 6, 3, 3)).astype(np.float32),
            "k": RNG.standard_normal((1, 8, 1, 1)).astype(np.float32),
            "v": RNG.standard_normal((3, 8, 1, 1)).astype(np.float32),
        },
    )
    feeds = {"x": signed_or_not((2, 6, 5, 4), signed=True)}
    for settings, every in (({"scale": "pow2", "range": "pow2"}, True), ({}, False)):
        made = make(proto, tmp_path, batches=[feeds], **settings)
        graph = onnx.load_model_from_string(made.model).graph
        arrays = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        stored = [n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in arrays]
        constants = [float(arrays[n.input[1]]) for n in stored if arrays[n.input[0]].dtype == np.uint8]
        assert constants
        assert all(np.frexp(scale)[0] == 0.5 for scale in constants) is every
