"""Fitting on what the quantized network feeds, against fitting from the statistics, on small networks."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import onnx
import pytest

from dybitq.emit.emit import emit
from dybitq.emit.prefix import prefix
from dybitq.fit.on_data import Paired, correction, fit_on_data
from dybitq.graph.export import to_bytes
from dybitq.records.fitted import Fitted
from tests.emit.toolkit import Feeds, Made, make, run, source
from tests.models import make_model

LINE = (
    "a = Conv <pads = [1, 1, 1, 1]> (x, w)\n b = Relu (a)\n c = Conv <pads = [1, 1, 1, 1]> (b, v)\n"
    "d = Relu (c)\n y = Conv (d, u)"
)
RESIDUAL = (
    "a = Conv <pads = [1, 1, 1, 1]> (x, w)\n b = Relu (a)\n c = Conv <pads = [1, 1, 1, 1]> (b, v)\n"
    "e = Add (c, b)\n d = Relu (e)\n y = Conv (d, u)"
)
BRANCHES = (
    "a = Conv <pads = [1, 1, 1, 1]> (x, w)\n b = Relu (a)\n c = Conv <pads = [1, 1, 1, 1]> (b, v)\n"
    "f = Conv <pads = [1, 1, 1, 1]> (b, t)\n d = Concat <axis = 1> (c, f)\n y = Conv (d, s)"
)


def network(body: str) -> onnx.ModelProto:
    """Random weights of a usual size, biases included in none of them."""
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    weights = {
        "w": weight(8, 4, 3, 3),
        "v": weight(8, 8, 3, 3),
        "t": weight(8, 8, 3, 3),
        "u": weight(5, 8, 1, 1),
        "s": weight(5, 16, 1, 1),
    }
    used = {name: array for name, array in weights.items() if f", {name})" in body}
    return make_model(body, inputs="float[4, 4, 9, 8] x", outputs="float[4, 5, 9, 8] y", weights=used)


def batches(count: int, seed: int = 0) -> list[Feeds]:
    """Smooth images with a mean: neighbouring pixels and channels are correlated."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((4, 4))
    found = []
    for _ in range(count):
        x = np.einsum("nchw,cd->ndhw", rng.standard_normal((4, 4, 9, 8)), mixing)
        x = x + np.roll(x, 1, axis=2) + np.roll(x, 1, axis=3) + 0.5
        found.append({"x": x.astype(np.float32)})
    return found


def on_data(made: Made, data: Sequence[Feeds], **changes: object) -> tuple[Fitted, bytes]:
    """Fit on paired samples and emit."""
    plan = replace(made.plan, **changes)
    build = partial(prefix, made.network, made.layers, plan)
    fitted = fit_on_data(made.network, made.layers, plan, made.statistics, source(made.network, data), build)
    return fitted, to_bytes(emit(made.network, made.layers, plan, fitted))


def noise(made: Made, model: bytes, data: Sequence[Feeds]) -> float:
    """Energy of the output error over that of the float output."""
    error = signal = 0.0
    for feeds in data:
        expected = run(to_bytes(made.network.model), feeds)["y"].astype(np.float64)
        error += float(((run(model, feeds)["y"] - expected) ** 2).sum())
        signal += float((expected**2).sum())
    return error / signal


@pytest.mark.parametrize("weights", ["int3", "dybit3"])
@pytest.mark.parametrize("body", [LINE, RESIDUAL, BRANCHES], ids=["line", "residual", "branches"])
def test_it_beats_the_statistics(tmp_path, body, weights):
    """On samples that neither fit has seen the output error is smaller, in the mean of four draws."""
    ratios = []
    for seed in range(0, 40, 10):
        data, unseen = batches(32, seed), batches(6, seed + 1)
        folder = tmp_path / str(seed)
        folder.mkdir()
        made = make(network(body), folder, batches=data, weights=weights)
        _, model = on_data(made, data)
        ratios.append(noise(made, model, unseen) / noise(made, made.model, unseen))
    assert np.mean(ratios) < 0.98


def test_biases_match_the_means(tmp_path):
    """Over the calibration data every output channel has the mean of the float network."""
    data = batches(12)
    made = make(network(LINE), tmp_path, batches=data, weights="int2", activations="float")
    _, model = on_data(made, data)
    means = [
        np.mean([run(m, feeds)["y"].mean(axis=(0, 2, 3)) for feeds in data], axis=0)
        for m in (to_bytes(made.network.model), model)
    ]
    assert np.abs(means[0] - means[1]).max() < 0.02 * np.abs(means[0]).max()
    fitted, _ = on_data(made, data, bias_correction=False)
    assert all(weight.bias is None for weight in fitted.weights.values())


def test_same_data_same_result(tmp_path):
    """Two fits of the same samples give the same bytes."""
    data = batches(4)
    made = make(network(RESIDUAL), tmp_path, batches=data, weights="dybit4")
    assert on_data(made, data)[1] == on_data(made, data)[1]


@pytest.mark.parametrize("activations", ["int4", "dybit4", "sparq4-5opt", "sparq2-7opt"])
def test_coarse_inputs_are_part_of_the_fit(tmp_path, activations):
    """Graph inputs in narrow codes and re-coded inputs: the fit makes up for some of what they lose."""
    data, unseen = batches(12), batches(6, seed=1)
    made = make(network(LINE), tmp_path, batches=data, weights="int8", activations=activations)
    _, model = on_data(made, data)
    assert noise(made, model, unseen) < noise(made, made.model, unseen)


def test_progress_counts_groups(tmp_path):
    """Layers that read one tensor through one window are one step."""
    data = batches(2)
    made = make(network(BRANCHES), tmp_path, batches=data)
    seen: list[tuple[str, int, int]] = []
    build = partial(prefix, made.network, made.layers, made.plan)
    fit_on_data(
        made.network,
        made.layers,
        made.plan,
        made.statistics,
        source(made.network, data),
        build,
        lambda *step: seen.append(step),
    )
    assert seen == [("fitting layers", i, 3) for i in range(3)]


def test_layers_that_cannot_be_paired_fall_back(tmp_path):
    """An embedding and a transposed convolution are fitted from the statistics, the rest on data."""
    rng = np.random.default_rng(0)
    proto = make_model(
        "a = Conv (x, w)\n b = Relu (a)\n y = ConvTranspose <strides = [2, 2]> (b, v)",
        inputs="float[4, 4, 9, 8] x",
        outputs="float[4, 3, 18, 16] y",
        weights={
            "w": rng.standard_normal((8, 4, 1, 1)).astype(np.float32),
            "v": rng.standard_normal((8, 3, 2, 2)).astype(np.float32),
        },
    )
    data = batches(4)
    made = make(proto, tmp_path, batches=data, weights="int4")
    fitted, model = on_data(made, data)
    assert set(fitted.weights) == set(made.layers)
    last = list(made.layers)[-1]
    np.testing.assert_array_equal(fitted.weights[last].codes, made.fitted.weights[last].codes)
    assert np.isfinite(run(model, data[0])["y"]).all()


def test_too_few_pairs_fall_back_and_say_so(tmp_path):
    """A wide layer that saw two rows is fitted from the statistics, which saw more; the note names it."""
    rng = np.random.default_rng(0)
    proto = make_model(
        "y = Gemm (x, w)",
        inputs="float[N, 40] x",
        outputs="float[N, 6] y",
        weights={"w": rng.standard_normal((40, 6)).astype(np.float32)},
    )
    many = [{"x": rng.standard_normal((50, 40)).astype(np.float32)} for _ in range(4)]
    made = make(proto, tmp_path, batches=many, weights="int4")
    fitted, _ = on_data(made, [{"x": rng.standard_normal((2, 40)).astype(np.float32)}])
    (name,) = made.layers
    assert len(fitted.notes) == 1 and f"{name} 2 of 40" in fitted.notes[0]
    np.testing.assert_array_equal(fitted.weights[name].codes, made.fitted.weights[name].codes)
    fitted, _ = on_data(made, many)
    assert fitted.notes == ()


@pytest.mark.parametrize("groups", [1, 3])
def test_the_correction_is_the_least_squares_answer(groups):
    """``W + W @ correction`` is what regression of the float outputs on the quantized inputs finds."""
    rng = np.random.default_rng(0)
    n, k = 4000, 5
    x = rng.standard_normal((groups, n, k)) @ rng.standard_normal((groups, k, k)) + 1
    z = x + 0.3 * rng.standard_normal((groups, n, k)) + 0.2 * np.roll(x, 1, axis=2)
    weight = rng.standard_normal((groups, 4, k))
    mean_x, mean_z = x.mean(axis=1), z.mean(axis=1)
    dx, dz = x - mean_x[:, None], z - mean_z[:, None]
    paired = Paired(
        rows=n,
        samples=n,
        mean_x=mean_x,
        mean_z=mean_z,
        cov_z=np.einsum("gnk,gnl->gkl", dz, dz) / n,
        cross=np.einsum("gnk,gnl->gkl", dx, dz) / n,
    )
    found = weight + weight @ correction(paired)
    for g in range(groups):
        ridge = 0.01 * np.diagonal(paired.cov_z[g]).mean()
        stacked = np.vstack([dz[g], np.sqrt(n * ridge) * np.eye(k)])  # ridge towards W itself
        target = np.vstack([dx[g] @ weight[g].T, np.sqrt(n * ridge) * weight[g].T])
        expected = np.linalg.lstsq(stacked, target, rcond=None)[0].T
        np.testing.assert_allclose(found[g], expected, atol=1e-9)


def test_patches_of_few_samples_say_less():
    """All pairs of one sample count for sixteen, so that few samples move the weights less."""
    covariance, cross = np.eye(4)[None], 0.5 * np.eye(4)[None]
    mean = np.zeros((1, 4))

    def moved(samples: int) -> float:
        found = correction(
            Paired(rows=4000, samples=samples, mean_x=mean, mean_z=mean, cov_z=covariance, cross=cross)
        )
        return float(-found[0, 0, 0])

    assert moved(4000) == moved(50) == pytest.approx(0.5 / 1.01)
    assert moved(10) == pytest.approx(0.5 / (1 + 4 / 160))
    assert moved(1) == pytest.approx(0.5 / (1 + 4 / 16))


def test_no_correction_where_nothing_was_lost():
    """Equal inputs in both networks, dead and constant ones among them: the weights stay."""
    covariance = np.zeros((1, 4, 4))
    covariance[0, :2, :2] = [[2.0, 0.5], [0.5, 1.0]]
    for cov in (covariance, np.zeros((1, 4, 4))):
        mean = np.ones((1, 4))
        paired = Paired(rows=9, samples=9, mean_x=mean, mean_z=mean, cov_z=cov, cross=cov.copy())
        np.testing.assert_array_equal(correction(paired), np.zeros((1, 4, 4)))


def test_padding_does_not_count(tmp_path):
    """What stands at positions that the mask calls padding changes nothing that is fitted."""
    rng = np.random.default_rng(0)
    proto = make_model(
        "a = MatMul (x, w)\n f = Cast <to = 1> (attention_mask)\n axes = Constant <value_ints = [2]> ()\n"
        "m = Unsqueeze (f, axes)\n y = Mul (a, m)",
        inputs="float[N, S, 12] x, int64[N, S] attention_mask",
        outputs="float[N, S, 5] y",
        weights={"w": rng.standard_normal((12, 5)).astype(np.float32)},
    )
    mask = (np.arange(9) < rng.integers(2, 9, (6, 1))).astype(np.int64)
    x = (rng.standard_normal((6, 9, 12)) @ rng.standard_normal((12, 12))).astype(np.float32)
    data = [
        {"x": np.where(mask[..., None] == 1, x, garbage).astype(np.float32), "attention_mask": mask}
        for garbage in (0.0, 1.0, 77.0)
    ]
    made = make(proto, tmp_path, batches=data[:1], weights="int3", activations="float")
    (name,) = made.layers
    fits = [on_data(made, [feeds])[0].weights[name] for feeds in data]
    for other in fits[1:]:
        np.testing.assert_array_equal(other.codes, fits[0].codes)
        np.testing.assert_array_equal(other.scale, fits[0].scale)
        np.testing.assert_array_equal(other.bias, fits[0].bias)
