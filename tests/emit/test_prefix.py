"""The quantized network up to one tensor."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from dybitq.emit.prefix import prefix
from dybitq.graph.export import to_bytes
from dybitq.records.fitted import Fitted
from tests.emit.toolkit import make, run
from tests.models import make_model

RNG = np.random.default_rng(0)


@pytest.fixture
def made(tmp_path):
    """Three convolutions, the second beside a branch that is added back."""
    weights = {
        "w": RNG.standard_normal((6, 4, 3, 3)).astype(np.float32),
        "v": RNG.standard_normal((6, 6, 1, 1)).astype(np.float32),
        "u": RNG.standard_normal((3, 6, 1, 1)).astype(np.float32),
    }
    proto = make_model(
        "a = Conv <pads = [1, 1, 1, 1]> (x, w)\n b = Relu (a)\n c = Conv (b, v)\n d = Add (c, b)\n"
        "y = Conv (d, u)",
        inputs="float[2, 4, 9, 8] x",
        outputs="float[2, 3, 9, 8] y",
        weights=weights,
    )
    return make(proto, tmp_path, weights="int4", rounding="nearest")


def part(made, tensor: str, count: int) -> onnx.ModelProto:
    """The prefix up to ``tensor`` with the first ``count`` layers fitted."""
    kept = dict(list(made.fitted.weights.items())[:count])
    fitted = replace(made.fitted, weights=kept)
    return onnx.load_model_from_string(prefix(made.network, made.layers, made.plan, fitted, tensor))


@pytest.mark.parametrize("tensor", ["b", "c", "d", "y"])
def test_a_prefix_computes_what_the_whole_does(made, tensor):
    """With all layers fitted it is the emitted model, cut off: the same tensor, bit for bit."""
    whole = onnx.load_model_from_string(made.model)
    cut = part(made, tensor, 3)
    assert [output.name for output in cut.graph.output] == [tensor]
    assert len(cut.graph.node) <= len(whole.graph.node)
    expected = onnx.load_model_from_string(made.model)
    if tensor != "y":
        expected.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    found = run(cut.SerializeToString(), made.feeds, optimize=False)[tensor]
    np.testing.assert_array_equal(
        found, run(expected.SerializeToString(), made.feeds, optimize=False)[tensor]
    )


def test_layers_without_arrays_stay_in_float(made):
    """What is not fitted yet multiplies its float weights; the edges before it are rounded all the same."""
    names = {t.name for t in part(made, "c", 1).graph.initializer}
    assert "v" in names and "w" not in names and "u" not in names
    assert {"v", "w"} <= {t.name for t in part(made, "c", 0).graph.initializer}


def test_nothing_fitted_is_the_float_network(made):
    """Without edges and weights the prefix is the float network itself."""
    empty = prefix(made.network, made.layers, made.plan, Fitted(), "y")
    expected = run(to_bytes(made.network.model), made.feeds, optimize=False)["y"]
    np.testing.assert_array_equal(run(empty, made.feeds, optimize=False)["y"], expected)
