"""The survey: geometry, work and names of every kind of layer, checked by hand-counted examples."""

import numpy as np
import onnx
import pytest

from dybitq.errors import ConfigError
from dybitq.graph.load import load
from dybitq.graph.survey import survey
from dybitq.records.geometry.windows import Window
from tests.models import make_model


def array(*shape: int) -> np.ndarray:
    """A random float32 array."""
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


def test_grouped_dilated_asymmetric_conv(check):
    """Every number of the geometry, and the MACs counted by hand."""
    body = """
      y = Conv <group = 2, strides = [2, 1], dilations = [1, 2], pads = [1, 0, 2, 3]> (x, w, b)
    """
    network = check(make_model(body, weights={"w": array(6, 2, 3, 2), "b": array(6)}))
    (layer,) = survey(network)
    assert layer.geometry.window == Window(
        kernel=(3, 2), strides=(2, 1), dilations=(1, 2), pads=(1, 0, 2, 3), group=2
    )
    assert (layer.geometry.kind, layer.geometry.channel_axis, layer.bias) == ("conv", 0, "b")
    assert layer.input_shape == (None, 4, 9, 8)
    assert layer.output_shape == (None, 6, 5, 9)
    assert layer.gemm == (2, 5 * 9, 2 * 6, 3)
    assert layer.macs == 5 * 9 * 6 * 2 * 3 * 2


def test_depthwise_and_1d(check):
    """A depthwise Conv over sequences."""
    proto = make_model(
        "y = Conv <group = 4> (x, w)",
        inputs="float[N, 4, 10] x",
        outputs="float[N, 4, 8] y",
        weights={"w": array(4, 1, 3)},
    )
    (layer,) = survey(check(proto))
    assert layer.gemm == (4, 8, 3, 1)


def test_conv_transpose(check):
    """Every input place meets every output channel and tap."""
    body = "y = ConvTranspose <strides = [2, 2], group = 2> (x, w)"
    (layer,) = survey(check(make_model(body, weights={"w": array(4, 3, 2, 2)})))
    assert layer.gemm == (2, 9 * 8, 2, 3 * 4)
    assert layer.geometry.channel_axis == 1
    assert layer.output_shape == (None, 6, 18, 16)


def test_gemm_counts_one_sample(check):
    """A dynamic leading extent is the batch: one row."""
    body = "f = Flatten (x)\n y = Gemm <transB = 1> (f, w, b)"
    proto = make_model(body, outputs="float[N, 7] y", weights={"w": array(7, 288), "b": array(7)})
    (layer,) = survey(check(proto))
    assert (layer.gemm, layer.geometry.transposed, layer.geometry.channel_axis) == ((1, 1, 288, 7), True, 0)
    assert layer.input_shape == (None, 288)


@pytest.mark.parametrize("sequence", [3, 17])
def test_attention(check, sequence):
    """Weights count rows, products of activations count heads, once the sequence length is bound."""
    body = """
      q = MatMul (x, w)
      s = Reshape (q, heads)
      t = Transpose <perm = [0, 2, 1, 3]> (s)
      u = Transpose <perm = [0, 2, 3, 1]> (s)
      y = MatMul (t, u)
    """
    weights = {"w": array(6, 6), "heads": np.array([0, 0, 2, 3])}
    proto = make_model(body, inputs="float[N, S, 6] x", outputs="float[N, 2, S, S] y", weights=weights)
    network = check(proto)
    assert [layer.macs for layer in survey(network)] == [None, None]
    query, scores = survey(network, {"x": (4, sequence, 6)})
    assert query.gemm == (1, sequence, 6, 6)
    assert query.input_shape == (4, sequence, 6)
    assert (scores.geometry.kind, scores.gemm) == ("matmul_dynamic", (2, sequence, 3, sequence))
    assert (scores.input, scores.weight, scores.weight_count) == ("t", "u", 0)


def test_weight_on_the_left(check):
    """Rows of the weight are the output channels; there is no bias to report."""
    body = "m = MatMul (w, x)\n y = Add (m, b)"
    proto = make_model(
        body,
        inputs="float[N, 5, 7] x",
        outputs="float[N, 3, 7] y",
        weights={"w": array(3, 5), "b": array(7)},
    )
    (layer,) = survey(check(proto))
    assert (layer.geometry.left, layer.geometry.channel_axis, layer.bias) == (True, 0, None)
    assert layer.gemm == (1, 7, 5, 3)


def test_batched_weight(check):
    """A weight per head is one group per matrix."""
    proto = make_model(
        "y = MatMul (x, w)",
        inputs="float[N, 2, 4, 5] x",
        outputs="float[N, 2, 4, 3] y",
        weights={"w": array(2, 5, 3)},
    )
    (layer,) = survey(check(proto))
    assert layer.gemm == (2, 4, 5, 3)
    assert layer.geometry.channel_axis == 2


def test_vector_weight_is_named(check):
    """A MatMul with a vector has no output channels."""
    proto = make_model(
        "y = MatMul (x, w)", inputs="float[N, 4, 5] x", outputs="float[N, 4] y", weights={"w": array(5)}
    )
    network = check(proto)
    assert survey(network) == ()
    assert any("is a vector" in note for note in network.notes)


def test_embedding(check):
    """A float matrix that Gather reads by rows; other Gathers are none."""
    body = "y = Gather (w, i)\n z = Gather <axis = 1> (w, i)\n k = Gather (v, i)"
    proto = make_model(
        body,
        inputs="int64[N, S] i",
        outputs="float[N, S, 4] y, float[6, N, S] z, int64[N, S] k",
        weights={"w": array(6, 4), "v": np.arange(6)},
    )
    (layer,) = survey(check(proto))
    assert (layer.geometry.kind, layer.geometry.channel_axis) == ("gather", 0)
    assert (layer.input, layer.macs) == ("i", 0)
    assert layer.output_shape == (None, None, 4)


def test_computed_weights_are_named(check):
    """A Conv whose weight is an input is no weighted layer."""
    body = "y = Conv (x, w)"
    proto = make_model(body, inputs="float[N, 4, 9, 8] x, float[6, 4, 3, 3] w")
    network = check(proto)
    assert survey(network) == ()
    assert any("its weight is computed at run time" in note for note in network.notes)


def test_shared_weight_keeps_one_name(check):
    """Two layers that share a weight both name it."""
    body = "a = Conv (x, w)\n b = Relu (x)\n c = Conv (b, w)\n y = Add (a, c)"
    first, second = survey(check(make_model(body, weights={"w": array(6, 4, 3, 3)})))
    assert first.weight == second.weight == "w"


def test_order_is_topological(tmp_path):
    """Layers come in the order in which they can run."""
    proto = make_model("y = Conv (a, w)\n a = Conv (x, w)", weights={"w": array(4, 4, 3, 3)})
    onnx.save(proto, tmp_path / "m.onnx")
    assert [layer.output for layer in survey(load(tmp_path / "m.onnx"))] == ["a", "y"]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": (1, 4, 9, 8)}, "'z', but the model has no such input; inputs: x"),
        ({"x": (1, 3, 9, 8)}, r"gives 'x' \[1, 3, 9, 8\], but the model declares \[None, 4, 9, 8\]"),
        ({"x": (1, 4, 9)}, "but the model declares"),
    ],
)
def test_wrong_bindings(check, shapes, message):
    """A misspelt input and a contradicting shape are configuration errors."""
    network = check(make_model("y = Conv (x, w)", weights={"w": array(6, 4, 3, 3)}))
    with pytest.raises(ConfigError, match=message):
        survey(network, shapes)


def test_dynamic_space(check):
    """Unknown spatial extents leave the MACs open until they are bound."""
    proto = make_model("y = Conv (x, w)", inputs="float[N, 4, H, W] x", weights={"w": array(6, 4, 3, 3)})
    network = check(proto)
    assert survey(network)[0].macs is None
    assert survey(network, {"x": (8, 4, 5, 6)})[0].macs == 3 * 4 * 6 * 36


def test_matrices_of_every_layer_round_trip(check):
    """The survey's geometry fits the weight matrices of ``patches``: k is the length of a row."""
    body = """
      a = Conv <group = 2> (x, w)
      b = ConvTranspose (a, v)
      f = Flatten (b)
      y = MatMul (f, u)
    """
    weights = {"w": array(6, 2, 3, 3), "v": array(6, 2, 2, 2), "u": array(112, 5)}
    network = check(make_model(body, outputs="float[N, 5] y", weights=weights))
    for layer in survey(network):
        matrix = layer.geometry.to_matrix(weights[layer.weight])
        groups, _, k, n = layer.gemm
        assert matrix.shape == (groups, n, k)
        np.testing.assert_array_equal(layer.geometry.from_matrix(matrix), weights[layer.weight])


ZOO_MACS = {  # the zoo's README, in millions
    "mnist_cnn": 0.8,
    "kws_dscnn": 2.7,
    "resnet8_cifar10": 12.5,
    "resnet20_cifar10": 40.6,
    "mobilenet_v2_cifar10lp": 97.8,
    "mobilenet_v1_075_224": 325,
    "squeezenet1_1": 349,
    "yolox_nano": 523,
}


@pytest.mark.parametrize("name", ZOO_MACS)
def test_zoo_macs(zoo, name):
    """MACs of real networks as their README gives them."""
    layers = survey(load(zoo / "models" / f"{name}.onnx"))
    assert sum(layer.macs for layer in layers) / 1e6 == pytest.approx(ZOO_MACS[name], rel=0.02)
