"""One small network for every operation that integer-only arithmetic has."""

import numpy as np

from tests.verify.kit import Net

CONV = {"w": (6, 4, 3, 3), "b": (6,)}
_SIGMOID = "c = Conv <pads = [1,1,1,1]> (x, w, b)\n"

NETWORKS: dict[str, Net] = {
    "convolution": Net(body="y = Conv (x, w, b)", weights=CONV),
    "relu": Net(
        body="c = Conv (x, w)\n d = Relu (c)\n y = Conv (d, v)",
        weights={"w": (6, 4, 3, 3), "v": (3, 6, 1, 1)},
    ),
    "grouped, dilated, strided, odd pads": Net(
        body="c = Conv <group = 2, dilations = [2,1], strides = [1,2], pads = [2,0,1,1]> (x, w)\n"
        " y = Relu (c)",
        weights={"w": (6, 2, 3, 3)},
    ),
    "depthwise and clip": Net(
        body="c = Conv <group = 4, pads = [1,1,1,1]> (x, w, b)\n d = Clip (c, lo, hi)\n y = Conv (d, v)",
        weights={
            "w": (4, 1, 3, 3),
            "b": (4,),
            "v": (5, 4, 1, 1),
            "lo": np.float32(-0.3),
            "hi": np.float32(0.5),
        },
    ),
    "one dimension": Net(
        body="y = Conv <pads = [1,1]> (x, w)",
        weights={"w": (5, 4, 3)},
        inputs="float[N, 4, 11] x",
        outputs="float[N, 5, 11] y",
        feeds={"x": (4, 11)},
    ),
    "residual": Net(
        body="c = Conv <pads = [1,1,1,1]> (x, w)\n d = Relu (c)\n e = Conv <pads = [1,1,1,1]> (d, v)\n"
        "f = Add (e, d)\n g = Relu (f)\n h = Conv <pads = [1,1,1,1]> (g, u)\n y = Add (h, g)",
        weights={"w": (4, 4, 3, 3), "v": (4, 4, 3, 3), "u": (4, 4, 3, 3)},
    ),
    "a constant is added": Net(
        body="c = Conv (x, w)\n d = Add (c, k)\n y = Conv (d, v)",
        weights={"w": (6, 4, 3, 3), "k": (1, 6, 1, 1), "v": (3, 6, 1, 1)},
    ),
    "clamp beside another reader": Net(
        body="c = Conv (x, w)\n d = Relu (c)\n e = Conv (c, v)\n f = Conv (d, v)\n y = Add (e, f)",
        weights={"w": (6, 4, 3, 3), "v": (3, 6, 1, 1)},
    ),
    "concat of branches of their own": Net(
        body="c = Conv (x, w)\n d = Conv (x, v)\n e = Concat <axis = 1> (c, d)\n f = Conv (e, u)\n"
        "g = Conv (d, t)\n y = Add (f, g)",
        weights={"w": (6, 4, 3, 3), "v": (2, 4, 3, 3), "u": (3, 8, 1, 1), "t": (3, 2, 1, 1)},
    ),
    "rescaled concat": Net(
        body="c = Conv (x, w)\n d = Relu (c)\n"
        " e = Concat <axis = 1> (c, d)\n f = MaxPool <kernel_shape = [2,2]> (c)\n"
        "g = MaxPool <kernel_shape = [2,2]> (e)\n h = Concat <axis = 1> (f, g)\n y = Conv (h, v)",
        weights={"w": (3, 4, 3, 3), "v": (4, 9, 1, 1)},
    ),
    "concat of two sums": Net(
        body="c = Conv (x, w)\n d = Conv (x, v)\n s = Add (c, d)\n m = Mul (c, d)\n"
        "e = Concat <axis = 1> (s, m, c)\n y = Conv (e, u)",
        weights={"w": (3, 4, 3, 3), "v": (3, 4, 3, 3), "u": (2, 9, 1, 1)},
    ),
    "max pooling": Net(
        body="c = Conv (x, w)\n"
        " d = MaxPool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1], ceil_mode = 1>"
        " (c)\n y = Conv (d, v)",
        weights={"w": (6, 4, 3, 3), "v": (3, 6, 1, 1)},
    ),
    "average pooling": Net(
        body="c = Conv (x, w)\n"
        " d = AveragePool <kernel_shape = [3,2], strides = [2,1]> (c)\n y = Conv (d, v)",
        weights={"w": (6, 4, 3, 3), "v": (3, 6, 1, 1)},
    ),
    "average pooling that counts its padding": Net(
        body="c = Conv (x, w)\n"
        " y = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1> (c)",
        weights={"w": (6, 4, 3, 3)},
    ),
    "mean before a classifier": Net(
        body="c = Conv (x, w)\n d = GlobalAveragePool (c)\n"
        " e = Flatten (d)\n y = Gemm <transB = 1> (e, v, b)",
        weights={"w": (6, 4, 3, 3), "v": (5, 6), "b": (5,)},
        outputs="float[N, 5] y",
    ),
    "mean at the end": Net(
        body="c = Conv (x, w)\n d = Relu (c)\n e = GlobalAveragePool (d)\n y = Flatten (e)",
        weights={"w": (6, 4, 3, 3)},
        outputs="float[N, 6] y",
    ),
    "spatial ReduceMean": Net(
        body="c = Conv (x, w)\n d = ReduceMean <axes = [2,3], keepdims = 0> (c)\n"
        " e = MatMul (d, v)\n y = Add (e, b)",
        weights={"w": (6, 4, 3, 3), "v": (6, 5), "b": (5,)},
        outputs="float[N, 5] y",
    ),
    "transposed convolution": Net(
        body="c = ConvTranspose <strides = [2,2], pads = [1,0,1,1], output_padding = [1,0]> (x, w, b)\n"
        "d = Relu (c)\n y = Conv (d, v)",
        weights={"w": (4, 6, 3, 4), "b": (6,), "v": (3, 6, 1, 1)},
    ),
    "grouped transposed convolution": Net(
        body="y = ConvTranspose <strides = [3,3], group = 2> (x, w)", weights={"w": (4, 3, 2, 2)}
    ),
    "linear resize": Net(
        body='c = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (x, , s)\n'
        " y = Conv (c, w)",
        weights={"s": np.array([1, 1, 4, 4], np.float32), "w": (6, 4, 3, 3)},
    ),
    "linear resize by three": Net(
        body="c = Conv (x, w)\n"
        ' y = Resize <mode = "linear", coordinate_transformation_mode = "asymmetric"> (c, , s)',
        weights={"s": np.array([1, 1, 3, 3], np.float32), "w": (6, 4, 3, 3)},
    ),
    "moves": Net(
        body='c = Conv (x, w)\n r = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric",'
        ' nearest_mode = "floor"> (c, , s)\n p = Pad (r, q)\n l = Slice (p, i, j, k)\n'
        "t = Transpose <perm = [0,1,3,2]> (l)\n d = DepthToSpace <blocksize = 2> (t)\n y = Conv (d, v)",
        weights={
            "w": (8, 4, 3, 3),
            "s": np.array([1, 1, 2, 2], np.float32),
            "q": np.array([0, 0, 1, 2, 0, 0, 0, 1], np.int64),
            "i": np.array([1, 0], np.int64),
            "j": np.array([100, 8], np.int64),
            "k": np.array([2, 3], np.int64),
            "v": (3, 2, 3, 3),
        },
    ),
    "split": Net(
        body="c = Conv (x, w)\n d, e = Split <axis = 1> (c)\n f = Mul (d, e)\n y = Conv (f, v)",
        weights={"w": (6, 4, 3, 3), "v": (3, 3, 1, 1)},
    ),
    "channel shuffle": Net(
        body="c = Conv (x, w)\n r = Reshape (c, s)\n t = Transpose <perm = [0,2,1,3,4]> (r)\n"
        "f = Reshape (t, u)\n a, b = Split <axis = 1> (f)\n d = Conv <group = 3> (b, v)\n e = Relu (d)\n"
        "y = Concat <axis = 1> (a, e)",
        weights={
            "w": (6, 4, 3, 3),
            "s": np.array([-1, 2, 3, 7, 6], np.int64),
            "u": np.array([-1, 6, 7, 6], np.int64),
            "v": (3, 1, 1, 1),
        },
    ),
    "sigmoid": Net(body=_SIGMOID + "y = Sigmoid (c)", weights=CONV),
    "silu": Net(
        body=_SIGMOID + "g = Sigmoid (c)\n h = Mul (c, g)\n y = Conv (h, v)",
        weights={**CONV, "v": (3, 6, 1, 1)},
    ),
    "hard swish": Net(
        body=_SIGMOID
        + "d = Add (c, t)\n e = Clip (d, z, s)\n f = Mul (c, e)\n g = Div (f, s)\n y = Conv (g, v)",
        weights={
            **CONV,
            "t": np.float32(3),
            "z": np.float32(0),
            "s": np.float32(6),
            "v": (3, 6, 1, 1),
        },
    ),
    "gelu": Net(
        body=_SIGMOID
        + "d = Div (c, r)\n e = Erf (d)\n f = Add (e, o)\n g = Mul (c, f)\n h = Mul (g, k)\n y = Conv (h, v)",
        weights={
            **CONV,
            "r": np.float32(np.sqrt(2)),
            "o": np.float32(1),
            "k": np.float32(0.5),
            "v": (3, 6, 1, 1),
        },
    ),
    "tanh and hard sigmoid": Net(
        body=_SIGMOID + "d = Tanh (c)\n e = HardSigmoid (c)\n y = Add (d, e)", weights=CONV
    ),
    "one slope below zero": Net(
        body=_SIGMOID + "d = PRelu (c, s)\n y = Conv (d, v)",
        weights={**CONV, "s": np.full((1, 1, 1), 0.25, np.float32), "v": (3, 6, 1, 1)},
    ),
    "a slope for each channel": Net(
        body=_SIGMOID + "d = PRelu (c, s)\n e = PRelu (d, t)\n y = Conv (e, v)",
        weights={
            **CONV,
            "s": np.array([0.25, 0, 0.1, 1, -0.5, 1e-9], np.float32).reshape(6, 1, 1),
            "t": np.full((1, 6, 1, 1), 0.3, np.float32),
            "v": (3, 6, 1, 1),
        },
    ),
    "normalisation in front of a layer": Net(
        body="p = MaxPool <kernel_shape = [2,2]> (x)\n n = BatchNormalization (p, g, h, m, s)\n"
        "r = Relu (n)\n p2 = MaxPool <kernel_shape = [3,3]> (p)\n c = Conv (r, w)\n"
        "d = Concat <axis = 1> (p2, c)\n"
        "e = BatchNormalization (d, g2, h2, m2, s2)\n y = Conv (e, v)",
        weights={
            "g": np.array([1, -0.5, 0, 1e-3], np.float32),
            "h": np.array([0.5, 1, 0.3, -0.2], np.float32),
            "m": (4,),
            "s": np.array([1, 0.5, 2, 1], np.float32),
            "w": (5, 4, 3, 3),
            "g2": np.linspace(0.2, 3, 9, dtype=np.float32),
            "h2": (9,),
            "m2": (9,),
            "s2": np.linspace(3, 0.2, 9, dtype=np.float32),
            "v": (3, 9, 1, 1),
        },
    ),
    "a gain and a shift for each channel": Net(
        body="p = MaxPool <kernel_shape = [2,2]> (x)\n a = Mul (g, p)\n b = Sub (h, a)\n c = Div (b, k)\n"
        "d = Add (c, h)\n y = Conv (d, w)",
        weights={
            "g": np.array([2, -0.5, 0.01, 1], np.float32).reshape(4, 1, 1),
            "h": np.array([0.5, -1, 0.2, 0], np.float32).reshape(1, 4, 1, 1),
            "k": np.array([3, 0.7, -1, 1], np.float32).reshape(4, 1, 1),
            "w": (5, 4, 3, 3),
        },
    ),
    "average pooling without its padding": Net(
        body="c = Conv (x, w)\n d = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1]> (c)\n"
        " e = AveragePool <kernel_shape = [3,2], strides = [2,2], pads = [1,0,0,1], ceil_mode = 1> (d)\n"
        " y = Conv (e, v)",
        weights={"w": (6, 4, 3, 3), "v": (3, 6, 1, 1)},
    ),
    "average pooling over an extent that it divides": Net(
        body="c = Conv (x, w)\n"
        " y = AveragePool <kernel_shape = [1,2], strides = [3,2], ceil_mode = 1, count_include_pad = 1> (c)",
        weights={"w": (6, 4, 3, 3)},
    ),
    "average pooling of a row": Net(
        body="c = Conv (x, w)\n d = AveragePool <kernel_shape = [3], pads = [1,1]> (c)\n y = Relu (d)",
        weights={"w": (5, 4, 3)},
        inputs="float[N, 4, 11] x",
        outputs="float[N, 5, 9] y",
        feeds={"x": (4, 11)},
    ),
    "largest of all": Net(
        body="p = MaxPool <kernel_shape = [2,2]> (x)\n c = Conv (p, w)\n d = GlobalMaxPool (c)\n"
        "y = Flatten (d)",
        weights={"w": (6, 4, 3, 3)},
        outputs="float[N, 6] y",
    ),
    "largest and smallest of several": Net(
        body="c = Conv (x, w)\n d = Conv (x, v)\n a = Max (c, d)\n p = MaxPool <kernel_shape = [2,2]> (d)\n"
        "q = MaxPool <kernel_shape = [2,2]> (a)\n b = Min (q, p, m)\n r = Relu (b)\n"
        "s = MaxPool <kernel_shape = [2,2]> (p)\n y = Conv (r, u)\n z = Conv (s, u)",
        weights={"w": (6, 4, 3, 3), "v": (6, 4, 3, 3), "u": (3, 6, 1, 1)},
        inputs="float[N, 4, 9, 8] x, float[N, 6, 1, 1] m",
        outputs="float[N, A, B, C] y, float[N, D, E, F] z",
        feeds={"x": (4, 9, 8), "m": (6, 1, 1)},
    ),
    "larger half": Net(
        body="c = Conv (x, w)\n d, e = Split <axis = 1> (c)\n f = Max (d, e)\n y = Conv (f, v)",
        weights={"w": (6, 4, 3, 3), "v": (3, 3, 1, 1)},
    ),
    "padded with a constant": Net(
        body="c = Conv (x, w)\n p = Pad (c, q, m)\n d = MaxPool <kernel_shape = [2,2]> (x)\n"
        "r = Pad (d, q, k)\n l = Relu (r)\n e = MaxPool <kernel_shape = [3,3]> (x)\n"
        "y = Conv (p, v)\n z = Conv (l, w)\n t = Conv (e, w)",
        weights={
            "w": (6, 4, 3, 3),
            "v": (3, 6, 3, 3),
            "q": np.array([0, 0, 1, 2, 0, 0, 0, 1], np.int64),
            "m": np.float32(-6),
            "k": np.float32(1.5),
        },
        outputs="float[N, A, B, C] y, float[N, D, E, F] z, float[N, G, H, I] t",
    ),
    "padded along one axis": Net(
        body="d = MaxPool <kernel_shape = [2,2]> (x)\n p = Pad (d, q, m, a)\n y = Conv (p, w)",
        weights={
            "w": (6, 4, 3, 3),
            "q": np.array([2, 1], np.int64),
            "m": np.float32(0.7),
            "a": np.array([3], np.int64),
        },
        opset=18,
    ),
    "added to its own mean": Net(
        body="c = Conv (x, w)\n d = GlobalAveragePool (c)\n e = Add (c, d)\n y = Conv (e, v)",
        weights={"w": (6, 4, 3, 3), "v": (3, 6, 1, 1)},
    ),
    "squeeze and excitation": Net(
        body=_SIGMOID + "d = Relu (c)\n e = GlobalAveragePool (d)\n f = Conv (e, v)\n g = Sigmoid (f)\n"
        "h = Mul (d, g)\n y = Conv (h, u)",
        weights={**CONV, "v": (6, 6, 1, 1), "u": (3, 6, 1, 1)},
    ),
    "matrix product with bias, three axes": Net(
        body="c = MatMul (x, w)\n d = Add (c, b)\n e = Relu (d)\n f = MatMul (e, v)\n y = Sigmoid (f)",
        weights={"w": (8, 7), "b": (7,), "v": (7, 5)},
        inputs="float[N, 9, 8] x",
        outputs="float[N, 9, 5] y",
        feeds={"x": (9, 8)},
    ),
    "weights on the left": Net(
        body="c = MatMul (w, x)\n d = Relu (c)\n y = MatMul (d, v)",
        weights={"w": (6, 9), "v": (8, 5)},
        inputs="float[N, 9, 8] x",
        outputs="float[N, 6, 5] y",
        feeds={"x": (9, 8)},
    ),
    "stack of matrices": Net(
        body="c = MatMul (x, w)\n d = Add (c, b)\n y = Tanh (d)",
        weights={"w": (4, 8, 5), "b": (5,)},
        outputs="float[N, 4, 9, 5] y",
    ),
    "attention without softmax": Net(
        body="q = MatMul (x, w)\n k = MatMul (x, v)\n"
        " t = Transpose <perm = [0,2,1]> (k)\n a = MatMul (q, t)\n"
        "s = Sigmoid (a)\n y = MatMul (s, q)",
        weights={"w": (8, 6), "v": (8, 6)},
        inputs="float[N, 9, 8] x",
        outputs="float[N, 9, 6] y",
        feeds={"x": (9, 8)},
    ),
    "two inputs": Net(
        body="c = Conv (x, w)\n d = Conv (z, v)\n y = Add (c, d)",
        weights={"w": (6, 4, 3, 3), "v": (6, 4, 1, 1)},
        inputs="float[N, 4, 9, 8] x, float[N, 4, 7, 6] z",
        feeds={"x": (4, 9, 8), "z": (4, 7, 6)},
    ),
    "several outputs, arranged": Net(
        body="c = Conv (x, w)\n s = Sigmoid (c)\n d = Conv (x, v)\n e = Concat <axis = 1> (s, d)\n"
        "y = Transpose <perm = [0,2,3,1]> (e)\n z = Relu (d)",
        weights={"w": (6, 4, 3, 3), "v": (2, 4, 3, 3)},
        outputs="float[N, A, B, C] y, float[N, D, E, F] z",
    ),
}
