"""The replay's cases: every kind of layer, format, method and arithmetic at least once."""

import numpy as np

from tests.replay.networks import ROWS, Case, ints, scalar, uneven

CHAIN = "c = Conv (x, w, b)\n d = Relu (c)\n e = Conv (d, v)\n f = Relu (e)\n y = Conv (f, u, a)"
CHAIN_WEIGHTS = {"w": (6, 4, 3, 3), "b": (6,), "v": (8, 6, 3, 3), "u": (5, 8, 1, 1), "a": (5,)}
RESIDUAL = (
    "c = Conv <pads = [1,1,1,1]> (x, w)\n d = Relu (c)\n e = Conv <pads = [1,1,1,1]> (d, v)\n"
    "f = Add (e, d)\n g = Relu (f)\n h = GlobalAveragePool (g)\n i = Flatten (h)\n"
    "y = Gemm <transB = 1> (i, u, b)"
)
RESIDUAL_WEIGHTS = {"w": (6, 4, 3, 3), "v": (6, 6, 3, 3), "u": (5, 6), "b": (5,)}
SPREAD = tuple(2.0 ** (2 - n) for n in range(12))
LINEAR = "h = MatMul (x, w)\n a = Add (h, b)\n r = Relu (a)\n y = MatMul (r, v)"
ATTENTION = (
    "q = MatMul (x, w)\n k = MatMul (x, v)\n t = Transpose <perm = [0, 2, 1]> (k)\n s = MatMul (q, t)\n"
    "p = Softmax <axis = -1> (s)\n u = MatMul (x, o)\n y = MatMul (p, u)"
)
_NAMES = (
    "int2 int3 int4 int5 int6 int7 dybit2 dybit3 dybit4 dybit5 dybit6 dybit8 ternary"
    " e2m1 e2m3 e2m4 e3m2 e4m3 e5m2 pot2 pot3 pot4 pot5 odd1 odd2 odd4 odd7"
    " normal2 normal3 normal4 normal5 laplace3 laplace5"
)

_RECIPE = """\
defaults: {weights: dybit4, granularity: channel}
rules:
- {op_type: Gemm, weights: int6, rounding: nearest, scale: max}
- {name: "Conv_1", weights: int3, activations: int5}
first_last: same
bias_correction: false
"""

CASES: dict[str, Case] = {
    "formats": Case(
        body=CHAIN,
        weights=CHAIN_WEIGHTS,
        quantize=tuple(f"--weights {name} --first-last same" for name in _NAMES.split()),
    ),
    "auto": Case(
        body=CHAIN,
        weights=CHAIN_WEIGHTS,
        quantize=tuple(f"--weights auto{bits} --first-last same" for bits in (2, 3, 4, 6, 8)),
    ),
    "methods": Case(
        body=CHAIN,
        weights=CHAIN_WEIGHTS,
        quantize=(
            *(
                f"--weights {form} --scale {scale} --rounding {rounding} --granularity {grain}"
                for form, grain in (("int4", "channel"), ("dybit4", "tensor"))
                for scale in ("max", "mse", "pow2")
                for rounding in ("nearest", "compensated")
            ),
            *(f"--range {name}" for name in ("minmax", "mse", "percentile", "entropy", "mean-max", "pow2")),
            "--scales pow2",
            "--no-reduce-range",
            "--no-bias-correction --weights int3",
            "--first-last dybit5 --weights int2",
        ),
    ),
    "activations": Case(
        body=CHAIN,
        weights=CHAIN_WEIGHTS,
        quantize=(
            *(
                f"--activations {name} --first-last same"
                for name in ("int2", "int4", "int5", "int7", "dybit2", "dybit4", "dybit6", "pot3", "pot4")
            ),
            "--activations float --weights int4",
            "--activations int4 --range minmax",
        ),
    ),
    "sparq": Case(
        body=CHAIN,
        weights=CHAIN_WEIGHTS,
        quantize=tuple(
            f"--activations {name}"
            for name in (
                "sparq4-5opt",
                "sparq4-3opt",
                "sparq4-2opt --range mean-max",
                "sparq3-6opt",
                "sparq2-7opt",
                "sparq4-5opt-raw",
                "sparq4-5opt-nopair",
                "sparq4-3opt-raw-nopair --weights dybit4",
            )
        ),
    ),
    "data": Case(
        body=RESIDUAL,
        weights=RESIDUAL_WEIGHTS,
        outputs="float[N, 5] y",
        quantize=(
            "--weights dybit3 --data data.npz",
            "--weights int4 --activations int4 --data data.npz --samples 12 --first-last same",
            "--weights int2 --granularity tensor --activations sparq4-5opt --data data.npz",
            "--weights auto3 --data data.npz",
        ),
    ),
    "recipe": Case(
        body=RESIDUAL,
        weights=RESIDUAL_WEIGHTS,
        outputs="float[N, 5] y",
        quantize=("--recipe recipe.yaml", "--recipe recipe.yaml --weights int5"),
        files={"recipe.yaml": _RECIPE},
    ),
    "moments": Case(
        body=CHAIN,
        weights=CHAIN_WEIGHTS,
        calibrate="--moments diagonal --batch-size 5",
        quantize=("--weights int4", "--weights auto4"),
    ),
    "no moments": Case(
        body=CHAIN,
        weights=CHAIN_WEIGHTS,
        calibrate="--moments none --samples 7",
        quantize=("--weights int4",),
    ),
    "wide layer": Case(
        body="f = Flatten (x)\n h = Gemm <transB = 1> (f, w, b)\n r = Relu (h)\n y = Gemm (r, v, c)",
        weights={"w": (9, 256), "b": (9,), "v": (9, 5), "c": (5,)},
        outputs="float[N, 5] y",
        calibrate="--moments block",
        quantize=("--weights int4 --first-last same", "--weights dybit3 --first-last same"),
    ),
    "conv 1-D": Case(
        body="c = Conv <pads = [1, 1]> (x, w)\n r = Relu (c)\n y = Conv (r, v)",
        weights={"w": (6, 4, 3), "v": (3, 6, 3)},
        inputs="float[N, 4, 12] x",
        outputs="float[N, 3, P] y",
        data={"x": (4, 12)},
        quantize=("", "--weights int3 --first-last same", "--activations sparq4-5opt --first-last same"),
    ),
    "grouped": Case(
        body="c = Conv <group = 2, strides = [2,1], dilations = [1,2], pads = [1,0,2,3]> (x, w)\n"
        "r = LeakyRelu (c)\n y = Conv <group = 3> (r, v)",
        weights={"w": (6, 2, 3, 2), "v": (6, 2, 1, 1)},
        quantize=("", "--weights dybit4 --first-last same", "--activations sparq3-6opt --first-last same"),
    ),
    "depthwise": Case(
        body="c = Conv <group = 4, pads = [1,1,1,1]> (x, w, b)\n d = Clip (c, lo, hi)\n e = Conv (d, v)\n"
        "f = Clip (e, lo, hi)\n g = Conv <group = 6> (f, t)\n y = Conv (g, u)",
        weights={
            "w": uneven((4, 1, 3, 3), "w", (1, 0.25, 4)),
            "b": (4,),
            "v": (6, 4, 1, 1),
            "t": uneven((6, 1, 3, 3), "t", (2, 0.125)),
            "u": (5, 6, 1, 1),
            "lo": scalar(0),
            "hi": scalar(6),
        },
        quantize=(
            "",
            "--weights int4 --first-last same",
            "--weights dybit4 --granularity tensor --first-last same",
            "--activations sparq4-5opt",
            "--weights int3 --data data.npz",
        ),
    ),
    "transposed": Case(
        body="c = ConvTranspose <strides = [2,2], pads = [1,0,1,1]> (x, w, b)\n d = Relu (c)\n"
        "e = ConvTranspose <strides = [2,2], group = 2> (d, t)\n y = Conv (e, v)",
        weights={"w": (4, 6, 3, 3), "b": (6,), "t": (6, 2, 2, 2), "v": (3, 4, 1, 1)},
        quantize=(
            "",
            "--weights int4 --first-last same",
            "--activations int4 --weights odd4 --first-last same",
        ),
    ),
    "gemm": Case(
        body="f = Flatten (x)\n h = Gemm <transB = 1> (f, w, b)\n r = Relu (h)\n y = Gemm (r, v, c)",
        weights={"w": (8, 32), "b": (8,), "v": (8, 5), "c": (5,)},
        inputs="float[N, 2, 4, 4] x",
        outputs="float[N, 5] y",
        data={"x": (2, 4, 4)},
        quantize=(
            "",
            "--weights int4 --first-last same",
            "--activations sparq2-7opt --first-last same",
            "--weights dybit3 --first-last same --data data.npz",
        ),
    ),
    "matmul": Case(
        body=LINEAR,
        weights={"w": (8, 16), "b": (16,), "v": (16, 5)},
        inputs="float[N, 6, 8] x",
        outputs="float[N, 6, 5] y",
        data=ROWS,
        quantize=(
            "",
            "--activations dynamic8 --weights dybit4 --first-last same",
            "--activations int8 --weights int4 --first-last same",
            "--activations float --weights normal4 --first-last same",
            "--activations sparq4-5opt --first-last same",
            "--weights int3 --first-last same --data data.npz",
        ),
    ),
    "weights on the left": Case(
        body="h = MatMul (w, x)\n r = Relu (h)\n y = MatMul (v, r)",
        weights={"w": (9, 6), "v": (5, 9)},
        inputs="float[N, 6, 8] x",
        outputs="float[N, 5, 8] y",
        data=ROWS,
        quantize=("", "--weights int4 --first-last same", "--activations int8 --weights dybit3"),
    ),
    "batched weights": Case(
        body="y = MatMul (x, w)",
        weights={"w": (3, 6, 5)},
        inputs="float[N, 3, 4, 6] x",
        outputs="float[N, 3, 4, 5] y",
        data={"x": (3, 4, 6)},
        quantize=("", "--weights int4 --first-last same --activations int8"),
    ),
    "attention": Case(
        body=ATTENTION,
        weights={"w": (8, 8), "v": (8, 8), "o": (8, 6)},
        inputs="float[N, 6, 8] x",
        outputs="float[N, 6, 6] y",
        data=ROWS,
        quantize=(
            "",
            "--activations int8 --weights int4 --first-last same",
            "--activations int4 --weights dybit4 --first-last same",
        ),
    ),
    "smoothing": Case(
        body="n = LayerNormalization <axis = -1> (x, g, h)\n q = MatMul (n, w)\n k = MatMul (n, v)\n"
        "s = Mul (q, k)\n y = MatMul (s, u)",
        weights={
            "g": uneven((96,), "g", (1, 1, 1, 1, 1, 1, 1, 30, 1, 1, 1, 1)),
            "h": (96,),
            "w": (96, 8),
            "v": (96, 8),
            "u": (8, 5),
        },
        inputs="float[N, 4, 96] x",
        outputs="float[N, 4, 5] y",
        data={"x": (4, 96)},
        samples=48,
        quantize=("", "--weights int4", "--weights int4 --first-last same"),
    ),
    "gather": Case(
        body="e = Gather (t, i)\n y = MatMul (e, w)",
        weights={"t": (20, 8), "w": (8, 5)},
        inputs="int64[N, 6] i",
        outputs="float[N, 6, 5] y",
        data={"i": (6,)},
        whole=20,
        quantize=("", "--weights dybit4 --first-last same", "--weights e4m3 --first-last same"),
    ),
    "residual": Case(
        body=RESIDUAL,
        weights=RESIDUAL_WEIGHTS,
        outputs="float[N, 5] y",
        quantize=("", "--weights dybit4", "--range pow2 --scale pow2", "--activations int6"),
    ),
    "concat and pools": Case(
        body="c = Conv (x, w)\n d = Conv (x, v)\n e = Concat <axis = 1> (c, d)\n r = Relu (e)\n"
        "m = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r)\n"
        "p = AveragePool <kernel_shape = [2,2]> (m)\n y = Conv (p, u)",
        weights={"w": (6, 4, 3, 3), "v": (3, 4, 3, 3), "u": (5, 9, 1, 1)},
        quantize=("", "--weights int4 --activations int4 --first-last same"),
    ),
    "moves": Case(
        body="c = Conv (x, w)\n s = Slice (c, i, j, k)\n p = Pad (s, q)\n"
        'z = Resize <mode = "nearest"> (p, , f)\n'
        "t = DepthToSpace <blocksize = 2> (z)\n y = Conv (t, v)",
        weights={
            "w": (8, 4, 3, 3),
            "i": ints(1),
            "j": ints(5),
            "k": ints(2),
            "q": ints(0, 0, 1, 1, 0, 0, 1, 1),
            "f": np.array([1, 1, 2, 2], np.float32),
            "v": (3, 2, 1, 1),
        },
        quantize=("", "--weights int4 --first-last same"),
    ),
    "batch norm": Case(
        body="c = Conv <pads = [1,1,1,1]> (x, w)\n n = BatchNormalization (c, g, h, m, s)\n r = Relu (n)\n"
        "a = BatchNormalization (x, g2, h, m, s)\n e = Conv (r, v)\n f = Conv (a, v)\n y = Add (e, f)",
        weights={
            "w": (4, 4, 3, 3),
            "g": uneven((4,), "g", (1, 8)),
            "g2": (4,),
            "h": (4,),
            "m": (4,),
            "s": np.array([1, 0.5, 2, 1], np.float32),
            "v": (4, 4, 3, 3),
        },
        quantize=("", "--weights int4 --first-last same"),
    ),
    "equalization": Case(
        body="c = Conv (x, w, b)\n d = Relu (c)\n e = Conv (d, v)\n f = PRelu (e, s)\n y = Conv (f, u)",
        weights={
            "w": uneven((6, 4, 3, 3), "w", (1, 0.125, 8, 0.5)),
            "b": (6,),
            "v": uneven((6, 6, 3, 3), "v", (4, 0.25)),
            "s": np.full((6, 1, 1), 0.25, np.float32),
            "u": (5, 6, 1, 1),
        },
        quantize=("", "--weights int4 --granularity tensor --first-last same", "--weights dybit3"),
    ),
    "channel ranges": Case(
        body="c = Conv (x, w, b)\n s = Sigmoid (c)\n m = Mul (c, s)\n"
        "y = Conv <group = 12, pads = [1,1,1,1]> (m, v)",
        weights={
            "w": uneven((12, 4, 1, 1), "w", SPREAD),
            "b": uneven((12,), "b", SPREAD),
            "v": uneven((12, 1, 3, 3), "v", tuple(1 / gain for gain in SPREAD)),
        },
        quantize=("", "--weights dybit4 --first-last same", "--weights int4 --granularity tensor"),
    ),
    "functions": Case(
        body="c = Conv (x, w)\n a = Sigmoid (c)\n b = Mul (c, a)\n d = Tanh (c)\n e = HardSigmoid (d)\n"
        "f = Mul (b, e)\n g = GlobalAveragePool (f)\n h = Mul (f, g)\n i = Elu (h)\n y = Conv (i, v)",
        weights={"w": (6, 4, 3, 3), "v": (5, 6, 1, 1)},
        quantize=("", "--weights int4 --first-last same", "--activations sparq4-5opt --first-last same"),
    ),
    "shared weights": Case(
        body="a = Conv <pads = [1,1,1,1]> (x, w, b)\n r = Relu (a)\n c = Conv <pads = [1,1,1,1]> (r, w, b)\n"
        "y = Softmax <axis = 1> (c)",
        weights={"w": (4, 4, 3, 3), "b": (4,)},
        quantize=("", "--weights int4 --first-last same"),
    ),
    "integer convolutions": Case(
        body=RESIDUAL,
        weights=RESIDUAL_WEIGHTS,
        outputs="float[N, 5] y",
        quantize=tuple(
            f"--integer-only strict {options}"
            for options in (
                "",
                "--weights dybit4",
                "--scales pow2",
                "--weights int4 --first-last same --granularity tensor",
                "--flavour explicit",
                "--flavour explicit --rounding-rule half-up --weights dybit4",
                "--flavour explicit --multiplier-bits 16",
                "--flavour explicit --multiplier-bits 8 --weights odd5",
                "--flavour explicit --residual-bits 16",
                "--flavour explicit --residual-bits 16 --residual-rounding branch --rounding-rule half-up",
                "--flavour explicit --scales pow2",
            )
        ),
    ),
    "integer operators": Case(
        body="c = Conv <group = 2, pads = [1,1,1,1]> (x, w, b)\n s = Sigmoid (c)\n m = Mul (c, s)\n"
        "d = ConvTranspose <strides = [2,2]> (m, t)\n p = MaxPool <kernel_shape = [2,2]> (d)\n"
        "l = Clip (p, lo, hi)\n e = Concat <axis = 1> (p, l)\n"
        "a = AveragePool <kernel_shape = [3,3], strides = [2,2]> (e)\n y = Conv (a, v)",
        weights={
            "w": (6, 2, 3, 3),
            "b": (6,),
            "t": (6, 4, 2, 2),
            "lo": scalar(-0.25),
            "hi": scalar(1),
            "v": (5, 8, 1, 1),
        },
        quantize=(
            "--integer-only strict",
            "--integer-only strict --flavour explicit --weights dybit4",
            "--integer-only strict --scales pow2",
        ),
    ),
    "integer products": Case(
        body="q = MatMul (x, w)\n k = MatMul (x, v)\n t = Transpose <perm = [0,2,1]> (k)\n"
        "a = MatMul (q, t)\n s = Sigmoid (a)\n y = MatMul (s, q)",
        weights={"w": (8, 6), "v": (8, 6)},
        inputs="float[N, 6, 8] x",
        outputs="float[N, 6, 6] y",
        data=ROWS,
        quantize=("--integer-only strict", "--integer-only strict --flavour explicit"),
    ),
    "integers as far as they go": Case(
        body="c = Conv (x, w)\n l = Softmax <axis = 1> (c)\n d = Conv (l, v)\n r = Relu (d)\ny = Conv (r, u)",
        weights={"w": (6, 4, 3, 3), "v": (6, 6, 3, 3), "u": (5, 6, 1, 1)},
        quantize=("--integer-only report", "--integer-only report --flavour explicit --weights int4"),
    ),
    "search": Case(
        body=RESIDUAL,
        weights=RESIDUAL_WEIGHTS,
        outputs="float[N, 5] y",
        search=tuple(
            f"--hardware {options} --first-last same"
            for options in (
                "dybit_zcu102_like --budget size=0.6 --weights int8,int4,dybit4,dybit2",
                "bitfusion_45nm --budget size=0.7 --pareto 2",
                "stripes_like --budget sqnr=15dB --minimise size",
                "sparq_sa --stored --budget energy=0.95 --strategy lagrangian",
                "dybit_zcu102_like --budget size=0.6 --strategy greedy-error --sensitivity weight-nrmse",
                "dybit_zcu102_like --budget size=0.6 --data data.npz --samples 8",
            )
        ),
    ),
}
