"""Passes with few cases each: global pooling, pads, per-channel constants, bias vectors, constants, names."""

import numpy as np
import onnx
import pytest

from dybitq.errors import ModelError
from dybitq.graph.export import to_bytes
from dybitq.graph.load import load
from dybitq.graph.survey import survey
from tests.models import make_model, run


def array(*shape: int) -> np.ndarray:
    """A random float32 array."""
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


# ------------------------------------------------------------------ global pooling


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", ["2, 3", "-1, -2"])
def test_spatial_mean_becomes_global_pooling(check, ops, opset, keep, axes):
    """Axes as attribute (below opset 18) and as input, positive and negative."""
    given = f"ReduceMean <keepdims = {keep}, axes = [{axes}]> (x)"
    if opset >= 18:
        given = f"ReduceMean <keepdims = {keep}> (x, a)"
    body = f"a = Constant <value_ints = [{axes}]> ()\n y = {given}"
    proto = make_model(body, outputs="float[N, 4, 1, 1] y" if keep else "float[N, 4] y", opset=opset)
    assert ops(check(proto)) == ["GlobalAveragePool"] + ([] if keep else ["Flatten"])


@pytest.mark.parametrize("axes", ["1", "2", "1, 2, 3", "0, 2, 3"])
def test_other_means_stay(check, ops, axes):
    """A mean over channels, the batch, or one spatial axis of two is something else."""
    body = f"y = ReduceMean <axes = [{axes}], keepdims = 1> (x)"
    assert ops(check(make_model(body))) == ["ReduceMean"]


def test_mean_of_a_sequence_is_a_pool_over_its_last_axis(check, ops):
    """Rank 3 works the same; the mean over the middle axis stays."""
    last = make_model(
        "y = ReduceMean <axes = [2]> (x)", inputs="float[N, 4, 6] x", outputs="float[N, 4, 1] y"
    )
    assert ops(check(last)) == ["GlobalAveragePool"]
    middle = make_model(
        "y = ReduceMean <axes = [1]> (x)", inputs="float[N, 4, 6] x", outputs="float[N, 1, 6] y"
    )
    assert ops(check(middle)) == ["ReduceMean"]


# ------------------------------------------------------------------ sums


def test_sum_of_two_is_an_add(check, ops):
    """Broadcasting included; three operands stay a Sum."""
    body = "y = Sum (x, k)\n z = Sum (x, x, k)"
    proto = make_model(
        body,
        inputs="float[N, 4] x",
        outputs="float[N, 4] y, float[N, 4] z",
        weights={"k": array(1, 4)},
    )
    assert ops(check(proto)) == ["Add", "Sum"]


# ------------------------------------------------------------------ pads


@pytest.mark.parametrize("opset", [13, 19])
def test_pad_joins_the_conv(check, ops, opset):
    """Zero padding in front of a Conv, as TensorFlow writes strided layers."""
    body = "p = Pad (x, a)\n y = Conv <pads = [1, 0, 0, 2], strides = [2, 2]> (p, w)"
    weights = {"a": np.array([0, 0, 0, 1, 0, 0, 2, 3]), "w": array(3, 4, 3, 3)}
    network = check(make_model(body, weights=weights, opset=opset))
    assert ops(network) == ["Conv"]
    assert survey(network)[0].geometry.window.pads == (1, 1, 2, 5)


@pytest.mark.parametrize(
    ("pad", "extra"),
    [
        ("Pad (x, a, v)", {"v": np.array(1, np.float32)}),
        ('Pad <mode = "reflect"> (x, a)', {}),
        ("Pad (x, c)", {"c": np.array([0, 1, 0, 1, 0, 0, 0, 0])}),
        ("Pad (x, n)", {"n": np.array([0, 0, -1, 1, 0, 0, 0, 0])}),
    ],
)
def test_other_pads_stay(check, ops, pad, extra):
    """Filled with something else, reflected, over channels, or cropping."""
    channels = 5 if "c" in extra else 4
    weights = {"a": np.array([0, 0, 0, 1, 0, 0, 2, 3]), "w": array(3, channels, 3, 3), **extra}
    assert ops(check(make_model(f"p = {pad}\n y = Conv (p, w)", weights=weights))) == ["Pad", "Conv"]


def test_pad_with_axes(check, ops):
    """Opset 18 names the padded axes."""
    body = "p = Pad (x, a, , s)\n y = Conv (p, w)"
    weights = {"a": np.array([1, 2, 0, 3]), "s": np.array([-1, 2]), "w": array(3, 4, 3, 3)}
    network = check(make_model(body, weights=weights, opset=18))
    assert ops(network) == ["Conv"]
    assert survey(network)[0].geometry.window.pads == (2, 1, 3, 0)


# ------------------------------------------------------------------ per-channel constants


@pytest.mark.parametrize(
    ("follow", "shape"),
    [
        ("Mul (c, k)", (3, 1, 1)),
        ("Mul (k, c)", (1, 3, 1, 1)),
        ("Add (c, k)", (1, 3, 1, 1)),
        ("Sub (c, k)", (3, 1, 1)),
        ("Sub (k, c)", (3, 1, 1)),
        ("Div (c, k)", (3, 1, 1)),
        ("Mul (c, k)", ()),
        ("Add (k, c)", (1,)),
    ],
)
@pytest.mark.parametrize("layer", ["Conv (x, w, b)", "Conv (x, w)", "ConvTranspose (x, v)"])
def test_channel_constants_fold(check, ops, layer, follow, shape):
    """Scale and shift per channel, or of the whole tensor, go into weight and bias."""
    weights = {"w": array(3, 4, 2, 2), "v": array(4, 3, 2, 2), "b": array(3), "k": array(*shape)}
    body = f"c = {layer}\n r = {follow}\n y = Relu (r)"
    assert ops(check(make_model(body, weights=weights))) == [layer.split()[0], "Relu"]


@pytest.mark.parametrize(
    ("follow", "shape"), [("Mul (c, k)", (7,)), ("Add (c, k)", (1, 3, 8, 1)), ("Div (k, c)", ())]
)
def test_other_constants_stay(check, ops, follow, shape):
    """Constants along a spatial axis, and reciprocals, are not the layer's business."""
    body = f"c = Conv (x, w)\n y = {follow}"
    weights = {"w": array(3, 4, 2, 2), "k": array(*shape)}
    assert len(ops(check(make_model(body, weights=weights), tolerance=1e-3))) == 2


def test_chain_of_constants_folds_completely(check, ops):
    """Mul, Add and BatchNormalization in a row end up in one Conv."""
    body = """
      c = Conv (x, w)
      n = BatchNormalization (c, k, k, k, v)
      m = Mul (n, s)
      a = Add (m, s)
      y = Relu (a)
    """
    weights = {"w": array(3, 4, 2, 2), "k": array(3), "v": array(3) ** 2, "s": array(3, 1, 1)}
    assert ops(check(make_model(body, weights=weights))) == ["Conv", "Relu"]


def test_matmul_keeps_its_add(check, ops):
    """The Add behind a MatMul is its bias, a vector, named by the survey."""
    body = "m = MatMul (x, w)\n y = Add (b, m)"
    weights = {"w": array(5, 7), "b": array(1, 1, 7)}
    network = check(make_model(body, inputs="float[N, S, 5] x", outputs="float[N, S, 7] y", weights=weights))
    assert ops(network) == ["MatMul", "Add"]
    (layer,) = survey(network)
    assert (layer.bias, layer.bias_node) == ("b", "Add_0")
    assert tuple(network.model.graph.initializers["b"].shape) == (7,)


# ------------------------------------------------------------------ names, constants, weights


def test_names_are_kept_or_counted(tmp_path):
    """Given names stay, missing ones count by operator, doubled ones are numbered."""
    proto = make_model(
        "a = Relu (x)\n b = Relu (a)\n c = Neg (b)\n y = Abs (c)", outputs="float[N, 4, 9, 8] y"
    )
    proto.graph.node[1].name = "twin"
    proto.graph.node[2].name = "twin"
    onnx.save(proto, tmp_path / "twins.onnx")
    network = load(tmp_path / "twins.onnx")
    run(to_bytes(network.model))
    assert [node.name for node in network.model.graph] == ["Relu_0", "twin", "twin_2", "Abs_0"]


def test_constant_nodes_of_every_kind(check, ops):
    """All attributes of Constant become initializers."""
    body = """
      a = Constant <value = float[1] {2}> ()
      b = Constant <value_float = 3.0> ()
      c = Constant <value_floats = [1.0, 2.0]> ()
      d = Constant <value_int = 1> ()
      e = Constant <value_ints = [2, 1]> ()
      p = Mul (x, a)
      q = Add (p, b)
      r = Mul (q, c)
      s = Unsqueeze (r, d)
      y = Tile (s, t)
      z = Reshape (r, e)
    """
    proto = make_model(
        body, inputs="float[2] x", outputs="float[2, 2] y, float[2, 1] z", weights={"t": np.array([1, 2])}
    )
    assert "Constant" not in ops(check(proto))


def test_dead_nodes_and_initializers_go(check, ops):
    """What no output depends on is dropped; graph inputs stay."""
    proto = make_model(
        "y = Relu (x)\n d = Neg (z)",
        inputs="float[N, 4] x, float[N] z",
        outputs="float[N, 4] y",
        weights={"unused": array(3)},
    )
    network = check(proto)
    assert ops(network) == ["Relu"]
    assert not network.model.graph.initializers


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("y = Conv (x, w)", {"w": array(3, 4, 2, 2)}),
        ("y = Conv (x, v, w)", {"v": array(3, 4, 2, 2), "w": array(3)}),
        ("c = Conv (x, v)\n y = BatchNormalization (c, w, w, w, w)", {"v": array(3, 4, 2, 2), "w": array(3)}),
    ],
)
def test_weights_that_are_not_finite_are_refused(check, body, weights, value):
    """The message names the tensor, the layer, the file and the count."""
    weights = {name: data.copy() for name, data in weights.items()}
    weights["w"].reshape(-1)[1] = value
    with pytest.raises(ModelError, match=r"model\.onnx: weight 'w' of layer .* holds 1 NaN or infinite"):
        check(make_model(body, weights=weights))


def test_infinite_mask_is_no_weight(check):
    """Minus infinity in an attention mask is right."""
    body = "m = Where (t, x, k)\n y = Softmax (m)"
    weights = {"k": np.array(-np.inf, np.float32), "t": np.array([True, True, False, True])}
    check(make_model(body, inputs="float[N, 4] x", outputs="float[N, 4] y", weights=weights))
