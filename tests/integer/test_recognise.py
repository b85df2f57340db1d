"""What operators become in integer-only arithmetic, which encodings they share, why some stay in float."""

import numpy as np
import onnx
import pytest

from dybitq.graph.load import load
from dybitq.graph.survey import survey
from dybitq.integer.operators.concat import ConcatStep
from dybitq.integer.recognise import integer_steps
from tests.models import make_model

W = np.ones((6, 4, 3, 3), np.float32)
V = np.ones((3, 6, 1, 1), np.float32)


PICTURE = "float[N, 4, 9, 8] x"


def steps_of(tmp_path, body, *, quantized=None, inputs=PICTURE, outputs="float[N, A, B, C] y", **weights):
    """Steps of a network in ONNX text."""
    arrays = {name: array for name, array in {"w": W, "v": V, **weights}.items() if f" {name}" in body}
    onnx.save(make_model(body, inputs=inputs, outputs=outputs, weights=arrays), tmp_path / "m.onnx")
    network = load(tmp_path / "m.onnx")
    layers = {layer.name: layer for layer in survey(network)}
    return integer_steps(network.model, layers, frozenset(layers if quantized is None else quantized))


def kinds(steps):
    """Names of the steps' records in order, without ``Step``."""
    return [type(step).__name__.removesuffix("Step").lower() for step in steps.steps]


def test_clamps_belong_to_what_they_clamp(tmp_path):
    """The only reader of a layer's output disappears into it; one of several stays a step."""
    alone = steps_of(tmp_path, "c = Conv (x, w)\n d = Relu (c)\n y = Conv (d, v)")
    assert kinds(alone) == ["quantize", "layer", "layer"]
    assert alone.bounds == {"d": (0.0, np.inf)} and alone.encodings == ("x", "d", "y")
    shared = steps_of(
        tmp_path, "c = Conv (x, w)\n d = Relu (c)\n e = Conv (c, v)\n f = Conv (d, v)\n y = Add (e, f)"
    )
    assert kinds(shared) == ["quantize", "layer", "clamp", "layer", "layer", "add"]
    assert shared.roots["d"] == "c"


def test_one_function_of_one_tensor_is_one_table(tmp_path):
    """SiLU is a look-up; what inside it is read elsewhere gets a table of its own."""
    silu = steps_of(tmp_path, "c = Conv (x, w)\n s = Sigmoid (c)\n y = Mul (c, s)")
    assert kinds(silu) == ["quantize", "layer", "lookup"]
    function = silu.steps[-1].response
    assert function is not None
    np.testing.assert_allclose(function(np.array([0.0, 2.0])), [0, 2 / (1 + np.exp(-2.0))], rtol=1e-6)
    body = "c = Conv (x, w)\n s = Sigmoid (c)\n m = Mul (c, s)\n"
    body += "d = Conv (s, v)\n e = Conv (m, v)\n y = Add (d, e)"
    both = steps_of(tmp_path, body)
    assert kinds(both) == ["quantize", "layer", "lookup", "lookup", "layer", "layer", "add"]
    assert not both.responses  # two tables read c


def test_functions_of_two_tensors_are_no_table(tmp_path):
    """A gate on another tensor is a multiplication."""
    body = "c = Conv (x, w)\n d = Conv (x, w)\n s = Sigmoid (d)\n y = Mul (c, s)"
    assert kinds(steps_of(tmp_path, body)) == ["quantize", "layer", "layer", "lookup", "multiply"]


def test_branches_take_the_encoding_of_their_concat(tmp_path):
    """Read by the Concat alone, through a MaxPool too: joining is a move."""
    body = (
        "c = Conv (x, w)\n d = Relu (c)\n p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (d)\n"
        "e = Conv <strides = [2,2], pads = [0,0,0,0]> (x, w)\n s = Slice (e, i, j, k)\n"
        "f = Concat <axis = 1> (p, s)\n y = Conv (f, u)"
    )
    found = steps_of(
        tmp_path,
        body,
        i=np.array([0, 0], np.int64),
        j=np.array([3, 3], np.int64),
        k=np.array([2, 3], np.int64),
        u=np.ones((3, 12, 1, 1), np.float32),
    )
    assert {found.roots[name] for name in ("d", "p", "e", "s", "f")} == {"f"}
    assert not any(isinstance(step, ConcatStep) for step in found.steps)


def test_outputs_are_joined_behind_the_dequantizers(tmp_path):
    """A Concat that only the output reads does not force one step on boxes and probabilities."""
    body = "c = Conv (x, w)\n s = Sigmoid (c)\n d = Conv (x, w)\n"
    body += "e = Concat <axis = 1> (s, d)\n y = Transpose (e)"
    found = steps_of(tmp_path, body)
    assert kinds(found)[-2:] == ["tail", "tail"]
    assert {"s", "d"} <= set(found.encodings) and "e" not in found.roots


def test_last_sums_stay_accumulators(tmp_path):
    """A classifier and a mean at the end hand out their int32 sums, through a Flatten too."""
    body = "c = Conv (x, w)\n d = GlobalAveragePool (c)\n y = Flatten (d)"
    found = steps_of(tmp_path, body, outputs="float[N, 6] y")
    assert found.accumulators == {"y": "d", "d": "d"} and found.encodings == ("x", "c")


@pytest.mark.parametrize(
    ("body", "op_type", "reason"),
    [
        ("c = Conv (x, w)\n y = Softmax (c)", "Softmax", "Softmax has no integer form here"),
        (
            "c = Conv (x, w)\n y = AveragePool <kernel_shape = [7,7], pads = [6,6,6,6]> (c)",
            "AveragePool",
            "its windows differ in size, and the extents are unknown or the regions too many",
        ),
        (
            'c = Conv (x, w)\n y = Resize <mode = "cubic"> (c, , s)',
            "Resize",
            "only nearest, and linear by whole factors, are integer arithmetic here",
        ),
        ("c = Conv (x, w)\n m = Softmax (c)\n y = Add (m, c)", "Add", "its input 'm' is float"),
        (
            "y = ConvTranspose <strides = [2,3]> (x, t)",
            "ConvTranspose",
            "only transposed convolutions of pictures with one stride and no dilation are integer",
        ),
    ],
)
def test_what_stays_in_float_says_why(body, op_type, reason, tmp_path):
    """The operator, and a reason that names what is in the way."""
    found = steps_of(
        tmp_path, body, s=np.array([1, 1, 2, 2], np.float32), t=np.ones((4, 2, 3, 3), np.float32)
    )
    assert (op_type, reason) in [(step.op_type, step.reason) for step in found.float_steps]


def test_means_over_an_unknown_space_stay_in_float(tmp_path):
    """The reciprocal has to be known beforehand."""
    body = "c = Conv (x, w)\n y = GlobalAveragePool (c)"
    found = steps_of(tmp_path, body, inputs="float[N, 4, H, W] x")
    assert [step.reason for step in found.float_steps] == ["the extent of the space is not known beforehand"]


def test_layers_that_the_plan_leaves_alone_stay_in_float(tmp_path):
    """What follows them is quantized again."""
    body = "c = Conv (x, w)\n d = Relu (c)\n y = Conv (d, v)"
    found = steps_of(tmp_path, body, quantized=("Conv_1",))
    assert [(step.name, step.reason) for step in found.float_steps] == [
        ("Conv_0", "the plan leaves it in float"),
        ("Relu_0", "its input 'c' is float"),
    ]
    assert kinds(found) == ["float", "float", "quantize", "layer"]
