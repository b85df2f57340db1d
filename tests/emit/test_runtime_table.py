"""What stock onnxruntime makes of the patterns that emission writes: one small model a row.

The rows are independent of the emission code. A release of onnxruntime that breaks one shows here first; the
page docs/emitted-model.md says which rows emission leans on.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest

from tests.emit.toolkit import optimized, run, session
from tests.models import make_model

RNG = np.random.default_rng(3)
INT8 = RNG.integers(-64, 65, (6, 4, 3, 3)).astype(np.int8)
CODES4 = RNG.integers(0, 16, 216).astype(np.uint8)
TABLE4 = np.array([0, 1, 2, 3, 4, 6, 8, 16, 0, -1, -2, -3, -4, -6, -8, -16], np.int8)
PACKED = CODES4.reshape(-1, 2)[:, 0] | (CODES4.reshape(-1, 2)[:, 1] << 4)

COMMON: dict[str, np.ndarray] = {
    "s": np.float32(0.02),
    "z0": np.uint8(0),
    "z": np.uint8(128),
    "t": np.float32(0.1),
    "w": INT8,
    "ws": np.full(6, 0.01, np.float32),
    "wz": np.zeros(6, np.int8),
    "b": np.arange(6, dtype=np.int32),
    "bs": np.full(6, 0.01 * 0.02, np.float32),
    "bz": np.zeros(6, np.int32),
    "fw": (INT8 * 0.01).astype(np.float32),
    "fb": RNG.standard_normal(6).astype(np.float32),
    "m": RNG.integers(-64, 65, (8, 6)).astype(np.int8),
    "fm": RNG.standard_normal((8, 6)).astype(np.float32),
}
IN = "q = QuantizeLinear (x, s, z)\n d = DequantizeLinear (q, s, z)\n"
OUT = "p = QuantizeLinear (c, t, z)\n y = DequantizeLinear (p, t, z)\n"
WEIGHT = "v = DequantizeLinear <axis = 0> (w, ws)\n"
MATRIX = "v = DequantizeLinear <axis = 1> (m, ws, wz)\n"
IMAGE: dict[str, Any] = {}
ROWS_8: dict[str, Any] = {"inputs": "float[N, 5, 8] x", "outputs": "float[N, 5, 6] y"}
MATRIX_8: dict[str, Any] = {"inputs": "float[N, 8] x", "outputs": "float[N, 6] y"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One claim: the pattern, and how often operators occur in the graph that runs."""

    body: str
    runs: dict[str, int]
    options: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)


def pointwise(op: str, runs: dict[str, int], opset: int = 17) -> Row:
    """One elementwise operator between a convolution and a quantizer of its own."""
    body = IN + WEIGHT + "e = Conv (d, v)\n f = QuantizeLinear (e, s, z)\n g = DequantizeLinear (f, s, z)\n"
    return Row(body=f"{body} c = {op} (g)\n" + OUT, runs={"QLinearConv": 1, **runs}, options={"opset": opset})


def between(layout: str) -> str:
    """Two convolutions, and a table on the codes between them, in the given layout."""
    there, back = {
        "nchw": ("Identity (f)", "Identity (k)"),
        "nhwc": ("Transpose <perm = [0, 2, 3, 1]> (f)", "Transpose <perm = [0, 3, 1, 2]> (k)"),
    }[layout]
    return (
        IN
        + WEIGHT
        + f"e = Conv <pads = [1, 1, 1, 1]> (d, v)\n f = QuantizeLinear (e, s, z)\n l = {there}\n"
        + "n = Reshape (l, flat)\n i = Cast <to = 6> (n)\n j = GatherElements (table, i)\n"
        + f"k = Reshape (j, {layout})\n o = {back}\n g = DequantizeLinear (o, s, z)\n"
        + "u = DequantizeLinear (w2, t)\n c = Conv (g, u)\n"
        + OUT
    )


TABLE: dict[str, np.ndarray] = {
    "table": np.arange(256).astype(np.uint8)[::-1].copy(),
    "flat": np.array([-1]),
    "nchw": np.array([-1, 6, 9, 8]),
    "nhwc": np.array([-1, 9, 8, 6]),
    "w2": RNG.integers(-64, 65, (4, 6, 1, 1)).astype(np.int8),
}


ROWS: dict[str, Row] = {
    # ------------------------------------------------ weights
    "packed codes through a table are folded and fused": Row(
        body=IN
        + "i = Cast <to = 6> (packed)\n r = Gather (rows, i)\n w8 = Reshape (r, shape)\n"
        + "v = DequantizeLinear <axis = 0> (w8, ws)\n c = Conv (d, v)\n"
        + OUT,
        weights={
            "packed": PACKED,
            "rows": np.stack([np.tile(TABLE4, 16), np.repeat(TABLE4, 16)], axis=1),
            "shape": np.array([6, 4, 3, 3]),
        },
        runs={"QLinearConv": 1, "Gather": 0, "Cast": 0, "Reshape": 0, "DequantizeLinear": 1},
    ),
    "a model-local function is inlined and folded": Row(
        body=IN
        + "w8 = dybitq.Decode <shape = [6, 4, 3, 3]> (packed, rows)\n"
        + "v = DequantizeLinear <axis = 0> (w8, ws)\n c = Conv (d, v)\n"
        + OUT,
        weights={
            "packed": PACKED,
            "rows": np.stack([np.tile(TABLE4, 16), np.repeat(TABLE4, 16)], axis=1),
        },
        options={
            "domains": ', "dybitq" : 1',
            "functions": '<domain: "dybitq", opset_import: ["" : 17]>\n'
            "Decode <shape> (packed, rows) => (w8) {\n"
            "i = Cast <to = 6> (packed)\n r = Gather <axis = 0> (rows, i)\n"
            "n = Constant <value_ints : ints = @shape> ()\n w8 = Reshape (r, n)\n}",
        },
        runs={"QLinearConv": 1, "Gather": 0, "Decode": 0},
    ),
    "a matrix product of constants is folded": Row(
        body=IN
        + "o = Cast <to = 1> (bytes)\n a = MatMul (o, lift)\n k = Cast <to = 6> (a)\n"
        + "i = Mod (k, size)\n r = Gather (rows, i)\n w8 = Reshape (r, shape)\n"
        + "v = DequantizeLinear <axis = 0> (w8, ws)\n c = Conv (d, v)\n"
        + OUT,
        weights={
            "bytes": RNG.integers(0, 256, (27, 3)).astype(np.uint8),
            "lift": np.array([[1, 0], [256, 0.0625], [0, 16]], np.float32),
            "size": np.array(4096, np.int32),
            "rows": RNG.integers(-3, 4, (4096, 4)).astype(np.int8),
            "shape": np.array([6, 4, 3, 3]),
        },
        runs={"QLinearConv": 1, "MatMul": 0, "Mod": 0, "Gather": 0},
    ),
    "a 4-bit weight type straight into a Conv is decoded at every run": Row(
        body=IN + "v = DequantizeLinear <axis = 0> (w4, ws)\n c = Conv (d, v)\n" + OUT,
        options={"opset": 21, "ir_version": 10},
        runs={"QLinearConv": 0, "Conv": 1, "DequantizeLinear": 3},
    ),
    "the dequantizer of a weight is not folded outside a fused kernel": Row(
        body=WEIGHT + "y = Conv (x, v)",
        runs={"Conv": 1, "DequantizeLinear": 1},
    ),
    "Cast and Mul of a weight are folded to float": Row(
        body="i = Cast <to = 1> (m)\n v = Mul (i, ws)\n y = MatMul (x, v)",
        options=ROWS_8,
        runs={"MatMul": 1, "Cast": 0, "Mul": 0},
    ),
    "float weights between quantizers are rounded unasked": Row(
        body=IN + "c = Conv (d, fw, fb)\n" + OUT, runs={"QLinearConv": 1, "Conv": 0}
    ),
    "so are those of Gemm": Row(
        body=IN + "c = Gemm (d, fm, fb)\n" + OUT, options=MATRIX_8, runs={"QGemm": 1, "Gemm": 0}
    ),
    "not so behind a dequantizer with a scale for each channel": Row(
        body="q = QuantizeLinear (x, s, z)\n d = DequantizeLinear <axis = 1> (q, s4, z4)\n"
        "c = Conv (d, fw, fb)\n" + OUT,
        weights={"s4": np.full(4, 0.02, np.float32), "z4": np.full(4, 128, np.uint8)},
        runs={"QLinearConv": 0, "Conv": 1},
    ),
    "the same for Gemm": Row(
        body="q = QuantizeLinear (x, s, z)\n d = DequantizeLinear <axis = 1> (q, s8, z8)\n"
        "c = Gemm (d, fm, fb)\n" + OUT,
        weights={"s8": np.full(8, 0.02, np.float32), "z8": np.full(8, 128, np.uint8)},
        options=MATRIX_8,
        runs={"QGemm": 0, "Gemm": 1},
    ),
    # ------------------------------------------------ convolutions
    "Conv with an int32 bias": Row(
        body=IN + WEIGHT + "k = DequantizeLinear <axis = 0> (b, bs)\n c = Conv (d, v, k)\n" + OUT,
        runs={"QLinearConv": 1},
    ),
    "Conv with a bias scale that is a product of constants": Row(
        body=IN
        + WEIGHT
        + "l = Mul (s, ws)\n k = DequantizeLinear <axis = 0> (b, l)\n c = Conv (d, v, k)\n"
        + OUT,
        runs={"QLinearConv": 1, "Mul": 0},
    ),
    "Conv with a float bias": Row(
        body=IN + WEIGHT + "c = Conv (d, v, fb)\n" + OUT, runs={"QLinearConv": 1, "Conv": 0}
    ),
    "Conv whose output is not quantized": Row(
        body=IN + WEIGHT + "y = Conv (d, v)", runs={"QLinearConv": 0, "Conv": 1}
    ),
    "Conv with two quantizers on its output": Row(
        body=IN
        + WEIGHT
        + "c = Conv (d, v)\n"
        + OUT
        + "q2 = QuantizeLinear (c, s, z)\n y2 = DequantizeLinear (q2, s, z)",
        options={"outputs": "float[N, 6, 7, 6] y, float[N, 6, 7, 6] y2"},
        runs={"QLinearConv": 0, "Conv": 1},
    ),
    "Relu between Conv and a quantizer with zero point 0": Row(
        body=IN
        + WEIGHT
        + "r = Conv (d, v)\n c = Relu (r)\n p = QuantizeLinear (c, t, z0)\n y = DequantizeLinear (p, t, z0)",
        runs={"QLinearConv": 1, "Relu": 0},
    ),
    "Relu before a quantizer with zero point 128 breaks the fusion": Row(
        body=IN + WEIGHT + "r = Conv (d, v)\n c = Relu (r)\n" + OUT, runs={"QLinearConv": 0}
    ),
    "the cure: quantize, then clamp the codes": Row(
        body=IN
        + WEIGHT
        + "c = Conv (d, v)\n o = QuantizeLinear (c, t, z)\n p = Clip (o, low, high)\n"
        + "y = DequantizeLinear (p, t, z)",
        weights={"low": np.uint8(128), "high": np.uint8(200)},
        runs={"QLinearConv": 1, "Clip": 1},
    ),
    "ConvTranspose has no quantized kernel": Row(
        body=IN + "v = DequantizeLinear <axis = 1> (wt, ws)\n c = ConvTranspose (d, v)\n" + OUT,
        weights={"wt": RNG.integers(-64, 65, (4, 6, 2, 2)).astype(np.int8)},
        runs={"ConvTranspose": 1},
    ),
    "16-bit activations do not fuse": Row(
        body="q = QuantizeLinear (x, s, z16)\n d = DequantizeLinear (q, s, z16)\n"
        + WEIGHT
        + "c = Conv (d, v)\n p = QuantizeLinear (c, t, z16)\n y = DequantizeLinear (p, t, z16)",
        weights={"z16": np.uint16(32768)},
        options={"opset": 21, "ir_version": 10},
        runs={"QLinearConv": 0},
    ),
    # ------------------------------------------------ products
    "Gemm with zero points on its weights": Row(
        body=IN + MATRIX + "k = DequantizeLinear <axis = 0> (b, bs, bz)\n y = Gemm (d, v, k)",
        options=MATRIX_8,
        runs={"QGemm": 1},
    ),
    "Gemm needs them": Row(
        body=IN + "v = DequantizeLinear <axis = 1> (m, ws)\n y = Gemm (d, v)",
        options=MATRIX_8,
        runs={"QGemm": 0, "Gemm": 1},
    ),
    "Gemm with a transposed weight": Row(
        body=IN + "v = DequantizeLinear <axis = 0> (mt, ws, wz)\n c = Gemm <transB = 1> (d, v)\n" + OUT,
        weights={"mt": COMMON["m"].T.copy()},
        options=MATRIX_8,
        runs={"QGemm": 1},
    ),
    "MatMul with a float result": Row(
        body=IN + MATRIX + "y = MatMul (d, v)",
        options=ROWS_8,
        runs={"MatMulIntegerToFloat": 1, "DequantizeLinear": 0},
    ),
    "MatMul with a quantized result": Row(
        body=IN + MATRIX + "c = MatMul (d, v)\n" + OUT, options=ROWS_8, runs={"QLinearMatMul": 1}
    ),
    "MatMul, bias, quantizer: the product ends in float": Row(
        body=IN + MATRIX + "a = MatMul (d, v)\n c = Add (a, fb)\n" + OUT,
        options=ROWS_8,
        runs={"MatMulIntegerToFloat": 1, "QLinearMatMul": 0, "QLinearAdd": 0},
    ),
    "products of activations": Row(
        body=IN + "e = Transpose <perm = [0, 2, 1]> (d)\n f = QuantizeLinear (e, s, z)\n"
        "g = DequantizeLinear (f, s, z)\n y = MatMul (d, g)",
        options={"inputs": "float[N, 5, 8] x", "outputs": "float[N, 5, 5] y"},
        runs={"MatMulIntegerToFloat": 1},
    ),
    "ranges of the run, one reader": Row(
        body="q, a, o = DynamicQuantizeLinear (x)\n p = MatMulInteger (q, m, o)\n f = Cast <to = 1> (p)\n"
        "k = Mul (a, ws)\n c = Mul (f, k)\n y = Add (c, fb)",
        options=ROWS_8,
        runs={"DynamicQuantizeMatMul": 1, "Add": 0, "Cast": 0},
    ),
    "ranges of the run, two readers": Row(
        body="q, a, o = DynamicQuantizeLinear (x)\n"
        "p = MatMulInteger (q, m, o)\n f = Cast <to = 1> (p)\n k = Mul (a, ws)\n c = Mul (f, k)\n"
        "p2 = MatMulInteger (q, m2, o)\n f2 = Cast <to = 1> (p2)\n k2 = Mul (a, ws2)\n c2 = Mul (f2, k2)\n"
        "y = Sub (c, c2)",
        weights={"m2": -COMMON["m"] // 2, "ws2": np.full(6, 0.02, np.float32)},
        options=ROWS_8,
        runs={"DynamicQuantizeLinear": 1, "MatMulIntegerToFloat": 2},
    ),
    "not so if they share one product of scales": Row(
        body="q, a, o = DynamicQuantizeLinear (x)\n k = Mul (a, ws)\n"
        "p = MatMulInteger (q, m, o)\n f = Cast <to = 1> (p)\n c = Mul (f, k)\n"
        "p2 = MatMulInteger (q, m2, o)\n f2 = Cast <to = 1> (p2)\n c2 = Mul (f2, k)\n"
        "y = Sub (c, c2)",
        weights={"m2": -COMMON["m"] // 2},
        options=ROWS_8,
        runs={"MatMulIntegerToFloat": 0, "MatMulInteger": 2},
    ),
    "an embedding stays in codes": Row(
        body="g = Gather (e8, i)\n f = Cast <to = 1> (g)\n k = Gather (es, i)\n y = Mul (f, k)",
        weights={
            "e8": RNG.integers(-127, 128, (50, 6)).astype(np.int8),
            "es": np.full((50, 1), 0.01, np.float32),
        },
        options={"inputs": "int64[N, 3] i", "outputs": "float[N, 3, 6] y"},
        runs={"Gather": 2, "Cast": 1, "Mul": 1},
    ),
    # ------------------------------------------------ between layers
    "Add": Row(
        body=IN + "e = Transpose <perm = [0, 1, 3, 2]> (d)\n"
        "f = QuantizeLinear (e, s, z)\n g = DequantizeLinear (f, s, z)\n c = Add (d, g)\n" + OUT,
        options={"inputs": "float[N, 4, 8, 8] x", "outputs": "float[N, 4, 8, 8] y"},
        runs={"QLinearAdd": 1},
    ),
    "Mul by a quantized constant": Row(
        body=IN + "k = DequantizeLinear (k8, s, z)\n c = Mul (d, k)\n" + OUT,
        weights={"k8": RNG.integers(0, 256, (1, 4, 1, 1)).astype(np.uint8)},
        options={"outputs": "float[N, 4, 9, 8] y"},
        runs={"QLinearMul": 1},
    ),
    "Concat": Row(
        body=IN + "q2 = QuantizeLinear (x, t, z)\n d2 = DequantizeLinear (q2, t, z)\n"
        "c = Concat <axis = 1> (d, d2)\n" + OUT,
        runs={"QLinearConcat": 1},
    ),
    "AveragePool": pointwise("AveragePool <kernel_shape = [2, 2]>", {"QLinearAveragePool": 1}),
    "GlobalAveragePool": pointwise("GlobalAveragePool", {"QLinearGlobalAveragePool": 1}),
    "Sigmoid": pointwise("Sigmoid", {"QLinearSigmoid": 1}),
    "LeakyRelu": pointwise("LeakyRelu", {"QLinearLeakyRelu": 1}),
    "Softmax": pointwise("Softmax", {"QLinearSoftmax": 1}),
    **{
        f"{op} has no quantized kernel": pointwise(op, {op: 1}, opset=20)
        for op in ("Tanh", "HardSigmoid", "Elu", "Gelu")
    },
    "HardSwish is taken apart, and stays in float": pointwise("HardSwish", {"HardSigmoid": 1}, opset=20),
    "a table on codes, looked up by GatherElements": Row(
        body=IN
        + WEIGHT
        + "e = Conv (d, v)\n f = QuantizeLinear (e, s, z)\n n = Reshape (f, flat)\n"
        + "i = Cast <to = 6> (n)\n j = GatherElements (table, i)\n k = Shape (f)\n p = Reshape (j, k)\n"
        + "y = DequantizeLinear (p, t, z)",
        weights={"table": np.arange(256).astype(np.uint8)[::-1].copy(), "flat": np.array([-1])},
        runs={"QLinearConv": 1, "GatherElements": 1},
    ),
    "a table between convolutions makes them transpose there and back": Row(
        body=between("nchw"),
        weights=TABLE,
        runs={"QLinearConv": 2, "GatherElements": 1, "Transpose": 4},
    ),
    "transpositions around the table cancel these": Row(
        body=between("nhwc"),
        weights=TABLE,
        runs={"QLinearConv": 2, "GatherElements": 1, "Transpose": 2},
    ),
}


def proto_of(row: Row) -> bytes:
    """The model of a row."""
    proto = make_model(row.body, weights={**COMMON, **row.weights}, **row.options)
    if "w4" in row.body:
        int4 = onnx.helper.make_tensor("w4", onnx.TensorProto.INT4, INT8.shape, (INT8 // 16).reshape(-1))
        proto.graph.initializer.append(int4)
    used = {name for node in proto.graph.node for name in node.input}
    kept = [initializer for initializer in proto.graph.initializer if initializer.name in used]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    return proto.SerializeToString()


@pytest.mark.parametrize("name", ROWS)
def test_row(name):
    """The pattern becomes the kernels that the row says."""
    ops = [node.op_type for node in optimized(proto_of(ROWS[name])).graph.node]
    assert {op: ops.count(op) for op in ROWS[name].runs} == ROWS[name].runs, ops


ON_CODES = {
    "MaxPool": "y = MaxPool <kernel_shape = [2, 2]> (q)",
    "MaxPool along one axis": "r = Reshape (q, line)\n y = MaxPool <kernel_shape = [2]> (r)",
    "Reshape": "y = Reshape (q, line)",
    "Flatten": "y = Flatten (q)",
    "Transpose": "y = Transpose <perm = [0, 2, 3, 1]> (q)",
    "Slice": "y = Slice (q, one, two, one)",
    "Pad": "y = Pad (q, pads, z)",
    "Pad by reflection": 'y = Pad <mode = "reflect"> (q, pads)',
    "Resize": 'y = Resize <mode = "nearest"> (q, , factors)',
    "DepthToSpace": "y = DepthToSpace <blocksize = 2> (q)",
    "SpaceToDepth": "y = SpaceToDepth <blocksize = 2> (q)",
    "Split": "y, k = Split <axis = 1> (q)",
    "Clip": "y = Clip (q, low, high)",
    "Tile": "y = Tile (q, times)",
    "Expand": "y = Expand (q, times)",
    "Gather": "y = Gather <axis = 1> (q, one)",
    "Unsqueeze and Squeeze": "u = Unsqueeze (q, one)\n y = Squeeze (u, one)",
}


@pytest.mark.parametrize("opset", [13, 17, 21])
@pytest.mark.parametrize("name", ON_CODES)
def test_moves_run_on_codes(name, opset):
    """Operators that move or compare values take uint8 and give what they give on the dequantized values."""
    body = ON_CODES[name]
    if name == "Split" and opset >= 18:
        body = body.replace("axis = 1", "axis = 1, num_outputs = 2")
    weights = {
        "line": np.array([0, 4, -1]),
        "one": np.array([1]),
        "two": np.array([3]),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "z": np.uint8(7),
        "zf": np.float32(7),
        "factors": np.array([1, 1, 2, 2], np.float32),
        "low": np.uint8(9),
        "high": np.uint8(200),
        "lowf": np.float32(9),
        "highf": np.float32(200),
        "times": np.array([2, 1, 1, 1]),
    }
    ir_version = 10 if opset > 18 else 8
    options = {"opset": opset, "ir_version": ir_version, "weights": weights}
    codes = np.random.default_rng(5).integers(0, 256, (1, 4, 8, 8)).astype(np.uint8)
    on_codes = make_model(body, inputs="uint8[1, 4, 8, 8] q", outputs="uint8[A, B, C, D] y", **options)
    floats = body
    for old, new in (("(q, pads, z)", "(q, pads, zf)"), ("(q, low, high)", "(q, lowf, highf)")):
        floats = floats.replace(old, new)
    on_floats = make_model(floats, inputs="float[1, 4, 8, 8] q", outputs="float[A, B, C, D] y", **options)
    for proto in (on_codes, on_floats):
        proto.graph.output[0].type.tensor_type.ClearField("shape")
    found = run(on_codes.SerializeToString(), {"q": codes})["y"]
    wanted = run(on_floats.SerializeToString(), {"q": codes.astype(np.float32)})["y"]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, wanted)


def test_unasked_rounding_has_one_scale_for_all_channels():
    """The reason to prevent it: a channel of small weights is lost beside one of large weights."""
    weights = np.random.default_rng(4).standard_normal((2, 4, 3, 3)).astype(np.float32)
    weights[0] *= 1e-3
    body = IN + "c = Conv (d, u)\n p = QuantizeLinear (c, k, z)\n y = DequantizeLinear (p, k, z)"
    proto = make_model(body, weights={**COMMON, "u": weights, "k": np.float32(1e-4)})
    x = np.random.default_rng(4).standard_normal((2, 4, 9, 8)).astype(np.float32)
    model = proto.SerializeToString()
    asked, found = run(model, {"x": x}, optimize=False)["y"][:, 0], run(model, {"x": x})["y"][:, 0]
    assert np.abs(found - asked).max() > 10 * np.float32(1e-4)


def test_requantizing_through_floats_is_collapsed():
    """Q-DQ-Q-DQ with a coarser second scale does not round twice: requantization belongs on the codes."""
    body = IN + "q2 = QuantizeLinear (d, t, z)\n y = DequantizeLinear (q2, t, z)"
    proto = make_model(body, outputs="float[N, 4, 9, 8] y", weights=COMMON)
    x = np.random.default_rng(6).standard_normal((2, 4, 9, 8)).astype(np.float32)
    model = proto.SerializeToString()
    exact, found = run(model, {"x": x}, optimize=False)["y"], run(model, {"x": x})["y"]
    assert (exact != found).any()


def test_four_bit_activations_are_refused():
    """uint4 into a fused convolution fails when the session is created."""
    body = (
        "q = QuantizeLinear (x, s, z4)\n d = DequantizeLinear (q, s, z4)\n"
        + WEIGHT
        + "c = Conv (d, v)\n p = QuantizeLinear (c, t, z4)\n y = DequantizeLinear (p, t, z4)"
    )
    proto = make_model(body, opset=21, ir_version=10, weights=COMMON)
    zero = onnx.helper.make_tensor("z4", onnx.TensorProto.UINT4, (), [8])
    proto.graph.initializer.append(zero)
    with pytest.raises(Exception, match=r"(?i)uint4|type"):
        session(proto.SerializeToString())
