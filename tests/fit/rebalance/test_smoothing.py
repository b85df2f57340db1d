"""Smoothing: the same network, finer codes for inputs whose range is found at run time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from dybitq.emit.emit import emit
from dybitq.fit.fit import fit
from dybitq.fit.rebalance.smoothing import Smoothed, smooth
from dybitq.graph.export import to_bytes
from dybitq.graph.survey import survey
from tests.emit.toolkit import Made, make, run
from tests.fit.conftest import moment_of
from tests.models import make_model

BODY = "q = MatMul (x, w)\n k = MatMul (x, v)\n h = Add (q, k)\n a = Relu (h)\n y = MatMul (a, u)"
WIDTH = 24


def inputs(spread: float, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Batches ``[8, 5, WIDTH]``, three features of which are ``spread`` times the others."""
    rng = np.random.default_rng(seed)
    size = np.ones(WIDTH)
    size[[3, 7, 11]] = spread
    return [{"x": (rng.standard_normal((8, 5, WIDTH)) * size).astype(np.float32)} for _ in range(6)]


def network(extra: str = "", outputs: str = "", **weights: np.ndarray) -> onnx.ModelProto:
    """Two readers of one tensor, and one behind them; large features meet small weights."""
    rng = np.random.default_rng(1)
    w, v = rng.standard_normal((2, WIDTH, 16))
    w[[3, 7, 11]] /= 8
    found = {"w": w, "v": v, "u": rng.standard_normal((16, 6)), **weights}
    return make_model(
        BODY + extra,
        inputs=f"float[N, 5, {WIDTH}] x",
        outputs=f"float[N, 5, 6] y{outputs}",
        weights={name: array.astype(np.float32) for name, array in found.items()},
    )


def made_of(tmp_path: Path, spread: float, proto: onnx.ModelProto | None = None, **settings: str) -> Made:
    """Calibrated, planned with dynamic activations."""
    chosen = {"weights": "int8", "activations": "dynamic8", **settings}
    return make(proto or network(), tmp_path, batches=inputs(spread), **chosen)


def smoothed(made: Made) -> Smoothed:
    """What smoothing makes of it."""
    return smooth(made.network, made.layers, made.plan, made.statistics)


def error(model: bytes, reference: bytes, spread: float) -> float:
    """Energy of the output error on samples that calibration has not seen."""
    batches = inputs(spread, seed=5)
    return sum(float(((run(model, b)["y"] - run(reference, b)["y"]) ** 2).sum()) for b in batches)


def test_the_network_stays_the_same(tmp_path):
    """Bit for bit: factors are powers of two. Readers of one tensor share one Mul."""
    made = made_of(tmp_path, 64)
    found = smoothed(made)
    assert found.notes == ("smoothing: 2 inputs with ranges of the run found, 1 smoothed",)
    assert sum(node.op_type == "Mul" for node in found.network.model.graph) == 1
    before, after = to_bytes(made.network.model), to_bytes(found.network.model)
    for batch in inputs(64, seed=9):
        np.testing.assert_array_equal(run(before, batch)["y"], run(after, batch)["y"])
    assert {layer.name: layer for layer in survey(found.network)} == dict(found.layers)


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_large_features_no_longer_make_steps_coarse(tmp_path, weights):
    """The quantized network loses a fraction of what it lost before."""
    made = made_of(tmp_path, 64, weights=weights)
    found = smoothed(made)
    fitted = fit(found.network, found.layers, made.plan, found.statistics)
    model = to_bytes(emit(found.network, found.layers, made.plan, fitted))
    reference = to_bytes(made.network.model)
    share = error(model, reference, 64) / error(made.model, reference, 64)
    assert share < (0.2 if weights == "int8" else 0.95)


def test_even_features_are_left_alone(tmp_path):
    """Nothing to gain, no Mul."""
    found = smoothed(made_of(tmp_path, 1, weights="int4"))
    assert found.notes == ("smoothing: 2 inputs with ranges of the run found, 0 smoothed",)
    assert not any(node.op_type == "Mul" for node in found.network.model.graph)


@pytest.mark.parametrize("activations", ["int8", "float"])
def test_only_where_ranges_are_of_the_run(tmp_path, activations):
    """Ranges from calibration, or none, are not its business."""
    made = made_of(tmp_path, 64, activations=activations)
    found = smoothed(made)
    assert found.network is made.network and found.notes == ()


def test_shared_weights_are_left_alone(tmp_path):
    """A matrix that meets two tensors cannot take the factors of one of them."""
    proto = network("\n z = MatMul (c, w)", ", float[N, 5, 16] z")
    proto.graph.input.append(onnx.helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, ["N", 5, WIDTH]))
    batches = [{**batch, "c": batch["x"]} for batch in inputs(64)]
    made = make(proto, tmp_path, batches=batches, weights="int8", activations="dynamic8")
    found = smoothed(made)
    assert found.notes == ("smoothing: 1 input with ranges of the run found, 0 smoothed",)


def test_moments_follow(tmp_path):
    """What the statistics say of the divided tensor is what calibration would have seen of it."""
    made = made_of(tmp_path, 64)
    found = smoothed(made)
    layer = next(layer for layer in found.layers.values() if layer.weight == "w")
    (scale,) = [
        1 / np.asarray(value.const_value.numpy(), np.float64)
        for value in found.network.model.graph.initializers.values()
        if "factors" in (value.name or "")
    ]
    assert (np.log2(scale) == np.rint(np.log2(scale))).all() and (scale[[3, 7, 11]] > 1).all()
    patches = np.concatenate([b["x"].reshape(-1, WIDTH) for b in inputs(64)]) / scale
    expected, moment = moment_of(patches[None]), found.statistics.moments[layer.moment_key]
    np.testing.assert_allclose(moment.second, expected.second, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(moment.maximum, expected.maximum, rtol=1e-6)
    assert len(found.statistics.moments) == len(set(found.statistics.moments)) == 3


def test_dead_features_and_nothing_seen(tmp_path):
    """Features that are always zero keep their factor; a tensor of zeros is no reason to divide."""
    made = made_of(tmp_path, 64)
    key = next(layer for layer in made.layers.values() if layer.weight == "w").moment_key
    moment = made.statistics.moments[key]
    zero = replace(
        moment,
        first=moment.first * 0,
        second=moment.second * 0,
        minimum=moment.minimum * 0,
        maximum=moment.maximum * 0,
    )
    moments = {**made.statistics.moments, key: zero}
    found = smooth(made.network, made.layers, made.plan, replace(made.statistics, moments=moments))
    assert "0 smoothed" in found.notes[0]


def test_a_plan_that_was_carried_out_gives_the_same_network(tmp_path):
    """Factors do not depend on what ``auto4`` was resolved to."""
    made = made_of(tmp_path, 64, weights="int4")
    as_formats = [
        replace(made.plan, layers=tuple(replace(p, weights=weights) for p in made.plan.layers))
        for weights in ("auto4", "laplace4", "dybit4")
    ]
    found = [smooth(made.network, made.layers, plan, made.statistics) for plan in as_formats]
    models = {to_bytes(each.network.model) for each in found}
    assert len(models) == 1 and "1 smoothed" in found[0].notes[0]


@pytest.mark.parametrize("size", [1e-20, 1e-4])
def test_small_features_are_not_enlarged(tmp_path, size):
    """What was nearly dead in calibration may come alive, and must not set the range for all then."""
    batches = [
        {"x": (b["x"] * np.where(np.arange(WIDTH) == 6, size, 1)).astype(np.float32)} for b in inputs(64)
    ]
    made = make(network(), tmp_path, batches=batches, weights="int8", activations="dynamic8")
    found = smoothed(made)
    assert found.rescaled == ("x_smoothed",)
    (inverse,) = [
        value.const_value.numpy()
        for value in found.network.model.graph.initializers.values()
        if "factors" in (value.name or "")
    ]
    assert inverse.max() == 1 and inverse[6] == 1 and (inverse[[3, 7, 11]] < 1).all()


def wide(spread: float, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Batches ``[8, 5, 120]`` with one feature ``spread`` times the others: enough features to split two."""
    rng = np.random.default_rng(seed)
    size = np.where(np.arange(120) == 17, spread, 1)
    return [{"x": (rng.standard_normal((8, 5, 120)) * size).astype(np.float32)} for _ in range(12)]


def wide_made(tmp_path: Path, spread: float = 8.0) -> Made:
    """Two readers of 120 features, at 4 bits, where dividing costs the weights more than it brings."""
    rng = np.random.default_rng(1)
    weights = {"w": rng.standard_normal((120, 16)), "v": rng.standard_normal((120, 16))}
    proto = make_model(
        "q = MatMul (x, w)\n k = MatMul (x, v)\n y = Add (q, k)",
        inputs="float[N, 5, 120] x",
        outputs="float[N, 5, 16] y",
        weights={name: array.astype(np.float32) for name, array in weights.items()},
    )
    return make(proto, tmp_path, batches=wide(spread), weights="int4", activations="dynamic8")


def test_large_features_are_split(tmp_path):
    """Copies of the largest feature share its value; the network stays the same but for float rounding."""
    made = wide_made(tmp_path)
    found = smoothed(made)
    note = "smoothing: 1 input with ranges of the run found, 1 smoothed, 1 of them with split features"
    assert found.notes == (note,)
    nodes = [node.op_type for node in found.network.model.graph]
    assert nodes[:3] == ["Gather", "Concat", "Mul"] and nodes.count("Mul") == 1
    assert {layer.name: layer for layer in survey(found.network)} == dict(found.layers)
    assert all(layer.weight_shape == (122, 16) for layer in found.layers.values())
    before, after = to_bytes(made.network.model), to_bytes(found.network.model)
    for batch in wide(8, seed=9):
        np.testing.assert_allclose(run(before, batch)["y"], run(after, batch)["y"], rtol=1e-4, atol=1e-4)


def test_moments_of_split_features(tmp_path):
    """They are those of what the layers read now."""
    made = wide_made(tmp_path)
    found = smoothed(made)
    layer = next(iter(found.layers.values()))
    x = np.concatenate([batch["x"].reshape(-1, 120) for batch in wide(8)])
    third = x[:, 17:18] / 3
    patches = np.concatenate([x[:, :17], third, x[:, 18:], third, third], axis=1)
    expected, moment = moment_of(patches[None]), found.statistics.moments[layer.moment_key]
    np.testing.assert_allclose(moment.second / moment.rows, expected.second / expected.rows, atol=0.3)
    np.testing.assert_allclose(moment.maximum, expected.maximum, rtol=1e-6)


def test_split_features_lose_less(tmp_path):
    """The quantized network is nearer to the float one than without."""
    made = wide_made(tmp_path)
    found = smoothed(made)
    fitted = fit(found.network, found.layers, made.plan, found.statistics)
    model, reference = (
        to_bytes(emit(found.network, found.layers, made.plan, fitted)),
        to_bytes(made.network.model),
    )

    def lost(quantized: bytes) -> float:
        batches = wide(8.0, seed=5)
        return sum(float(((run(quantized, b)["y"] - run(reference, b)["y"]) ** 2).sum()) for b in batches)

    assert lost(model) < 0.95 * lost(made.model)


def test_layers_that_compute_in_float_are_left_alone(tmp_path):
    """Formats that fit no int8 kernel are decoded to float, and no range of their inputs is found."""
    found = smoothed(made_of(tmp_path, 64, weights="dybit8"))
    assert found.notes == () and not any(n.op_type == "Mul" for n in found.network.model.graph)
