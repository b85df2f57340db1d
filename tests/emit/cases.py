"""Small models, one for every way in which an operator can meet quantized neighbours.

Each entry: the body in ONNX text, what else :func:`tests.graph.conftest.make_model` takes, and the operators
that onnxruntime has to run (with their number) when the model is quantized statically to int8 codes.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Case:
    """One small model."""

    body: str
    options: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)


def array(*shape: int, seed: int = 0) -> np.ndarray:
    """Random float32 weights with about unit gain."""
    rng = np.random.default_rng(sum(shape) + seed)
    return (rng.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))).astype(np.float32)


def scalar(value: float) -> np.ndarray:
    """A float32 scalar."""
    return np.array(value, np.float32)


W, W1, W3 = array(6, 4, 3, 3), array(5, 6, 1, 1), array(5, 6, 3, 3)
SAME = array(4, 4, 3, 3)

CASES: dict[str, Case] = {
    "conv": Case(
        body="y = Conv <pads = [1, 1, 1, 1]> (x, w, b)",
        options={"weights": {"w": W, "b": array(6)}},
        runs={"QLinearConv": 1},
    ),
    "relu_absorbed": Case(
        body="c = Conv (x, w, b)\n r = Relu (c)\n y = Conv (r, v)",
        options={"weights": {"w": W, "b": array(6), "v": W3}},
        runs={"QLinearConv": 2, "Relu": 0, "Clip": 0},
    ),
    "relu6_absorbed": Case(
        body="c = Conv (x, w)\n r = Clip (c, low, high)\n y = Conv (r, v)",
        options={"weights": {"w": 4 * W, "v": W1, "low": scalar(0), "high": scalar(6)}},
        runs={"QLinearConv": 2},
    ),
    "clip_without_low": Case(
        body="c = Conv (x, w)\n r = Clip (c, , high)\n y = Conv (r, v)",
        options={"weights": {"w": W, "v": W1, "high": scalar(0.5)}},
        runs={"QLinearConv": 2},
    ),
    "two_clamps": Case(
        body="c = Conv (x, w)\n r = Relu (c)\n k = Clip (r, low, high)\n y = Conv (k, v)",
        options={"weights": {"w": W, "v": W1, "low": scalar(0), "high": scalar(0.7)}},
        runs={"QLinearConv": 2},
    ),
    "clamp_beside_another_reader": Case(
        body="c = Conv (x, w)\n r = Relu (c)\n k = Sigmoid (c)\n a = Add (r, k)\n y = Conv (a, v)",
        options={"weights": {"w": W, "v": W1}},
        runs={"QLinearConv": 2, "QLinearSigmoid": 1, "QLinearAdd": 1, "Clip": 1},
    ),
    "clamp_on_an_input": Case(
        body="r = Relu (x)\n y = Conv (r, w)",
        options={"weights": {"w": W}},
        runs={"QLinearConv": 1, "Clip": 1},
    ),
    "depthwise": Case(
        body="c = Conv <pads = [1, 1, 1, 1], group = 4> (x, w)\n y = Conv (c, v)",
        options={"weights": {"w": array(4, 1, 3, 3), "v": array(5, 4, 1, 1)}},
        runs={"QLinearConv": 2},
    ),
    "grouped_dilated_asymmetric": Case(
        body="y = Conv <group = 2, strides = [2, 1], dilations = [1, 2], pads = [1, 0, 2, 3]> (x, w)",
        options={"weights": {"w": array(6, 2, 3, 2)}},
        runs={"QLinearConv": 1},
    ),
    "conv_1d": Case(
        body="c = Conv <pads = [1, 1]> (x, w)\n r = Relu (c)\n y = Conv (r, v)",
        options={
            "inputs": "float[N, 4, 10] x",
            "outputs": "float[N, 3, P] y",
            "weights": {"w": array(6, 4, 3), "v": array(3, 6, 3)},
        },
        runs={"QLinearConv": 2},
    ),
    "conv_3d": Case(
        body="c = Conv (x, w)\n r = Relu (c)\n y = Conv (r, v)",
        options={
            "inputs": "float[N, 2, 5, 6, 7] x",
            "outputs": "float[N, 3, P, Q, R] y",
            "weights": {"w": array(4, 2, 3, 3, 3), "v": array(3, 4, 1, 1, 1)},
        },
        runs={"QLinearConv": 2},
    ),
    "conv_transpose_first": Case(
        body="c = ConvTranspose <strides = [2, 2]> (x, w, b)\n r = Relu (c)\n y = Conv (r, v)",
        options={"weights": {"w": array(4, 6, 2, 2), "b": array(6), "v": W3}},
        runs={"ConvTranspose": 1, "QLinearConv": 1},
    ),
    "conv_transpose_between": Case(
        body="c = Conv (x, v)\n t = ConvTranspose <strides = [2, 2], group = 2> (c, w, b)\n y = Conv (t, u)",
        options={
            "weights": {"v": SAME, "w": array(4, 3, 2, 2), "b": array(6), "u": W1},
        },
        runs={"ConvTranspose": 1, "QLinearConv": 2},
    ),
    "gemm": Case(
        body="f = Flatten (x)\n h = Gemm <transB = 1> (f, w, b)\n r = Relu (h)\n y = Gemm (r, v, c)",
        options={
            "outputs": "float[N, 5] y",
            "weights": {"w": array(16, 288), "b": array(16), "v": array(16, 5), "c": array(5)},
        },
        runs={"QGemm": 2},
    ),
    "matmul": Case(
        body="h = MatMul (x, w)\n a = Add (h, b)\n r = Relu (a)\n y = MatMul (r, v)",
        options={
            "inputs": "float[N, S, 6] x",
            "outputs": "float[N, S, 5] y",
            "weights": {"w": array(6, 16), "b": array(16), "v": array(16, 5)},
        },
        runs={"MatMulIntegerToFloat": 2, "QLinearMatMul": 0},
    ),
    "matmul_weight_on_the_left": Case(
        body="h = MatMul (w, x)\n y = MatMul (v, h)",
        options={
            "inputs": "float[N, 6, S] x",
            "outputs": "float[N, 5, S] y",
            "weights": {"w": array(16, 6), "v": array(5, 16)},
        },
        runs={"MatMul": 2},
    ),
    "matmul_batched_weight": Case(
        body="y = MatMul (x, w)",
        options={
            "inputs": "float[N, 3, S, 6] x",
            "outputs": "float[N, 3, S, 5] y",
            "weights": {"w": array(3, 6, 5)},
        },
        runs={"MatMul": 1},
    ),
    "attention": Case(
        body="""
          q = MatMul (x, w)
          k = MatMul (x, v)
          t = Transpose <perm = [0, 2, 1]> (k)
          s = MatMul (q, t)
          p = Softmax <axis = -1> (s)
          u = MatMul (x, o)
          y = MatMul (p, u)
        """,
        options={
            "inputs": "float[N, S, 6] x",
            "outputs": "float[N, S, 6] y",
            "weights": {"w": array(6, 6), "v": array(6, 6, seed=1), "o": array(6, 6, seed=2)},
        },
        runs={"Softmax": 1, "MatMul": 0},
    ),
    "embedding": Case(
        body="e = Gather (t, i)\n y = MatMul (e, w)",
        options={
            "inputs": "int64[N, S] i",
            "outputs": "float[N, S, 5] y",
            "weights": {"t": array(20, 8), "w": array(8, 5)},
        },
        runs={"Gather": 2, "MatMulIntegerToFloat": 1},
    ),
    "residual": Case(
        body="""
          c = Conv <pads = [1, 1, 1, 1]> (x, w)
          r = Relu (c)
          d = Conv <pads = [1, 1, 1, 1]> (r, v)
          a = Add (d, x)
          e = Relu (a)
          y = Conv (e, v)
        """,
        options={"weights": {"w": SAME, "v": array(4, 4, 3, 3, seed=1)}},
        runs={"QLinearConv": 3, "QLinearAdd": 1},
    ),
    "concat": Case(
        body="""
          c = Conv (x, w)
          d = Conv (x, v)
          k = Concat <axis = 1> (c, d)
          r = Relu (k)
          y = Conv (r, u)
        """,
        options={"weights": {"w": W, "v": array(3, 4, 3, 3), "u": array(5, 9, 1, 1)}},
        runs={"QLinearConv": 3, "QLinearConcat": 1},
    ),
    "pools": Case(
        body="""
          c = Conv (x, w)
          r = Relu (c)
          m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
          p = AveragePool <kernel_shape = [2, 2]> (m)
          d = Conv (p, v)
          g = GlobalAveragePool (d)
          f = Flatten (g)
          y = Gemm (f, u, b)
        """,
        options={
            "outputs": "float[N, 5] y",
            "weights": {"w": W, "v": array(4, 6, 1, 1), "u": array(4, 5), "b": array(5)},
        },
        runs={"QLinearConv": 2, "QLinearAveragePool": 1, "QLinearGlobalAveragePool": 1, "QGemm": 1},
    ),
    "silu": Case(
        body="c = Conv (x, w)\n s = Sigmoid (c)\n m = Mul (c, s)\n y = Conv (m, v)",
        options={"weights": {"w": W, "v": W1}},
        runs={"QLinearConv": 2, "QLinearSigmoid": 1, "QLinearMul": 1},
    ),
    "squeeze_and_excite": Case(
        body="""
          c = Conv (x, w)
          g = GlobalAveragePool (c)
          e = Conv (g, w1)
          r = Relu (e)
          f = Conv (r, w2)
          s = HardSigmoid (f)
          m = Mul (c, s)
          y = Conv (m, w3)
        """,
        options={
            "weights": {
                "w": SAME,
                "w1": array(2, 4, 1, 1),
                "w2": array(4, 2, 1, 1),
                "w3": array(3, 4, 1, 1),
            }
        },
        runs={"QLinearConv": 4, "QLinearGlobalAveragePool": 1, "QLinearMul": 1},
    ),
    "constant_operands": Case(
        body="c = Conv (x, w)\n m = Mul (c, k)\n s = Add (m, l)\n r = Relu (s)\n y = Conv (r, v)",
        options={
            "weights": {"w": SAME, "k": array(1, 4, 7, 6), "l": array(1, 4, 7, 6, seed=1), "v": SAME[:3]}
        },
        runs={"QLinearConv": 2, "QLinearMul": 1, "QLinearAdd": 1},
    ),
    "constant_added_to_an_input": Case(
        body="a = Add (x, k)\n y = Conv (a, w)",
        options={"weights": {"k": array(1, 4, 9, 8), "w": SAME}},
        runs={"QLinearConv": 1, "QLinearAdd": 1},
    ),
    "moves": Case(
        body="""
          c = Conv (x, w)
          t = Transpose <perm = [0, 2, 3, 1]> (c)
          u = Transpose <perm = [0, 3, 1, 2]> (t)
          s = Slice (u, start, end, axis)
          p = Pad (s, pads)
          z = Resize <mode = "nearest"> (p, , factors)
          y = Conv (z, v)
        """,
        options={
            "weights": {
                "w": W,
                "v": W1,
                "start": np.array([1]),
                "end": np.array([5]),
                "axis": np.array([2]),
                "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
                "factors": np.array([1, 1, 2, 2], np.float32),
            }
        },
        runs={"QLinearConv": 2, "Slice": 1, "Pad": 1, "Resize": 1, "DequantizeLinear": 1},
    ),
    "depth_to_space": Case(
        body="c = Conv (x, w)\n t = DepthToSpace <blocksize = 2> (c)\n y = Conv (t, v)",
        options={"weights": {"w": array(8, 4, 3, 3), "v": array(4, 2, 1, 1)}},
        runs={"QLinearConv": 2, "DepthToSpace": 1, "DequantizeLinear": 1},
    ),
    "space_to_depth_tile_expand": Case(
        body="""
          c = Conv <pads = [1, 1, 1, 1]> (x, w)
          p = Slice (c, start, end, axis)
          s = SpaceToDepth <blocksize = 2> (p)
          t = Tile (s, times)
          q = Unsqueeze (t, ones)
          e = Expand (q, wide)
          u = Reshape (e, flat)
          y = Conv (u, v)
        """,
        options={
            "weights": {
                "w": SAME,
                "start": np.array([0]),
                "end": np.array([8]),
                "axis": np.array([2]),
                "times": np.array([1, 1, 2, 1]),
                "ones": np.array([1]),
                "wide": np.array([1, 2, 1, 1, 1]),
                "flat": np.array([0, 32, 8, -1]),
                "v": array(3, 32, 1, 1),
            },
        },
        runs={"QLinearConv": 2, "SpaceToDepth": 1, "Tile": 1, "Expand": 1, "DequantizeLinear": 1},
    ),
    "split": Case(
        body="""
          c = Conv (x, w)
          a, b = Split <axis = 1, num_outputs = 2> (c)
          d = Conv (a, v)
          e = Conv (b, v)
          k = Concat <axis = 1> (d, e)
          y = Conv (k, u)
        """,
        options={"opset": 18, "weights": {"w": SAME, "v": array(2, 2, 1, 1), "u": array(3, 4, 1, 1)}},
        runs={"QLinearConv": 4, "Split": 1, "QLinearConcat": 1},
    ),
    "gather_of_channels": Case(
        body="c = Conv (x, w)\n g = Gather <axis = 1> (c, order)\n y = Conv (g, v)",
        options={"weights": {"w": SAME, "order": np.array([3, 1, 0]), "v": array(3, 3, 1, 1)}},
        runs={"QLinearConv": 2, "Gather": 1, "DequantizeLinear": 1},
    ),
    "output_in_the_middle": Case(
        body="c = Conv (x, w)\n r = Relu (c)\n y = Conv (r, v)",
        options={"outputs": "float[N, 5, 7, 6] y, float[N, 6, 7, 6] r", "weights": {"w": W, "v": W1}},
        runs={"QLinearConv": 2, "DequantizeLinear": 2},
    ),
    "output_before_the_clamp": Case(
        body="c = Conv (x, w)\n r = Relu (c)\n y = Conv (r, v)",
        options={"outputs": "float[N, 5, 7, 6] y, float[N, 6, 7, 6] c", "weights": {"w": W, "v": W1}},
        runs={"QLinearConv": 2, "Clip": 1},
    ),
    "codes_for_one_reader_floats_for_the_other": Case(
        body="""
          c = Conv (x, w)
          r = Relu (c)
          l = LogSoftmax <axis = 1> (r)
          z = Conv (r, v)
          y = Add (z, l)
        """,
        options={"weights": {"w": W, "v": array(6, 6, 1, 1)}},
        runs={"QLinearConv": 2, "LogSoftmax": 1, "Add": 1},
    ),
    "input_for_codes_and_floats": Case(
        body="c = Conv <pads = [1, 1, 1, 1]> (x, w)\n s = Softmax (x)\n y = Add (c, s)\n z = Identity (x)",
        options={"outputs": "float[N, 4, 9, 8] y, float[N, 4, 9, 8] z", "weights": {"w": SAME}},
        runs={"QLinearConv": 1, "Softmax": 1},
    ),
    "shared_weight_and_bias": Case(
        body="""
          c = Conv <pads = [1, 1, 1, 1]> (x, w, b)
          r = Relu (c)
          y = Conv <pads = [1, 1, 1, 1]> (r, w, b)
        """,
        options={"weights": {"w": SAME, "b": array(4)}},
        runs={"QLinearConv": 2},
    ),
    "weight_read_elsewhere": Case(
        body="""
          c = Conv (x, w)
          p = Softmax (z)
          m = Mul (w, p)
          n = ReduceMean <keepdims = 0> (m)
          y = Add (c, n)
        """,
        options={"inputs": "float[N, 4, 9, 8] x, float[3, 3] z", "weights": {"w": SAME}},
        runs={"QLinearConv": 1, "ReduceMean": 1},
    ),
    "if_reads_codes": Case(
        body="""
          c = Conv (x, w)
          r = Relu (c)
          z = Conv (r, v)
          y = If (k) <
            then_branch = yes () => (float[N, 4, 7, 6] o) { o = Add (z, r) },
            else_branch = no () => (float[N, 4, 7, 6] p) { p = Neg (z) }
          >
        """,
        options={
            "inputs": "bool k, float[N, 4, 9, 8] x",
            "outputs": "float[N, 4, 7, 6] y",
            "weights": {"w": SAME, "v": array(4, 4, 1, 1)},
        },
        runs={"QLinearConv": 2, "If": 1},
    ),
    "loop_reads_codes": Case(
        body="""
          c = Conv (x, w)
          r = Relu (c)
          z = Conv (r, v)
          y = Loop (times, go, z) <
            body = step (int64 i, bool more, float[N, 4, 7, 6] state)
              => (bool on, float[N, 4, 7, 6] next) { on = Identity (more)  next = Add (state, r) }
          >
        """,
        options={
            "outputs": "float[N, 4, 7, 6] y",
            "weights": {
                "w": SAME,
                "v": array(4, 4, 1, 1),
                "times": np.array(2),
                "go": np.array(True),
            },
        },
        runs={"QLinearConv": 2, "Loop": 1},
    ),
    "two_inputs": Case(
        body="a = Conv (x, w)\n b = Conv (z, w)\n s = Add (a, b)\n r = Relu (s)\n y = Conv (r, v)",
        options={
            "inputs": "float[N, 4, 9, 8] x, float[N, 4, 9, 8] z",
            "weights": {"w": SAME, "v": array(4, 4, 1, 1)},
        },
        runs={"QLinearConv": 3, "QLinearAdd": 1},
    ),
    "integer_input": Case(
        body="f = Cast <to = 1> (x)\n c = Conv (f, w)\n y = Relu (c)",
        options={"inputs": "uint8[N, 4, 9, 8] x", "weights": {"w": SAME}},
        runs={"QLinearConv": 1},
    ),
    "batch_norm_that_stays": Case(
        body="n = BatchNormalization (x, g, b, m, v)\n c = Conv (n, w)\n y = Relu (c)",
        options={
            "weights": {
                "g": array(4) + 1,
                "b": array(4),
                "m": array(4),
                "v": np.abs(array(4)) + 1,
                "w": SAME,
            }
        },
        runs={"QLinearConv": 1, "BatchNormalization": 1},
    ),
    "dynamic_space": Case(
        body="c = Conv (x, w)\n r = Relu (c)\n g = GlobalAveragePool (r)\n y = Conv (g, v)",
        options={"inputs": "float[N, 4, H, W] x", "weights": {"w": W, "v": W1}},
        runs={"QLinearConv": 2, "QLinearGlobalAveragePool": 1},
    ),
    "nothing_but_a_scale_between": Case(
        body="c = Conv (x, w)\n m = Mul (c, half)\n y = Conv (m, v)",
        options={
            "outputs": "float[N, P, Q, R] y, float[N, 4, 7, 6] c",
            "weights": {"w": SAME, "half": scalar(0.5), "v": SAME},
        },
        runs={"QLinearConv": 2, "QLinearMul": 1},
    ),
}

TABLES = ("HardSwish", "Tanh", "HardSigmoid", "Elu", "Selu", "Softplus", "Erf", "Abs", "Gelu", "Mish")
for _op in TABLES:
    CASES[f"table_{_op}"] = Case(
        body=f"c = Conv (x, w)\n t = {_op} (c)\n y = Conv (t, v)",
        options={"weights": {"w": W, "v": W1}, "opset": 20},
        runs={"QLinearConv": 2, "GatherElements": 1, _op: 0},
    )
for _op in ("Sigmoid", "LeakyRelu"):
    CASES[f"fused_{_op}"] = Case(
        body=f"c = Conv (x, w)\n t = {_op} (c)\n y = Conv (t, v)",
        options={"weights": {"w": W, "v": W1}},
        runs={"QLinearConv": 2, f"QLinear{_op}": 1},
    )
