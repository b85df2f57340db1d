"""Weights that several layers read are fitted once, and each layer keeps a bias of its own."""

from dataclasses import replace
from functools import partial

import numpy as np
import onnx
import pytest

from dybitq.emit.emit import emit
from dybitq.emit.prefix import prefix
from dybitq.fit.on_data import fit_on_data
from dybitq.fit.shared import joined_moment, sharing, with_codes_of
from dybitq.fit.weights.layers import LayerArrays
from dybitq.graph.export import to_bytes
from dybitq.plan.recipe import Rule, Settings
from dybitq.records.statistics import MomentKind
from tests.emit.cases import SAME, array
from tests.emit.toolkit import against_float, largest_difference, make, run, source
from tests.fit.conftest import moment_of
from tests.models import make_model

HEADS = make_model(
    """
      a = Conv <pads = [1, 1, 1, 1]> (x, w, b)
      p = Relu (a)
      m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (p)
      c = Conv <pads = [1, 1, 1, 1]> (m, w, b)
      n = Tanh (m)
      d = Conv <pads = [1, 1, 1, 1]> (n, w, e)
    """,
    outputs="float[N, 4, 9, 8] a, float[N, 4, 4, 4] c, float[N, 4, 4, 4] d",
    weights={"w": SAME, "b": array(4), "e": array(4, seed=1)},
)


@pytest.mark.parametrize("rounding", ["nearest", "compensated"])
@pytest.mark.parametrize("weights", ["dybit4", "auto4"])
def test_one_copy(weights, rounding, tmp_path):
    """Three layers, one set of codes and scales, biases of their own."""
    made = make(HEADS, tmp_path, weights=weights, rounding=rounding)
    fitted = list(made.fitted.weights.values())
    for other in fitted[1:]:
        np.testing.assert_array_equal(other.codes, fitted[0].codes)
        np.testing.assert_array_equal(other.scale, fitted[0].scale)
        assert (other.bias != fitted[0].bias).any()
    nodes = [n.op_type for n in onnx.load_model_from_string(made.model).graph.node]
    assert nodes.count("Unpack4") == 1
    assert made.ops["QLinearConv"] == 3
    assert largest_difference(made) < 2.01
    assert against_float(made) > 12


def test_layers_planned_differently_do_not_share(tmp_path):
    """A rule for one of them gives it codes of its own."""
    rules = (Rule(name="Conv_1", settings=Settings(weights="int3")),)
    made = make(HEADS, tmp_path, weights="dybit4", rules=rules)
    assert sharing(made.layers, made.plan) == {
        "Conv_0": ("Conv_0", "Conv_2"),
        "Conv_2": ("Conv_0", "Conv_2"),
    }
    assert made.fitted.weights["Conv_1"].format.name == "int3"


def test_layout_and_weight_decide(tmp_path):
    """Groups, transposition and another initializer keep layers apart."""
    proto = make_model(
        "a = Conv (x, w)\n b = Conv <group = 2> (a, v)\n c = Conv (b, u)\n f = Flatten (c)\n y = Flatten (f)",
        outputs="float[N, 168] y",
        weights={"w": SAME[:, :, :1, :1], "v": array(4, 2, 1, 1), "u": SAME[:, :, :1, :1] + 0},
    )
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    proto.graph.output[0].type.tensor_type.shape.dim.add().dim_param = "N"
    proto.graph.output[0].type.tensor_type.shape.dim.add().dim_param = "M"
    made = make(proto, tmp_path)
    assert sharing(made.layers, made.plan) == {}


def test_joined_moment():
    """Sums add at the poorer kind; what is missing does not count."""
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((1, 40, 6)), rng.standard_normal((1, 30, 6))
    both = joined_moment([moment_of(x), None, moment_of(z)])
    np.testing.assert_allclose(both.second, moment_of(np.concatenate([x, z], axis=1)).second)
    assert joined_moment([moment_of(x), moment_of(z, MomentKind.DIAGONAL)]).kind is MomentKind.DIAGONAL
    assert joined_moment([None, None]) is None


def test_own_bias(tmp_path):
    """The bias takes up the mean error over the layer's own inputs."""
    made = make(HEADS, tmp_path, weights="int2")
    layer, fitted = made.layers["Conv_0"], made.fitted.weights["Conv_0"]
    rng = np.random.default_rng(1)
    patches = rng.standard_normal((1, 300, 36)) + 0.5
    arrays = LayerArrays(weight=SAME, bias=array(4), input_scale=None)
    own = with_codes_of(fitted, layer, arrays, moment_of(patches), correct_bias=True)
    rounded = fitted.format.table[fitted.codes] * fitted.scale.reshape(-1, 1, 1, 1)
    wanted = (patches[0] @ layer.geometry.to_matrix(SAME)[0].T + array(4)).mean(axis=0)
    found = (patches[0] @ layer.geometry.to_matrix(rounded)[0].T + own.bias).mean(axis=0)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert with_codes_of(fitted, layer, replace(arrays, bias=None), None, correct_bias=True).bias is None


def test_on_data(tmp_path):
    """Fitted on what the quantized network feeds, they still share codes; each bias follows its own input."""
    rng = np.random.default_rng(2)
    batches = [{"x": rng.standard_normal((8, 4, 9, 8)).astype(np.float32)} for _ in range(3)]
    made = make(HEADS, tmp_path, weights="int3", batches=batches)
    build = partial(prefix, made.network, made.layers, made.plan)
    data = source(made.network, batches)
    fitted = fit_on_data(made.network, made.layers, made.plan, made.statistics, data, build)
    first, *others = fitted.weights.values()
    for other in others:
        np.testing.assert_array_equal(other.codes, first.codes)
    model = to_bytes(emit(made.network, made.layers, made.plan, fitted))
    for feeds in batches[:1]:
        exact, found = run(to_bytes(made.network.model), feeds), run(model, feeds)
        for name in exact:
            off = np.abs((found[name] - exact[name]).mean(axis=(0, 2, 3)))
            assert off.max() < 0.1 * exact[name].std()
