"""Patches times weight matrices give what the operators give, for every geometry."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dybitq.records.geometry.products import ActivationProduct, EmbeddingTable, MatrixProduct
from dybitq.records.geometry.windows import SlidingWindow, TransposedWindow, Window
from tests.models import make_model, run

RNG = np.random.default_rng(4)
PADDED = Window(kernel=(3, 2), strides=(2, 1), dilations=(1, 2), pads=(1, 0, 2, 1), group=2)
SPREAD = Window(kernel=(3, 2), strides=(2, 3), dilations=(1, 1), pads=(0, 0, 0, 0), group=2)
CONV = "y = Conv <group = 2, strides = [2,1], dilations = [1,2], pads = [1,0,2,1]> (x, w)"
SPREAD_CONV = "y = ConvTranspose <group = 2, strides = [2,3]> (x, w)"
OPERATORS = {
    "convolution": (SlidingWindow(weight_shape=(6, 2, 3, 2), window=PADDED), CONV, (2, 4, 9, 8)),
    "transposed convolution": (
        TransposedWindow(weight_shape=(4, 3, 3, 2), window=SPREAD),
        SPREAD_CONV,
        (2, 4, 5, 6),
    ),
    "gemm": (MatrixProduct(weight_shape=(5, 7), gemm=True), "y = Gemm (x, w)", (3, 5)),
    "gemm, transposed": (
        MatrixProduct(weight_shape=(7, 5), gemm=True, transposed=True),
        "y = Gemm <transB = 1> (x, w)",
        (3, 5),
    ),
    "matmul": (MatrixProduct(weight_shape=(5, 7)), "y = MatMul (x, w)", (2, 3, 5)),
    "matmul, weight on the left": (
        MatrixProduct(weight_shape=(7, 5), left=True),
        "y = MatMul (w, x)",
        (2, 5, 3),
    ),
    "matmul by a stack": (MatrixProduct(weight_shape=(2, 5, 7)), "y = MatMul (x, w)", (2, 3, 5)),
    "two activations": (ActivationProduct(weight_shape=(2, 5, 7)), "y = MatMul (x, w)", (2, 3, 5)),
}
every_operator = pytest.mark.parametrize(("geometry", "body", "shape"), OPERATORS.values(), ids=OPERATORS)


def computed(body: str, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Output of an operator in onnxruntime."""
    axes, out = ", ".join("ABCD"[: x.ndim]), ", ".join("PQRS"[: x.ndim])
    model = make_model(body, inputs=f"float[{axes}] x", outputs=f"float[{out}] y", weights={"w": w})
    return run(model.SerializeToString(), {"x": x})[0]


def slow_conv(x: np.ndarray, w: np.ndarray, window: Window, fill: int) -> np.ndarray:
    """A convolution by its definition, integers, ``[N, O, *grid]``."""
    rank = len(window.kernel)
    around = [(0, 0), (0, 0), *zip(window.pads[:rank], window.pads[rank:])]
    padded = np.pad(x, around, constant_values=fill)
    per_group, out = w.shape[1], w.shape[0] // window.group
    spans = [(k - 1) * d + 1 for k, d in zip(window.kernel, window.dilations)]
    grid = [(e - s) // t + 1 for e, s, t in zip(padded.shape[2:], spans, window.strides)]
    y = np.zeros((x.shape[0], w.shape[0], *grid), np.int64)
    for place in itertools.product(*map(range, grid)):
        cut = tuple(
            slice(p * t, p * t + s, d) for p, t, s, d in zip(place, window.strides, spans, window.dilations)
        )
        for o in range(w.shape[0]):
            g = o // out
            part = padded[(slice(None), slice(g * per_group, (g + 1) * per_group), *cut)]
            y[(slice(None), o, *place)] = (part * w[o]).reshape(x.shape[0], -1).sum(1)
    return y


@st.composite
def convolutions(draw):
    """A random grouped, dilated, strided, asymmetrically padded convolution with its input."""
    rank = draw(st.integers(1, 3))
    some = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(rank))  # noqa: E731
    group = draw(st.integers(1, 3))
    window = Window(
        kernel=some(1, 3),
        strides=some(1, 2),
        dilations=some(1, 2),
        pads=some(0, 2) + some(0, 2),
        group=group,
    )
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    per_group = draw(st.integers(1, 2))
    x = rng.integers(-9, 9, (2, group * per_group, *some(5, 7)))
    w = rng.integers(-9, 9, (group * draw(st.integers(1, 2)), per_group, *window.kernel))
    return x, w, window, draw(st.integers(-3, 3))


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_conv_is_patches_times_matrix(case):
    """Grouped, strided, dilated and padded convolutions of one to three axes, in integers."""
    x, w, window, fill = case
    geometry = SlidingWindow(weight_shape=w.shape, window=window)
    patches = geometry.patches(x, fill=fill)
    assert (patches.shape[0], patches.shape[2]) == geometry.patch_shape
    product = np.matmul(patches, geometry.to_matrix(w).transpose(0, 2, 1))
    expected = slow_conv(x, w, window, fill)
    grid = geometry.patch_grid(x.shape)
    assert expected.shape[2:] == grid
    found = product.reshape(window.group, 2, *grid, -1)
    found = np.moveaxis(np.moveaxis(found, -1, 1), 2, 0).reshape(expected.shape)
    np.testing.assert_array_equal(found, expected)


def test_positions_choose_rows():
    """Chosen positions are rows of all patches, in the order asked for, sample by sample."""
    window = Window(kernel=(3, 3), strides=(1, 1), dilations=(1, 1), pads=(1, 1, 1, 1), group=1)
    geometry = SlidingWindow(weight_shape=(4, 2, 3, 3), window=window)
    x = np.random.default_rng(0).standard_normal((2, 2, 5, 6)).astype(np.float32)
    everything = geometry.patches(x).reshape(2, 30, 18)
    chosen = geometry.patches(x, np.array([29, 0, 7]))
    assert chosen.dtype == np.float32
    np.testing.assert_array_equal(chosen.reshape(2, 3, 18), everything[:, [29, 0, 7]])


def test_conv_transpose_patches_are_channels():
    """One patch for each input position: the channels of a group."""
    window = Window(kernel=(2, 2), strides=(2, 2), dilations=(1, 1), pads=(0, 0, 0, 0), group=2)
    geometry = TransposedWindow(weight_shape=(4, 3, 2, 2), window=window)
    x = np.arange(2 * 4 * 3 * 2).reshape(2, 4, 3, 2)
    patches = geometry.patches(x)
    assert geometry.patch_shape == (2, 2) and geometry.patch_grid(x.shape) == (3, 2)
    np.testing.assert_array_equal(patches[1, 6 + 3], x[1, 2:, 1, 1])


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (2, 3, 4, 5)])
def test_matmul_rows(shape):
    """Rows of the activation times the weight, whatever the number of batch axes."""
    rng = np.random.default_rng(1)
    x, w = rng.integers(-9, 9, shape), rng.integers(-9, 9, (5, 7))
    geometry = MatrixProduct(weight_shape=w.shape)
    patches = geometry.patches(x)
    found = patches @ geometry.to_matrix(w).transpose(0, 2, 1)
    np.testing.assert_array_equal(found.reshape(*shape[:-1], 7), x @ w)
    assert geometry.patch_shape == (1, 5) and geometry.patch_grid(shape) == shape[1:-1]


def test_weight_on_the_left():
    """The columns of the activation are the patches."""
    rng = np.random.default_rng(2)
    x, w = rng.integers(-9, 9, (2, 5, 3)), rng.integers(-9, 9, (7, 5))
    geometry = MatrixProduct(weight_shape=w.shape, left=True)
    patches = geometry.patches(x)
    found = (patches @ geometry.to_matrix(w).transpose(0, 2, 1)).reshape(2, 3, 7)
    np.testing.assert_array_equal(found.swapaxes(1, 2), w @ x)
    assert geometry.patch_shape == (1, 5) and geometry.patch_grid(x.shape) == (3,)


def test_gemm_with_a_transposed_weight():
    """K is the last axis of a weight ``[out, in]``."""
    geometry = MatrixProduct(weight_shape=(7, 5), gemm=True, transposed=True)
    x = np.arange(10).reshape(2, 5)
    assert geometry.patch_shape == (1, 5)
    np.testing.assert_array_equal(geometry.patches(x)[0], x)


def multiplied(geometry, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Rows of the output by patches times matrix, ``[groups, rows, out]``."""
    matrix = geometry.to_matrix(w).transpose(0, 2, 1)
    patches = geometry.patches(x)
    if geometry.weight_shape[:-2] and len(matrix) > len(patches):  # each batch index has its matrix
        patches = patches.reshape(len(matrix), -1, patches.shape[-1])
    return patches @ matrix


def assembled(geometry, x: np.ndarray, w: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The output in its own shape from :func:`multiplied`."""
    rows = multiplied(geometry, x, w)
    if isinstance(geometry, SlidingWindow):
        return rows.reshape(2, 2, *like.shape[2:], -1).transpose(1, 0, 4, 2, 3).reshape(like.shape)
    if isinstance(geometry, TransposedWindow):  # every tap adds to the place it reaches
        window, (high, wide) = geometry.window, x.shape[2:]
        found = np.zeros_like(like)
        taps = rows.reshape(2, 2, high, wide, 3, *window.kernel).transpose(1, 0, 4, 2, 3, 5, 6)
        taps = taps.reshape(2, 6, high, wide, *window.kernel)
        for i, j, a, b in itertools.product(*map(range, (high, wide, *window.kernel))):
            found[:, :, i * window.strides[0] + a, j * window.strides[1] + b] += taps[:, :, i, j, a, b]
        return found
    if geometry.weight_input == 0:
        return rows.reshape(2, 3, 7).swapaxes(1, 2)
    return rows.reshape(like.shape)


def drawn(geometry, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Small whole numbers as input and weight, so that sums are exact in float32."""
    x, w = RNG.integers(-9, 9, shape), RNG.integers(-9, 9, geometry.weight_shape)
    return x.astype(np.float32), w.astype(np.float32)


@every_operator
def test_patches_times_matrix_are_the_operator(geometry, body, shape):
    """Every geometry computes what onnxruntime does, and its axes are those of the output."""
    x, w = drawn(geometry, shape)
    expected = computed(body, x, w)
    np.testing.assert_array_equal(assembled(geometry, x, w, expected), expected)
    assert expected.shape[geometry.output_axis] == geometry.output_channels
    groups, k = geometry.patch_shape
    assert geometry.patches(x).shape == (groups, shape[0] * np.prod(geometry.patch_grid(shape)), k)


@every_operator
def test_matrix_and_back(geometry, body, shape):
    """The matrix holds every weight once, by the channel that it belongs to."""
    w = np.arange(geometry.extents[0] * np.prod(geometry.extents[1:])).reshape(geometry.weight_shape)
    matrix, channels = geometry.to_matrix(w), geometry.row_channels()
    np.testing.assert_array_equal(geometry.from_matrix(matrix), w)
    assert channels.shape == matrix.shape[:2] and matrix.shape[2] == geometry.patch_shape[1]
    for channel in range(geometry.extents[geometry.channel_axis]):
        own = np.sort(matrix[channels == channel].reshape(-1))
        np.testing.assert_array_equal(own, np.sort(w.take(channel, geometry.channel_axis).reshape(-1)))


@every_operator
def test_factors_move_from_input_to_weight(geometry, body, shape):
    """Factors on input channels of the weight are factors on the channels of the input."""
    x, w = drawn(geometry, shape)
    factor = 2.0 ** RNG.integers(-2, 3, geometry.input_channels).astype(np.float32)
    axis = geometry.pair_axis[0]
    assert x.shape[axis] == geometry.input_channels == geometry.pair_axis[1]
    wide = [1] * x.ndim
    wide[axis] = -1
    expected = computed(body, x * factor.reshape(wide), w)
    np.testing.assert_array_equal(computed(body, x, geometry.times_inputs(w, factor)), expected)
    each = [geometry.times_inputs(w, np.eye(len(factor))[c]) ** 2 for c in range(len(factor))]
    np.testing.assert_array_equal(geometry.per_input(w**2), [part.sum() for part in each])
    np.testing.assert_array_equal(geometry.per_input(w**2, largest=True), [part.max() for part in each])


@every_operator
def test_factors_of_output_channels(geometry, body, shape):
    """Factors on output channels of the weight are factors on the output; groups may share a channel."""
    x, w = drawn(geometry, shape)
    factor = 2.0 ** RNG.integers(-2, 3, geometry.extents[geometry.channel_axis]).astype(np.float32)
    whole = np.tile(factor, geometry.output_channels // len(factor))
    expected = computed(body, x, w) * geometry.along_output(whole)
    np.testing.assert_array_equal(computed(body, x, geometry.times_outputs(w, factor)), expected)


def test_own_rows():
    """A bias can take up a mean error where a channel is one row of one matrix."""
    own = {name: geometry.has_own_rows() for name, (geometry, _, _) in OPERATORS.items()}
    shared = {"transposed convolution", "matmul by a stack", "two activations"}
    assert {name for name, alone in own.items() if not alone} == shared
    point = Window(kernel=(1,), strides=(1,), dilations=(1,), pads=(0, 0), group=1)
    assert TransposedWindow(weight_shape=(4, 3, 1), window=point).has_own_rows()


def test_embedding():
    """Entries are output channels, and nothing is multiplied by indices."""
    table = EmbeddingTable(weight_shape=(20, 8))
    w = np.arange(160).reshape(20, 8)
    np.testing.assert_array_equal(table.to_matrix(w), w[None])
    np.testing.assert_array_equal(table.from_matrix(w[None]), w)
    np.testing.assert_array_equal(table.row_channels(), [np.arange(20)])
    assert (table.channel_axis, table.weight_input, table.weight_count) == (0, 0, 160)
    assert not table.has_moments and not table.takes_bias


def test_moment_keys():
    """Layers share moments where they read the same patches of the same tensor."""
    wide = SlidingWindow(weight_shape=(9, 2, 3, 2), window=PADDED)
    slim = SlidingWindow(weight_shape=(6, 2, 3, 2), window=PADDED)
    assert wide.moment_key("t") == slim.moment_key("t") == "t|conv|3,2|2,1|1,2|1,0,2,1|2"
    assert TransposedWindow(weight_shape=(4, 3, 3, 2), window=SPREAD).moment_key("t") == "t|channels|2"
    assert MatrixProduct(weight_shape=(5, 7), gemm=True).moment_key("t") == "t|rows|-1"
    assert MatrixProduct(weight_shape=(7, 5), left=True).moment_key("t") == "t|rows|-2"
    assert not ActivationProduct(weight_shape=(None, 5, 7)).has_moments


def test_two_activations_have_no_weights():
    """Extents of the right operand may be unknown; none of its values is a weight."""
    product = ActivationProduct(weight_shape=(None, 5, 7))
    assert (product.weight_count, product.output_channels, product.patch_shape) == (0, 7, (1, 5))


def test_layout():
    """Layers share codes where one weight tensor makes the same matrix: strides do not matter, groups do."""
    still = Window(kernel=(3, 2), strides=(1, 1), dilations=(1, 1), pads=(0, 0, 0, 0), group=2)
    whole = Window(kernel=(3, 2), strides=(1, 1), dilations=(1, 1), pads=(0, 0, 0, 0), group=1)
    shape = (4, 2, 3, 2)
    layouts = [SlidingWindow(weight_shape=shape, window=w).layout for w in (PADDED, still, whole)]
    assert layouts[0] == layouts[1] != layouts[2]
    square = [MatrixProduct(weight_shape=(5, 5), **turn).layout for turn in ({}, {"left": True})]
    assert square[0] != square[1]
    assert TransposedWindow(weight_shape=shape, window=PADDED).layout != layouts[0]


def test_depthwise_and_padding():
    """Facts of windows that kernels and sampling ask for."""
    point = Window(kernel=(1,), strides=(1,), dilations=(1,), pads=(0, 0), group=4)
    assert SlidingWindow(weight_shape=(4, 1, 1), window=point).is_depthwise
    assert not SlidingWindow(weight_shape=(8, 1, 1), window=point).is_depthwise
    assert not SlidingWindow(weight_shape=(4, 1, 1), window=point).pads_input
    assert SlidingWindow(weight_shape=(6, 2, 3, 2), window=PADDED).pads_input
