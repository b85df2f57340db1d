"""What is folded, and what survives on purpose."""

import numpy as np
import pytest

from dybitq.graph.survey import survey
from tests.models import make_model


def array(*shape: int) -> np.ndarray:
    """A random float32 array."""
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def test_weight_computed_from_constants(check, ops):
    """A weight behind Transpose, Mul and Cast becomes one initializer that the survey sees."""
    body = "h = Cast <to = 1> (w)\n t = Transpose <perm = [1, 0]> (h)\n s = Mul (t, k)\n y = MatMul (x, s)"
    weights = {"w": array(7, 5).astype(np.float16), "k": np.array(0.5, np.float32)}
    network = check(make_model(body, inputs="float[N, 5] x", outputs="float[N, 7] y", weights=weights))
    assert ops(network) == ["MatMul"]
    (layer,) = survey(network)
    assert layer.weight_shape == (5, 7)


def test_static_shape_folds(check, ops):
    """Shape of a tensor whose extents are all known is a constant, and so is what follows from it."""
    body = """
      c = Conv (x, w)
      s = Shape (c)
      i = Constant <value_ints = [1]> ()
      d = Gather (s, i)
      m = Constant <value_ints = [-1]> ()
      t = Concat <axis = 0> (m, d)
      y = Reshape (c, t)
    """
    proto = make_model(
        body, inputs="float[2, 4, 9, 8] x", outputs="float[P, Q] y", weights={"w": array(3, 4, 2, 2)}
    )
    assert ops(check(proto)) == ["Conv", "Reshape"]


def test_dynamic_shape_survives(check, ops):
    """The same with a dynamic batch stays and works for any batch."""
    body = """
      c = Conv (x, w)
      s = Shape (c)
      i = Constant <value_ints = [0]> ()
      d = Gather (s, i)
      m = Constant <value_ints = [-1]> ()
      t = Concat <axis = 0> (d, m)
      y = Reshape (c, t)
    """
    proto = make_model(body, outputs="float[N, Q] y", weights={"w": array(3, 4, 2, 2)})
    assert ops(check(proto)) == ["Conv", "Shape", "Gather", "Concat", "Reshape"]
    check(proto, {"x": array(3, 4, 9, 8)})


def test_stale_declared_shapes_are_not_believed(check, ops):
    """A batch made dynamic by hand leaves wrong shapes behind in the file; they must not be folded in."""
    body = "c = Relu (x)\n s = Shape (c)\n y = Reshape (c, s)"
    proto = make_model(body, inputs="float[N, 4] x", outputs="float[N, 4] y")
    stale = proto.graph.value_info.add()
    stale.name = "c"
    stale.type.tensor_type.elem_type = 1
    for extent in (1, 4):
        stale.type.tensor_type.shape.dim.add().dim_value = extent
    network = check(proto, {"x": array(3, 4)})
    assert ops(network) == ["Relu", "Shape", "Reshape"]
    assert [str(d) for d in network.model.graph[0].outputs[0].shape] == ["N", "4"]


def test_large_results_stay_unfolded(check, ops):
    """A constant of a megabyte made from two numbers is not written into the file."""
    body = "k = ConstantOfShape <value = float[1] {2}> (s)\n y = Mul (x, k)"
    weights = {"s": np.array([512, 512], np.int64)}
    proto = make_model(body, inputs="float[512, 512] x", outputs="float[512, 512] y", weights=weights)
    assert ops(check(proto)) == ["ConstantOfShape", "Mul"]


def test_quantizers_and_random_operators_stay(check, ops):
    """Folding them would hide a quantized weight, or freeze a random number."""
    body = (
        "q = DequantizeLinear (w, s)\n y = MatMul (x, q)\n r = RandomNormal <shape = [2]> ()\n z = Shape (r)"
    )
    weights = {"w": array(5, 7).astype(np.int8), "s": np.array(0.1, np.float32)}
    proto = make_model(body, inputs="float[N, 5] x", outputs="float[N, 7] y", weights=weights)
    network = check(proto)
    assert ops(network) == ["DequantizeLinear", "MatMul"]
    assert any("quantized already" in note for note in network.notes)


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("k = Div (a, b)\n i = Cast <to = 1> (k)", {"a": np.array([7, -7]), "b": np.array([2, 2])}),
        (
            "k = Range (a, b, c)\n i = Cast <to = 1> (k)",
            {"a": np.array(0), "b": np.array(2), "c": np.array(1)},
        ),
        (
            "k = Slice (a, b, c)\n i = Squeeze (k)",
            {"a": array(3, 2), "b": np.array([1, 0]), "c": np.array([2, 2])},
        ),
        (
            "p, i, q = Split (a, b)",
            {"a": array(6), "b": np.array([3, 2, 1])},
        ),
        ("m = Where (a, b, c)\n i = Neg (m)", {"a": np.array([True, False]), "b": array(2), "c": array(2)}),
        (
            "m = ScatterND (a, b, c)\n i = Sqrt (m)",
            {"a": array(2) ** 2, "b": np.array([[1]]), "c": np.ones(1, np.float32)},
        ),
    ],
)
def test_common_operators_fold(check, ops, body, weights):
    """Shape arithmetic and weight preparation as exporters write them."""
    proto = make_model(
        f"{body}\n y = Add (x, i)", inputs="float[N, 2] x", outputs="float[N, 2] y", weights=weights
    )
    assert ops(check(proto)) == ["Add"]


def test_constant_output_stays(check, ops):
    """A model may return something that depends on no input."""
    body = "y = Relu (x)\n z = Add (k, k)"
    proto = make_model(
        body, inputs="float[N] x", outputs="float[N] y, float[2] z", weights={"k": np.ones(2, np.float32)}
    )
    assert sorted(ops(check(proto))) == ["Add", "Relu"]
