"""Opset 11 and 12 to 13: every operator whose form or meaning changed."""

import numpy as np
import pytest

from tests.models import make_model


@pytest.mark.parametrize("opset", [11, 12])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [-1, 0, 1, 2, 3, -2])
def test_softmax_over_flattened_axes(check, opset, op, axis):
    """Before opset 13 Softmax runs over all axes from the given one on."""
    body = f"y = {op} <axis = {axis}> (x)"
    network = check(
        make_model(body, inputs="float[N, 3, 4, 5] x", outputs="float[N, 3, 4, 5] y", opset=opset)
    )
    assert network.model.graph.opset_imports[""] == 13
    assert network.notes == (f"converted from ONNX opset {opset} to 13",)


def test_softmax_default_axis_in_the_middle(check):
    """The default axis of opset 12 is 1; readers and outputs of the result stay connected."""
    body = "r = Relu (x)\n s = Softmax (r)\n y = Add (s, r)"
    check(make_model(body, inputs="float[N, 3, 4] x", outputs="float[N, 3, 4] y, float[N, 3, 4] s", opset=12))


@pytest.mark.parametrize("opset", [11, 12])
@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        ("y = Squeeze <axes = [1, -1]> (x)", "float[N, 5] y"),
        ("y = Squeeze (z)\n z = Relu (k)\n k = ReduceMax <axes = [0]> (x)", "float[P] y"),
        ("y = Unsqueeze <axes = [0, 3]> (x)", "float[1, N, 1, 1, 5, 1] y"),
        ("y = ReduceSum <axes = [2], keepdims = 0> (x)", "float[N, 1, 1] y"),
        ("y = ReduceSum (x)", "float[1, 1, 1, 1] y"),
        ("y, z = Split <axis = 2, split = [2, 3]> (x)", "float[N, 1, 2, 1] y, float[N, 1, 3, 1] z"),
        ("y = Dropout <ratio = 0.3> (x)", "float[N, 1, 5, 1] y"),
        ("y = ArgMax <axis = 2> (x)", "int64[N, 1, 1, 1] y"),
    ],
)
def test_attributes_that_became_inputs(check, body, outputs, opset):
    """Axes, splits and ratios move to where opset 13 has them, and the results are the same."""
    if "Squeeze (z)" in body:
        body = "\n".join(reversed(body.split("\n ")))
    if opset == 12 and "ratio" in body:
        body = "y = Dropout (x)"
    check(make_model(body, inputs="float[N, 1, 5, 1] x", outputs=outputs, opset=opset))


def test_subgraphs_are_converted_too(check):
    """Bodies of If follow the opset of the model."""
    body = """
      c = Greater (t, z)
      y = If (c) <
        then_branch = a () => (float[N, 5] p) { p = Squeeze <axes = [1]> (x) },
        else_branch = b () => (float[N, 5] q) {
          s = Softmax <axis = -1> (x)
          q = ReduceSum <axes = [1], keepdims = 0> (s)
        }
      >"""
    proto = make_model(
        body,
        inputs="float[N, 1, 5] x, float t",
        outputs="float[N, 5] y",
        weights={"z": np.array(0, np.float32)},
        opset=11,
    )
    for value in (-1, 1):
        network = check(proto, {"t": np.array(value, np.float32)})
    assert any("subgraphs stay in float" in note for note in network.notes)


@pytest.mark.parametrize("opset", range(11, 25))
def test_every_opset_loads(check, opset):
    """A small convolutional network in every opset from 11 up, with constants given as nodes."""
    body = """
      w = Constant <value = float[4, 4, 1, 1] {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}> ()
      c = Conv (x, w)
      r = Clip (c, lo, hi)
      p = MaxPool <kernel_shape = [2, 2]> (r)
      f = Flatten (p)
      y = Softmax <axis = -1> (f)
    """
    weights = {"lo": np.array(0, np.float32), "hi": np.array(6, np.float32)}
    check(make_model(body, outputs="float[N, F] y", weights=weights, opset=opset))
