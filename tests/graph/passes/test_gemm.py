"""Gemm in all its forms, against onnxruntime on the original."""

import itertools

import numpy as np
import pytest

from dybitq.graph.survey import survey
from tests.models import make_model

RNG = np.random.default_rng(3)


def array(*shape: int) -> np.ndarray:
    """A random float32 array."""
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("left", "right", "alpha", "beta"), list(itertools.product([0, 1], [0, 1], [1.0, 0.25], [1.0, 3.0, 0.0]))
)
def test_constant_weight(check, left, right, alpha, beta):
    """Alpha and beta go into weight and bias, a transposed left operand gets a Transpose."""
    body = f"y = Gemm <transA = {left}, transB = {right}, alpha = {alpha}, beta = {beta}> (x, w, b)"
    weights = {"w": array(7, 5) if right else array(5, 7), "b": array(7)}
    inputs = "float[5, M] x" if left else "float[M, 5] x"
    network = check(make_model(body, inputs=inputs, outputs="float[M, 7] y", weights=weights))
    gemm = network.model.graph[-1]
    assert not {"alpha", "beta", "transA"} & set(gemm.attributes)
    (layer,) = survey(network)
    assert layer.geometry.transposed == bool(right)
    assert layer.geometry.output_channels == 7
    assert layer.bias == (None if beta == 0.0 else "b")


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (7,), (1, 7), (3, 1), (3, 7)])
def test_bias_of_any_shape(check, shape):
    """Vectors stay in the Gemm, scalars are spread out, matrices move to an Add."""
    body = "y = Gemm <beta = 2.0> (x, w, b)"
    weights = {"w": array(5, 7), "b": array(*shape)}
    network = check(make_model(body, inputs="float[3, 5] x", outputs="float[3, 7] y", weights=weights))
    (layer,) = survey(network)
    matrix = len(shape) == 2 and shape[0] == 3
    assert [node.op_type for node in network.model.graph] == (["Gemm", "Add"] if matrix else ["Gemm"])
    if not matrix:
        bias = network.model.graph.initializers[layer.bias]
        assert tuple(bias.shape) == (7,)


def test_computed_bias_moves_to_an_add(check, ops):
    """A bias that is an activation is added behind the Gemm; its name stays out of the layer."""
    body = "r = Relu (c)\n y = Gemm <beta = 0.5> (x, w, r)"
    proto = make_model(
        body, inputs="float[3, 5] x, float[3, 7] c", outputs="float[3, 7] y", weights={"w": array(5, 7)}
    )
    network = check(proto)
    assert sorted(ops(network)) == ["Add", "Gemm", "Mul", "Relu"]
    assert survey(network)[0].bias is None


@pytest.mark.parametrize(("left", "right"), list(itertools.product([0, 1], [0, 1])))
@pytest.mark.parametrize("constant", ["none", "left"])
def test_computed_right_operand_becomes_a_matmul(check, ops, left, right, constant):
    """Two activations, or the weight on the left, are a MatMul."""
    body = f"y = Gemm <transA = {left}, transB = {right}, alpha = 0.5> (a, b, c)"
    shape_a, shape_b = ((5, 3) if left else (3, 5)), ((7, 5) if right else (5, 7))
    weights = {"c": array(7)} | ({"a": array(*shape_a)} if constant == "left" else {})
    inputs = [f"float[{shape_b[0]}, {shape_b[1]}] b"]
    if constant == "none":
        inputs.append(f"float[{shape_a[0]}, {shape_a[1]}] a")
    network = check(make_model(body, inputs=", ".join(inputs), outputs="float[3, 7] y", weights=weights))
    assert "Gemm" not in ops(network)
    (layer,) = survey(network)
    assert layer.geometry.kind == ("matmul" if constant == "left" else "matmul_dynamic")
    assert layer.geometry.weight_input == (0 if constant == "left" else 1)
    assert layer.macs == 3 * 5 * 7


def test_shared_weight_with_alpha(check):
    """A weight that another layer reads unscaled is not changed under it."""
    body = "a = Gemm <alpha = 2.0> (x, w)\n b = Gemm (x, w)\n y = Add (a, b)"
    network = check(
        make_model(body, inputs="float[3, 5] x", outputs="float[3, 7] y", weights={"w": array(5, 7)})
    )
    assert len({layer.weight for layer in survey(network)}) == 2


def test_double_precision_is_left_alone(check, ops):
    """A Gemm in float64 keeps its attributes and is named."""
    body = "y = Gemm <alpha = 2.0, transA = 1> (x, w)"
    proto = make_model(
        body,
        inputs="double[5, 3] x",
        outputs="double[3, 7] y",
        weights={"w": array(5, 7).astype(np.float64)},
    )
    network = check(proto)
    assert ops(network) == ["Gemm"]
    assert survey(network) == ()
    assert any("stays in float: computes in" in note for note in network.notes)
