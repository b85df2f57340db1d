"""Models of every age and storage: opsets, IR versions, half precision, external data, odd shapes."""

import numpy as np
import onnx
import pytest

from dybitq.records.plan import ActivationMode
from tests.emit.cases import SAME, W1, W3, W, array
from tests.emit.toolkit import against_float, largest_difference, make, run
from tests.models import make_model

BODY = """
  a = Conv (x, w, b)
  r = Relu (a)
  p = MaxPool <kernel_shape = [2, 2]> (r)
  c = Conv (p, v)
  g = GlobalAveragePool (c)
  f = Flatten (g)
  y = Gemm <transB = 1> (f, u, d)
"""
WEIGHTS = {"w": W, "b": array(6), "v": W3, "u": array(7, 5), "d": array(7)}


@pytest.mark.parametrize("opset", range(11, 24))
def test_opsets(opset, tmp_path):
    """From 11 to the newest that is in use, with packed weights, on the integer kernels."""
    ir_version = 6 if opset < 13 else 8 if opset < 19 else 10
    proto = make_model(BODY, outputs="float[N, 7] y", weights=WEIGHTS, opset=opset, ir_version=ir_version)
    made = make(proto, tmp_path, weights="dybit4")
    assert (made.ops["QLinearConv"], made.ops["QGemm"]) == (2, 1)
    assert largest_difference(made) < 1.01
    written = {entry.domain: entry.version for entry in onnx.load_model_from_string(made.model).opset_import}
    assert written == {"": max(opset, 13), "dybitq": 1}


@pytest.mark.parametrize("ir_version", [4, 7, 10, 11])
def test_ir_versions(ir_version, tmp_path):
    """The result is IR version 10: node metadata came with it."""
    proto = make_model(BODY, outputs="float[N, 7] y", weights=WEIGHTS, opset=13, ir_version=ir_version)
    made = make(proto, tmp_path, weights="int5")
    assert onnx.load_model_from_string(made.model).ir_version == 10
    assert largest_difference(made) < 2.01


def test_weights_listed_as_inputs(tmp_path):
    """The custom of IR version 3: every initializer is an input too, and is a constant all the same."""
    proto = make_model(
        "a = Conv (x, w)\n r = Relu (a)\n y = Conv (r, v)", weights={"w": W, "v": W3}, opset=11
    )
    proto.ir_version = 3
    for tensor in proto.graph.initializer:
        shape = list(tensor.dims)
        proto.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, shape))
    made = make(proto, tmp_path, weights="int4", batches=[{"x": np.ones((2, 4, 9, 8), np.float32)}])
    assert [value.name for value in onnx.load_model_from_string(made.model).graph.input] == ["x"]
    assert made.ops["QLinearConv"] == 2


def test_weight_that_callers_may_override(tmp_path):
    """Such a layer stays as it is, and the override still works."""
    proto = make_model("a = Conv (x, w)\n r = Relu (a)\n y = Conv (r, v)", weights={"w": W, "v": W3})
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, W.shape))
    x = np.random.default_rng(0).standard_normal((2, 4, 9, 8)).astype(np.float32)
    made = make(proto, tmp_path, weights="int4", batches=[{"x": x}])
    assert set(made.fitted.weights) == {"Conv_1"}
    plain, changed = run(made.model, {"x": x})["y"], run(made.model, {"x": x, "w": 0 * W})["y"]
    assert np.abs(plain - changed).max() > 0.1


@pytest.mark.parametrize("kind", [np.float16])
@pytest.mark.parametrize("activations", ["auto", "float"])
def test_half_precision(kind, activations, tmp_path):
    """Inputs and outputs keep their type, the inside runs on integer kernels."""
    proto = make_model(
        BODY,
        inputs="float16[N, 4, 9, 8] x",
        outputs="float16[N, 7] y",
        weights={name: value.astype(kind) for name, value in WEIGHTS.items()},
    )
    made = make(proto, tmp_path, weights="dybit4", activations=activations)
    graph = onnx.load_model_from_string(made.model).graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    assert made.ops["QLinearConv"] == (2 if activations == "auto" else 0)
    found = run(made.model, made.feeds)["y"]
    assert found.dtype == np.float16 and np.isfinite(found).all()


def test_external_data(tmp_path):
    """Weights beside the model are read, and the result is one file."""
    proto = make_model(BODY, outputs="float[N, 7] y", weights=WEIGHTS)
    path = tmp_path / "external.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="external.bin", size_threshold=0)
    before = (path.read_bytes(), (tmp_path / "external.bin").read_bytes())
    made = make(path, tmp_path, weights="dybit3")
    assert (path.read_bytes(), (tmp_path / "external.bin").read_bytes()) == before
    graph = onnx.load_model_from_string(made.model).graph
    assert not any(tensor.external_data for tensor in graph.initializer)
    assert largest_difference(made) < 1.01


def test_dynamic_shapes_stay_dynamic(tmp_path):
    """Batch and image size are open in the result, and other sizes than those of calibration run."""
    proto = make_model(
        'a = Conv (x, w)\n r = Relu (a)\n z = Resize <mode = "nearest"> (r, , f)\n y = Conv (z, v)',
        inputs="float[N, 4, H, W] x",
        weights={"w": W, "v": W1, "f": np.array([1, 1, 2, 2], np.float32)},
    )
    made = make(proto, tmp_path, weights="int4")
    shape = onnx.load_model_from_string(made.model).graph.input[0].type.tensor_type.shape
    assert [d.dim_param or d.dim_value for d in shape.dim] == ["N", 4, "H", "W"]
    for size in ((1, 4, 3, 3), (2, 4, 20, 11)):
        assert run(made.model, {"x": np.ones(size, np.float32)})["y"].shape[0] == size[0]


def test_unknown_rank(tmp_path):
    """Ranks that only the run knows do no harm."""
    proto = make_model(
        "s = Reshape (x, k)\n a = Conv (s, w)\n r = Relu (a)\n y = Conv (r, v)",
        inputs="float[N, 4, 9, 8] x, int64[R] k",
        weights={"w": W, "v": W3},
    )
    x = np.random.default_rng(0).standard_normal((2, 4, 9, 8)).astype(np.float32)
    made = make(proto, tmp_path, weights="dybit4", batches=[{"x": x, "k": np.array([2, 4, 8, 9])}])
    assert made.ops["QLinearConv"] == 2
    assert largest_difference(made) < 1.01


def test_fixed_batch(tmp_path):
    """A batch size that the model fixes is kept."""
    proto = make_model(
        "a = Conv (x, w)\n y = Relu (a)",
        inputs="float[3, 4, 9, 8] x",
        outputs="float[3, 6, 7, 6] y",
        weights={"w": W},
    )
    made = make(proto, tmp_path, weights="dybit4")
    assert run(made.model, made.feeds)["y"].shape == (3, 6, 7, 6)


def test_empty_batch(tmp_path):
    """No sample in, no sample out."""
    proto = make_model("a = Conv (x, w)\n r = Relu (a)\n y = Tanh (r)", weights={"w": W})
    made = make(proto, tmp_path, weights="dybit4")
    assert run(made.model, {"x": np.zeros((0, 4, 9, 8), np.float32)})["y"].shape[0] == 0


def test_values_outside_what_calibration_saw(tmp_path):
    """Far outliers and infinities saturate; NaN does not crash."""
    proto = make_model("a = Conv (x, w)\n r = Relu (a)\n y = Conv (r, v)", weights={"w": W, "v": W3})
    made = make(proto, tmp_path, weights="int4")
    x = np.random.default_rng(0).standard_normal((1, 4, 9, 8)).astype(np.float32)
    for extreme in (1e30, -1e30, np.inf, -np.inf):
        found = run(made.model, {"x": np.where(np.abs(x) > 1, np.float32(extreme), x)})["y"]
        assert np.isfinite(found).all()


def test_layers_in_subgraphs_are_left_alone(tmp_path):
    """A convolution in the branch of an If keeps its float weights, which the branch reads from outside."""
    body = """
      c = Conv <pads = [1, 1, 1, 1]> (x, w)
      y = If (k) <
        then_branch = yes () => (float[N, 4, 9, 8] o) { o = Conv <pads = [1, 1, 1, 1]> (c, w) },
        else_branch = no () => (float[N, 4, 9, 8] p) { p = Neg (c) }
      >
    """
    proto = make_model(
        body, inputs="bool k, float[N, 4, 9, 8] x", outputs="float[N, 4, 9, 8] y", weights={"w": SAME}
    )
    made = make(proto, tmp_path, weights="int8")
    assert [layer.activations for layer in made.plan.layers] == [ActivationMode.STATIC]
    assert any("If" in note for note in made.network.notes)
    for branch in (True, False):
        feeds = {**made.feeds, "k": np.array(branch)}
        assert np.isfinite(run(made.model, feeds)["y"]).all()
    assert against_float(made) > 30
