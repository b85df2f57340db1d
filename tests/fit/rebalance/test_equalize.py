"""Cross-layer equalization: the same network, better for one scale each, and only where it is exact."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from dybitq.calibration.run import CalibrationSettings as Pass
from dybitq.calibration.run import collect
from dybitq.emit.emit import emit
from dybitq.emit.metadata import stamp
from dybitq.fit.fit import fit
from dybitq.fit.rebalance.equalize import equalize, scaled_moment
from dybitq.graph.export import to_bytes
from dybitq.records.statistics import Moment, MomentKind
from dybitq.runtime.pair import open_pair
from tests.emit.toolkit import Made, make, random_feeds, run, source
from tests.fit.conftest import moment_of
from tests.models import make_model

RNG = np.random.default_rng(0)
SPREAD = np.exp2(np.linspace(-5, 5, 8))


def network(between: str = "b = Relu (a)", depthwise: bool = True, outputs: str = "") -> onnx.ModelProto:
    """Conv, activation, (depthwise) Conv, Relu, Conv; the first layer's channels differ a thousandfold."""
    w = RNG.standard_normal((8, 4, 1, 1)) * SPREAD[:, None, None, None]
    if depthwise:
        v = RNG.standard_normal((8, 1, 3, 3)) / SPREAD[:, None, None, None]
    else:
        v = RNG.standard_normal((8, 8, 3, 3)) / SPREAD[None, :, None, None]
    group = 8 if depthwise else 1
    return make_model(
        f"a = Conv (x, w, p)\n {between}\n c = Conv <group = {group}> (b, v)\n d = Relu (c)\n"
        " y = Conv (d, u)",
        inputs="float[4, 4, 9, 8] x",
        outputs=f"float[4, 5, 7, 6] y{outputs}",
        weights={
            "w": w.astype(np.float32),
            "p": (RNG.standard_normal(8) * SPREAD).astype(np.float32),
            "v": v.astype(np.float32),
            "u": RNG.standard_normal((5, 8, 1, 1)).astype(np.float32),
        },
    )


CONSTANTS = {
    "zero": np.float32(0),
    "six": np.float32(6),
    "high": np.float32(1e6),
    "low": np.float32(-1),
    "slope": np.full(1, 0.5, np.float32),
    "slopes": np.linspace(0, 1, 8, dtype=np.float32).reshape(8, 1, 1),
    "rows": np.linspace(0, 1, 8, dtype=np.float32),
}


def with_constants(proto: onnx.ModelProto, between: str) -> onnx.ModelProto:
    """The model with the constants that ``between`` reads."""
    for name, value in CONSTANTS.items():
        if f", {name})" in between or f", {name}," in between:
            proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    return proto


def made_of(proto: onnx.ModelProto, tmp_path: Path, **settings: str) -> Made:
    """Calibrated and planned with one scale for each tensor."""
    return make(proto, tmp_path, **{"granularity": "tensor", "weights": "int8", **settings})


def test_the_network_stays_the_same(tmp_path):
    """Bit for bit: factors are powers of two."""
    made = made_of(network(), tmp_path)
    found = equalize(made.network, made.layers, made.plan, made.statistics)
    assert found.used
    assert found.notes == (f"cross-layer equalization: 2 pairs of layers found, {len(found.used)} equalized",)
    before, after = (to_bytes(n.model) for n in (made.network, found.network))
    assert before != after
    np.testing.assert_array_equal(
        run(before, made.feeds, optimize=False)["y"], run(after, made.feeds, optimize=False)["y"]
    )
    assert to_bytes(made.network.model) == before


@pytest.mark.parametrize(
    ("depthwise", "activations", "least"),
    [(True, "auto", 0.7), (True, "float", 0.7), (False, "float", 0.7), (False, "auto", 1.0)],
)
@pytest.mark.parametrize("weights", ["int8", "dybit4", "int4"])
def test_it_pays(tmp_path, depthwise, activations, least, weights):
    """The quantized network is closer to the float one; where activations are what limits it, no worse."""
    made = made_of(network(depthwise=depthwise), tmp_path, weights=weights, activations=activations)
    found = equalize(made.network, made.layers, made.plan, made.statistics)
    fitted = fit(found.network, made.layers, made.plan, found.statistics)
    model = to_bytes(emit(found.network, made.layers, made.plan, fitted))
    wanted = run(to_bytes(made.network.model), made.feeds)["y"].astype(float)
    errors = [float(((run(m, made.feeds)["y"] - wanted) ** 2).sum()) for m in (made.model, model)]
    assert errors[1] <= least * errors[0]


@pytest.mark.parametrize("depthwise", [True, False])
def test_statistics_are_those_of_the_new_network(tmp_path, depthwise):
    """Moments and channel sums are what a calibration of the equalized network finds; extremes bound it."""
    made = made_of(network(depthwise=depthwise), tmp_path, activations="float")
    found = equalize(made.network, made.layers, made.plan, made.statistics)
    assert found.used
    feeds = [random_feeds(to_bytes(made.network.model), seed) for seed in range(3)]
    again = collect(found.network, tuple(made.layers.values()), source(made.network, feeds), Pass(workers=1))
    for layer in made.layers.values():
        new, real = found.statistics.moments[layer.moment_key], again.moments[layer.moment_key]
        assert new.rows == real.rows
        np.testing.assert_allclose(new.first, real.first, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(new.second, real.second, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(
            found.statistics.channels[layer.name].squares, again.channels[layer.name].squares, rtol=1e-5
        )
    for name, seen in again.tensors.items():
        assert seen.maximum <= found.statistics.tensors[name].maximum * 1.00001


@pytest.mark.parametrize("kind", [MomentKind.DIAGONAL, MomentKind.BLOCK, MomentKind.FULL])
def test_moments_of_every_kind(tmp_path, kind):
    """Scaling a moment is scaling its patches, padding of blocks included."""
    made = made_of(network(depthwise=False), tmp_path)
    layer = list(made.layers.values())[1]
    patches = RNG.standard_normal((1, 200, 72))
    scale = np.exp2(RNG.integers(0, 5, 8)).astype(float)
    scaled = patches / np.repeat(scale, 9)

    def blocks(x: np.ndarray) -> Moment:
        if kind is not MomentKind.BLOCK:
            return moment_of(x, kind)
        padded = np.pad(x, ((0, 0), (0, 0), (0, 8))).reshape(1, 200, 4, 20)
        second = np.einsum("gnbk,gnbl->gbkl", padded, padded)
        return replace(moment_of(x), kind=kind, second=second)

    found, expected = scaled_moment(blocks(patches), layer, scale), blocks(scaled)
    np.testing.assert_allclose(found.first, expected.first, atol=1e-9)
    np.testing.assert_allclose(found.second, expected.second, atol=1e-9)
    np.testing.assert_array_equal(found.minimum, expected.minimum)
    np.testing.assert_array_equal(found.maximum, expected.maximum)


@pytest.mark.parametrize(
    ("between", "outputs", "pairs"),
    [
        ("b = Relu (a)", "", 2),
        ("b = Clip (a, zero, high)", "", 2),
        ("b = Clip (a, zero, six)", "", 2),
        ("b = Clip (a, low, high)", "", 1),
        ("b = Sigmoid (a)", "", 1),
        ("b = Relu (a)", ", float[4, 8, 9, 8] b", 1),
        ("b = Relu (a)\n z = Add (b, b)", ", float[4, 8, 9, 8] z", 1),
        ("b = LeakyRelu <alpha = 0.25> (a)", "", 2),
        ("b = LeakyRelu <alpha = -0.5> (a)", "", 1),
        ("b = PRelu (a, slope)", "", 2),
        ("b = PRelu (a, slopes)", "", 2),
        ("b = PRelu (a, rows)", "", 1),
    ],
    ids=[
        "relu",
        "clip, never reached",
        "clip, reached",
        "clip below zero",
        "sigmoid",
        "output",
        "two readers",
        "leaky",
        "leaky, not monotone",
        "prelu",
        "prelu of channels",
        "prelu of positions",
    ],
)
def test_only_where_it_is_exact(tmp_path, between, outputs, pairs):
    """One reader, positive homogeneity, and bounds that calibration never saw reached."""
    proto = with_constants(network(between, outputs=outputs), between)
    made = made_of(proto, tmp_path)
    found = equalize(made.network, made.layers, made.plan, made.statistics)
    assert found.found == pairs
    wanted, now = (run(to_bytes(n.model), made.feeds, optimize=False) for n in (made.network, found.network))
    for name in wanted:
        np.testing.assert_array_equal(wanted[name], now[name])


@pytest.mark.parametrize("activations", ["auto", "float", "int4"])
@pytest.mark.parametrize(
    "between",
    [
        "b = Relu (a)",
        "b = Clip (a, zero, six)",
        "b = Identity (a)",
        "b = LeakyRelu <alpha = 0.25> (a)",
        "b = PRelu (a, slopes)",
    ],
)
def test_small_channels_fill_the_range(tmp_path, between, activations):
    """With scales for weight channels it is the codes between that gain: the output error falls clearly."""
    proto = with_constants(network(between, depthwise=False), between)
    made = made_of(proto, tmp_path, granularity="channel", activations=activations)
    found = equalize(made.network, made.layers, made.plan, made.statistics)
    if activations == "float":
        assert found.network is made.network and found.used == ()
        return
    assert tuple(made.layers)[:2] in found.used
    wanted, now = (run(to_bytes(n.model), made.feeds, optimize=False) for n in (made.network, found.network))
    np.testing.assert_array_equal(wanted["y"], now["y"])  # no channel leaves the range of a Clip
    fitted = fit(found.network, made.layers, made.plan, found.statistics)
    model = to_bytes(emit(found.network, made.layers, made.plan, fitted))
    errors = [float(((run(m, made.feeds)["y"] - wanted["y"]) ** 2).sum()) for m in (made.model, model)]
    assert errors[1] < 0.7 * errors[0]


def test_rescaled_tensors_are_not_compared(tmp_path):
    """The file names them, and a comparison layer by layer says that they are left out."""
    made = made_of(network(), tmp_path, granularity="channel")
    found = equalize(made.network, made.layers, made.plan, made.statistics)
    fitted = fit(found.network, made.layers, made.plan, found.statistics)
    model = emit(found.network, made.layers, made.plan, fitted)
    stamp(model, made.plan, hashes=("a", "b"), rescaled=found.rescaled)
    float_path, path = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
    float_path.write_bytes(to_bytes(made.network.model))
    path.write_bytes(to_bytes(model))
    pair = open_pair(path, float_path, per_layer=True, threads=1)
    assert pair.edges is not None and pair.rescaled
    assert set(pair.rescaled) <= set(found.rescaled)
    assert not {edge.tensor for edge in pair.edges} & set(found.rescaled)


def test_channels_stay_inside_the_range(tmp_path):
    """Not even the extremes of calibration are cut off by it: no rescaled channel grows beyond the tensor."""
    made = made_of(network(), tmp_path, granularity="channel")
    found = equalize(made.network, made.layers, made.plan, made.statistics)
    assert found.rescaled
    for name in found.rescaled:
        seen = made.statistics.tensors[name]
        for first, _ in found.used:
            layer = made.layers[first]
            if layer.output == name:
                top = np.maximum(found.statistics.channels[first].maximum, 0)
                before = np.maximum(made.statistics.channels[first].maximum, 0)
                assert (top <= np.maximum(before, seen.maximum)).all()


def test_even_channels_are_left_alone(tmp_path):
    """Where it would not lower the error the pairs are found, and not used."""
    proto = network(depthwise=False)
    for tensor in proto.graph.initializer:
        if tensor.name in ("w", "v", "p"):
            shape = tuple(tensor.dims)
            even = RNG.choice([-1.0, 1.0], shape).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(even, tensor.name))
    made = made_of(proto, tmp_path)
    found = equalize(made.network, made.layers, made.plan, made.statistics)
    assert found.found == 2
    assert tuple(made.layers)[:2] not in found.used


def test_without_moments_nothing_can_be_weighed(tmp_path):
    """Without second moments no pair is judged, so none is used."""
    made = made_of(network(), tmp_path)
    empty = replace(made.statistics, moments={})
    assert equalize(made.network, made.layers, made.plan, empty).used == ()


def test_dead_channels_stay(tmp_path):
    """A channel of zeros on either side keeps its factor of one, and everything stays finite."""
    proto = network(depthwise=False)
    for tensor in proto.graph.initializer:
        if tensor.name in ("w", "v"):
            array = onnx.numpy_helper.to_array(tensor).copy()
            array[(2,) if tensor.name == "w" else (slice(None), 5)] = 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    made = made_of(proto, tmp_path, activations="float")
    found = equalize(made.network, made.layers, made.plan, made.statistics)
    assert found.used
    output = run(to_bytes(found.network.model), made.feeds, optimize=False)["y"]
    np.testing.assert_array_equal(output, run(to_bytes(made.network.model), made.feeds, optimize=False)["y"])
