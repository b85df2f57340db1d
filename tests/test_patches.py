"""Patches times weight matrices give what the layers give, for every kind of layer."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dybitq.patches import extract_patches, patch_geometry, patch_grid, to_matrix
from dybitq.records.layers import LayerKind, LayerWork, Window


def layer_of(
    kind: LayerKind,
    weight_shape: tuple[int, ...],
    window: Window | None = None,
    *,
    on_left: bool = False,
    transposed: bool = False,
) -> LayerWork:
    """A layer with just what patches look at."""
    return LayerWork(
        name="l",
        kind=kind,
        op_type=kind.value,
        input="x",
        output="y",
        weight="w",
        bias=None,
        bias_node=None,
        weight_shape=weight_shape,
        channel_axis=0,
        weight_on_left=on_left,
        transposed=transposed,
        window=window,
        input_shape=(),
        output_shape=(),
        gemm=None,
        macs=None,
    )


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
    layer = layer_of(LayerKind.CONV, w.shape, window)
    patches = extract_patches(x, layer, fill=fill)
    assert (patches.shape[0], patches.shape[2]) == patch_geometry(layer)
    product = np.matmul(patches, to_matrix(w, layer).transpose(0, 2, 1))
    expected = slow_conv(x, w, window, fill)
    grid = patch_grid(x.shape, layer)
    assert expected.shape[2:] == grid
    found = product.reshape(window.group, 2, *grid, -1)
    found = np.moveaxis(np.moveaxis(found, -1, 1), 2, 0).reshape(expected.shape)
    np.testing.assert_array_equal(found, expected)


def test_positions_choose_rows():
    """Chosen positions are rows of all patches, in the order asked for, sample by sample."""
    window = Window(kernel=(3, 3), strides=(1, 1), dilations=(1, 1), pads=(1, 1, 1, 1), group=1)
    layer = layer_of(LayerKind.CONV, (4, 2, 3, 3), window)
    x = np.random.default_rng(0).standard_normal((2, 2, 5, 6)).astype(np.float32)
    everything = extract_patches(x, layer).reshape(2, 30, 18)
    chosen = extract_patches(x, layer, np.array([29, 0, 7]))
    assert chosen.dtype == np.float32
    np.testing.assert_array_equal(chosen.reshape(2, 3, 18), everything[:, [29, 0, 7]])


def test_conv_transpose_patches_are_channels():
    """One patch for each input position: the channels of a group."""
    window = Window(kernel=(2, 2), strides=(2, 2), dilations=(1, 1), pads=(0, 0, 0, 0), group=2)
    layer = layer_of(LayerKind.CONV_TRANSPOSE, (4, 3, 2, 2), window)
    x = np.arange(2 * 4 * 3 * 2).reshape(2, 4, 3, 2)
    patches = extract_patches(x, layer)
    assert patch_geometry(layer) == (2, 2) and patch_grid(x.shape, layer) == (3, 2)
    np.testing.assert_array_equal(patches[1, 6 + 3], x[1, 2:, 1, 1])


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (2, 3, 4, 5)])
def test_matmul_rows(shape):
    """Rows of the activation times the weight, whatever the number of batch axes."""
    rng = np.random.default_rng(1)
    x, w = rng.integers(-9, 9, shape), rng.integers(-9, 9, (5, 7))
    layer = layer_of(LayerKind.MATMUL, w.shape)
    patches = extract_patches(x, layer)
    found = patches @ to_matrix(w, layer).transpose(0, 2, 1)
    np.testing.assert_array_equal(found.reshape(*shape[:-1], 7), x @ w)
    assert patch_geometry(layer) == (1, 5) and patch_grid(shape, layer) == shape[1:-1]


def test_weight_on_the_left():
    """The columns of the activation are the patches."""
    rng = np.random.default_rng(2)
    x, w = rng.integers(-9, 9, (2, 5, 3)), rng.integers(-9, 9, (7, 5))
    layer = layer_of(LayerKind.MATMUL, w.shape, on_left=True)
    patches = extract_patches(x, layer)
    found = (patches @ to_matrix(w, layer).transpose(0, 2, 1)).reshape(2, 3, 7)
    np.testing.assert_array_equal(found.swapaxes(1, 2), w @ x)
    assert patch_geometry(layer) == (1, 5) and patch_grid(x.shape, layer) == (3,)


def test_gemm_with_a_transposed_weight():
    """K is the last axis of a weight ``[out, in]``."""
    layer = layer_of(LayerKind.GEMM, (7, 5), transposed=True)
    x = np.arange(10).reshape(2, 5)
    assert patch_geometry(layer) == (1, 5)
    np.testing.assert_array_equal(extract_patches(x, layer)[0], x)
