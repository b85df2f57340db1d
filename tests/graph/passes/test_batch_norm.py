"""BatchNormalization in front of, behind and beside every kind of layer."""

import numpy as np
import pytest

from tests.models import make_model


def parameters(channels: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Gamma, beta, mean and variance of a trained layer."""
    rng = np.random.default_rng(seed)
    return {
        "gamma": rng.uniform(-2, 2, channels).astype(np.float32),
        "beta": rng.standard_normal(channels).astype(np.float32),
        "mean": rng.standard_normal(channels).astype(np.float32),
        "variance": rng.uniform(0.1, 3, channels).astype(np.float32),
    }


def weight(*shape: int) -> np.ndarray:
    """A random weight."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


BN = "BatchNormalization (c, gamma, beta, mean, variance)"


@pytest.mark.parametrize("opset", [11, 13, 14, 15, 17, 22])
@pytest.mark.parametrize("bias", [True, False])
def test_folds_into_conv(check, ops, opset, bias):
    """Conv followed by BatchNormalization becomes one Conv with a bias, in every opset."""
    weights = {"w": weight(6, 2, 3, 3), **parameters(6)} | ({"b": weight(6)} if bias else {})
    body = f"c = Conv <group = 2, pads = [1, 0, 2, 1]> (x, w{', b' if bias else ''})\n y = {BN}"
    network = check(make_model(body, weights=weights, opset=opset))
    assert ops(network) == ["Conv"]
    assert any("1 BatchNormalization folded" in note for note in network.notes)


def test_keeps_the_names_of_weight_and_output(check):
    """The folded Conv keeps its weight's name and takes over the name of the normalised tensor."""
    body = f"c = Conv (x, w)\n n = {BN}\n y = Relu(n)"
    network = check(make_model(body, weights={"w": weight(6, 4, 3, 3), **parameters(6)}))
    conv = network.model.graph[0]
    assert (conv.inputs[1].name, conv.outputs[0].name) == ("w", "n")


@pytest.mark.parametrize("group", [1, 2])
def test_folds_into_conv_transpose(check, ops, group):
    """The output channels of ConvTranspose are its weight's axis 1, group by group."""
    weights = {"w": weight(4, 3, 3, 2), **parameters(3 * group)}
    body = f"c = ConvTranspose <group = {group}, strides = [2, 1]> (x, w)\n y = {BN}"
    assert ops(check(make_model(body, weights=weights))) == ["ConvTranspose"]


@pytest.mark.parametrize("shape", [(5, 8, 3), (5, 8, 3, 2, 2)])
def test_folds_into_1d_and_3d_convolutions(check, ops, shape):
    """The number of spatial axes does not matter."""
    inputs = "float[N, 8, " + ", ".join("7" * (len(shape) - 2)) + "] x"
    outputs = "float[" + ", ".join("NPQRST"[: len(shape)]) + "] y"
    weights = {"w": weight(*shape), **parameters(5)}
    body = f"c = Conv (x, w)\n y = {BN}"
    assert ops(check(make_model(body, inputs=inputs, outputs=outputs, weights=weights))) == ["Conv"]


@pytest.mark.parametrize("turned", [0, 1])
def test_folds_into_gemm(check, ops, turned):
    """Both storage orders of a Gemm, alpha and beta included."""
    weights = {"w": weight(7, 5) if turned else weight(5, 7), "b": weight(7), **parameters(7)}
    body = f"c = Gemm <transB = {turned}, alpha = 0.5, beta = 2.0> (x, w, b)\n y = {BN}"
    proto = make_model(body, inputs="float[N, 5] x", outputs="float[N, 7] y", weights=weights)
    assert ops(check(proto)) == ["Gemm"]


@pytest.mark.parametrize("body", ["c = MatMul (x, w)", "m = MatMul (x, w)\n c = Add (b, m)"])
def test_folds_into_matmul_of_matrices(check, ops, body):
    """MatMul (and its bias) becomes a Gemm, which is exact for matrices."""
    weights = {"w": weight(5, 7), "b": weight(7), **parameters(7)}
    proto = make_model(f"{body}\n y = {BN}", inputs="float[N, 5] x", outputs="float[N, 7] y", weights=weights)
    assert ops(check(proto)) == ["Gemm"]


def test_stays_where_the_raw_output_is_read(check, ops):
    """A Conv whose raw output has another reader keeps its weights."""
    body = f"c = Conv (x, w)\n n = {BN}\n y = Add (n, c)"
    network = check(make_model(body, weights={"w": weight(6, 4, 3, 3), **parameters(6)}))
    assert ops(network) == ["Conv", "BatchNormalization", "Add"]
    assert any("stays in float" in note for note in network.notes)


def test_stays_where_the_raw_output_is_an_output(check, ops):
    """A Conv whose raw output the model returns keeps its weights."""
    body = f"c = Conv (x, w)\n y = {BN}"
    proto = make_model(
        body,
        outputs="float[N, P, Q, R] y, float[N, P, Q, R] c",
        weights={"w": weight(6, 4, 3, 3), **parameters(6)},
    )
    assert ops(check(proto)) == ["Conv", "BatchNormalization"]


def test_stays_without_a_layer_before_it(check, ops):
    """Pre-activation networks normalise a sum; that works as it is."""
    body = f"c = Add (x, x)\n n = {BN}\n y = Conv (n, w)"
    proto = make_model(body, weights={"w": weight(6, 4, 3, 3), **parameters(4)})
    assert ops(check(proto)) == ["Add", "BatchNormalization", "Conv"]


def test_shared_weight_is_duplicated(check, ops):
    """Two layers share a weight, one is normalised: each ends up with its own."""
    body = f"c = Conv (x, w)\n a = Conv (x, w)\n n = {BN}\n y = Add (n, a)"
    network = check(make_model(body, weights={"w": weight(6, 4, 3, 3), **parameters(6)}))
    assert ops(network) == ["Conv", "Conv", "Add"]
    names = [node.inputs[1].name for node in network.model.graph if node.op_type == "Conv"]
    assert names[1] == "w" and names[0] != "w"


def test_shared_parameters_fold_twice(check, ops):
    """Parameters that two BatchNormalizations share are only read."""
    body = f"c = Conv (x, w)\n n = {BN}\n d = Conv (x, v)\n m = {BN.replace('(c', '(d')}\n y = Add (n, m)"
    weights = {"w": weight(6, 4, 3, 3), "v": weight(6, 4, 3, 3), **parameters(6)}
    assert ops(check(make_model(body, weights=weights))) == ["Conv", "Conv", "Add"]


def test_training_mode_stays(check, ops):
    """A BatchNormalization in training mode computes its own statistics."""
    body = f"c = Conv (x, w)\n y, rm, rv = {BN.replace('(c', '<training_mode = 1> (c')}"
    proto = make_model(body, weights={"w": weight(6, 4, 3, 3), **parameters(6)})
    assert ops(check(proto, tolerance=1e-4)) == ["Conv", "BatchNormalization"]


def test_zero_variance_folds_through_epsilon(check, ops):
    """A dead channel has variance zero; epsilon keeps it finite."""
    weights = {"w": weight(6, 4, 3, 3), **parameters(6)}
    weights["variance"][2] = 0
    body = f"c = Conv (x, w)\n y = {BN.replace('(c', '<epsilon = 0.001> (c')}"
    assert ops(check(make_model(body, weights=weights), tolerance=1e-4)) == ["Conv"]


def test_constant_nodes_as_parameters(check, ops):
    """Parameters that come from Constant nodes and Identity chains fold as well."""
    body = (
        "k = Constant <value = float[6] {1, 2, 3, 4, 5, 6}> ()\n g2 = Identity (k)\n c = Conv (x, w)\n"
        "y = BatchNormalization (c, g2, beta, mean, variance)"
    )
    assert ops(check(make_model(body, weights={"w": weight(6, 4, 3, 3), **parameters(6)}))) == ["Conv"]
