"""Channel ranges: the same network, finer codes on both sides of a function between layers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from dybitq import log_histogram
from dybitq.emit.emit import emit
from dybitq.fit.fit import fit
from dybitq.fit.rebalance.balance import balance
from dybitq.fit.rebalance.channel_ranges import ChannelRanges, _Codes, _same, give_channel_ranges
from dybitq.graph.export import to_bytes
from dybitq.graph.survey import survey
from tests.emit.toolkit import Made, make, optimized, run
from tests.models import make_model

CHANNELS = 12
SILU = "s = Sigmoid (a)\n b = Mul (a, s)"
READER = "y = Conv <group = 12, kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b, v)"
ALL = "channel ranges: 1 function between layers found, 1 given ranges of their channels, in float"
NONE = "channel ranges: 1 function between layers found, 0 given ranges of their channels, in float"


def inputs(seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Batches ``[4, 3, 9, 8]``."""
    rng = np.random.default_rng(seed)
    return [{"x": rng.standard_normal((4, 3, 9, 8)).astype(np.float32)} for _ in range(6)]


def network(
    between: str = SILU, behind: str = READER, outputs: str = "", spread: float = 9
) -> onnx.ModelProto:
    """A layer whose channels differ by up to ``2**spread``, a function, layers that even them out."""
    rng = np.random.default_rng(1)
    size = np.exp2(np.linspace(-spread + 2, 2, CHANNELS))
    weights = {
        "w": rng.standard_normal((CHANNELS, 3, 1, 1)) * size[:, None, None, None],
        "v": rng.standard_normal((CHANNELS, 1, 3, 3)) / size[:, None, None, None],
        "u": rng.standard_normal((5, CHANNELS, 1, 1)) / size[None, :, None, None],
        "c": rng.standard_normal(CHANNELS) * size / 4,
    }
    return make_model(
        f"a = Conv (x, w, c)\n {between}\n {behind}",
        inputs="float[N, 3, 9, 8] x",
        outputs=f"float[N, C, 9, 8] y{outputs}",
        weights={name: array.astype(np.float32) for name, array in weights.items()},
        opset=20,
    )


def made_of(tmp_path: Path, proto: onnx.ModelProto | None = None, **settings: str) -> Made:
    """Calibrated, planned with 8 bits."""
    return make(proto or network(), tmp_path, batches=inputs(), **{"weights": "int8", **settings})


def ranged(made: Made) -> ChannelRanges:
    """What the method makes of it."""
    return give_channel_ranges(made.network, made.layers, made.plan, made.statistics)


def carried_out(made: Made, found: ChannelRanges) -> bytes:
    """The quantized network."""
    fitted = fit(found.network, made.layers, found.plan, found.statistics)
    return to_bytes(emit(found.network, made.layers, found.plan, fitted))


def error(model: bytes, reference: bytes) -> float:
    """Energy of the output error on samples that calibration has not seen."""
    return sum(float(((run(model, b)["y"] - run(reference, b)["y"]) ** 2).sum()) for b in inputs(5))


def test_the_network_stays_the_same(tmp_path):
    """But for the rounding of float32; names stay, and so does the survey."""
    made = made_of(tmp_path)
    found = ranged(made)
    assert found.notes == (ALL,) and found.rescaled == ("a", "b")
    assert sum(node.op_type == "Mul" for node in found.network.model.graph) == 3
    before, after = to_bytes(made.network.model), to_bytes(found.network.model)
    for batch in inputs(9):
        expected = run(before, batch)["y"]
        np.testing.assert_allclose(run(after, batch)["y"], expected, atol=1e-5 * np.abs(expected).max())
    assert {layer.name: layer for layer in survey(found.network)} == dict(made.layers)


@pytest.mark.parametrize(
    ("between", "behind", "weights"),
    [
        (SILU, READER, "int8"),
        (SILU, READER, "int4"),
        (SILU, "y = Conv (b, u)", "int8"),
        ("b = HardSwish (a)", READER, "int8"),
        ("b = Gelu (a)", READER, "int8"),
        ("b = Tanh (a)", READER, "int8"),
        ("b = Mish (a)", "d = Conv (b, u)\n e = Conv (b, u2)\n y = Add (d, e)", "int8"),
        (
            "p = Add (a, three)\n q = Clip (p, zero, six)\n r = Mul (a, q)\n b = Div (r, six)",
            READER,
            "int8",
        ),
    ],
)
def test_small_channels_keep_their_codes(tmp_path, between, behind, weights):
    """The quantized network loses a fraction of what it lost with one range; convolutions stay in int8."""
    proto = network(between, behind)
    u = next(onnx.numpy_helper.to_array(i) for i in proto.graph.initializer if i.name == "u")
    others = {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6), "u2": -2 * u[::-1]}
    for name, array in others.items():
        if any(name in node.input for node in proto.graph.node):
            proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
    made = made_of(tmp_path, proto, weights=weights)
    after = ranged(made)
    assert after.notes == (ALL,)
    model, reference = carried_out(made, after), to_bytes(made.network.model)
    assert error(model, reference) < (0.3 if weights == "int8" else 0.7) * error(made.model, reference)
    layers = sum(node.op_type == "Conv" for node in proto.graph.node)
    assert sum(node.op_type == "QLinearConv" for node in optimized(model).graph.node) == layers


def test_even_channels_are_left_alone(tmp_path):
    """Nothing to gain: the function stays on codes."""
    made = made_of(tmp_path, network(spread=0))
    found = ranged(made)
    assert found.notes == (NONE,) and found.network is made.network and found.plan is made.plan


@pytest.mark.parametrize(
    ("between", "behind", "outputs", "settings"),
    [
        (SILU, READER, ", float[N, C, 9, 8] b", {}),  # somebody outside reads it
        (SILU, READER, ", float[N, C, 9, 8] a", {}),
        (SILU, "d = Conv <group = 12> (b, k)\n y = Add (d, b)", "", {}),
        ("b = Relu (a)", READER, "", {}),  # equalization is for those
        (SILU, READER, "", {"granularity": "tensor"}),
        (SILU, READER, "", {"activations": "float"}),
        (SILU, "d = Conv <group = 12> (b, k)\n e = Conv <group = 12> (s, k2)\n y = Add (d, e)", "", {}),
    ],
)
def test_only_between_layers_on_codes(tmp_path, between, behind, outputs, settings):
    """Nothing is found, nothing is said."""
    proto = network(between, behind, outputs)
    kernel = np.ones((CHANNELS, 1, 1, 1), np.float32)
    for name in ("k", "k2"):
        if f"{name})" in behind:
            proto.graph.initializer.append(onnx.numpy_helper.from_array(kernel, name))
    made = made_of(tmp_path, proto, **settings)
    found = ranged(made)
    assert found.notes == () and found.network is made.network


def test_statistics_follow(tmp_path):
    """Moments of the readers are those of the multiplied tensor; its range covers what was kept."""
    made = made_of(tmp_path)
    found = ranged(made)
    factors = {
        name: np.asarray(value.const_value.numpy(), np.float64).reshape(-1)
        for name, value in found.network.model.graph.initializers.items()
        if "factors" in name
    }
    before, behind = 1 / factors["a_factors"], factors["b_factors"]
    assert before.min() == behind.min() == 1 and before[0] > 8 and behind[0] > 8
    layer = next(layer for layer in made.layers.values() if layer.weight == "v")
    key = layer.moment_key
    diagonal = np.diagonal(made.statistics.moments[key].second, axis1=1, axis2=2)
    changed = np.diagonal(found.statistics.moments[key].second, axis1=1, axis2=2)
    np.testing.assert_allclose(changed, diagonal * behind[:, None] ** 2, rtol=1e-6)
    for name in ("a", "b"):
        tensor = found.statistics.tensors[name]
        assert tensor.histogram.sum() == tensor.count > 0 and tensor.minimum < 0 < tensor.maximum
    sums, old = (s.channels[made.plan.layers[0].layer] for s in (found.statistics, made.statistics))
    np.testing.assert_allclose(sums.maximum, old.maximum * before)
    np.testing.assert_allclose(sums.squares, old.squares * before**2)


def test_a_plan_that_was_carried_out_gives_the_same_network(tmp_path):
    """Tensors inside the function have no codes in it any more, which changes nothing."""
    made = made_of(tmp_path)
    found = ranged(made)
    assert {e.tensor for e in made.plan.edges} - {e.tensor for e in found.plan.edges} == {"s"}
    again = give_channel_ranges(made.network, made.layers, found.plan, made.statistics)
    assert to_bytes(again.network.model) == to_bytes(found.network.model) and again.plan == found.plan


def test_functions_that_are_not_finite(tmp_path):
    """With a pole among the values nothing is multiplied, and nothing fails."""
    made = made_of(tmp_path, network("b = Reciprocal (a)"))
    (name, seen), *others = made.statistics.channels.items()
    histogram = seen.histogram.copy()
    histogram[3, 0] += 1  # a zero
    changed = {name: replace(seen, histogram=histogram), **dict(others)}
    made = replace(made, statistics=replace(made.statistics, channels=changed))
    assert ranged(made).notes == (NONE,)


def test_dead_channels_stay(tmp_path):
    """A channel without values does not set the range."""
    proto = network()
    for name in ("w", "c"):
        (entry,) = (i for i in proto.graph.initializer if i.name == name)
        array = onnx.numpy_helper.to_array(entry).copy()
        array[4] = 0
        entry.CopyFrom(onnx.numpy_helper.from_array(array, name))
    made = made_of(tmp_path, proto)
    found = ranged(made)
    assert found.notes == (ALL,)
    factors = found.network.model.graph.initializers["a_factors"].const_value.numpy()
    # their readers' weights are divided as far as any, lest they set the scale of a whole row
    assert np.isfinite(factors).all() and factors.reshape(-1)[4] == factors.min() < factors.max() == 1
    reference = to_bytes(made.network.model)
    assert error(carried_out(made, found), reference) < 0.3 * error(made.model, reference)


@pytest.mark.parametrize(("amplitude", "note"), [(2.0**-8, ALL), (2.0**16, ALL), (2.0**30, None)])
def test_values_of_any_size(tmp_path, amplitude, note):
    """Ranges scale with the values; beyond the bins of the histograms nothing is done."""
    proto = network("b = LeakyRelu (a)")
    for entry in proto.graph.initializer:
        by = amplitude if entry.name in ("w", "c") else 1 / amplitude
        array = onnx.numpy_helper.to_array(entry) * np.float32(by)
        entry.CopyFrom(onnx.numpy_helper.from_array(array, entry.name))
    made = made_of(tmp_path, proto)
    found = ranged(made)
    assert found.notes == (() if note is None else (note,))
    if note is not None:
        reference = to_bytes(made.network.model)
        assert error(carried_out(made, found), reference) < 0.3 * error(made.model, reference)


def test_integer_networks_keep_their_tables(tmp_path):
    """A function in float would not be integer-only."""
    made = made_of(tmp_path)
    plan = replace(made.plan, arithmetic="integer-fast")
    assert balance(made.network, made.layers, plan, made.statistics).network is made.network
    assert balance(made.network, made.layers, made.plan, made.statistics).notes == (ALL,)


def test_a_value_that_a_channel_mostly_has_is_hit():
    """A step that holds the value of a plateau exactly is better than a finer one that does not."""
    values = log_histogram.centres()
    counts = np.zeros((1, log_histogram.BINS), np.int64)
    plateau = log_histogram.bin_of(np.array([-0.27], np.float32))[0]
    counts[0, plateau] = 3000
    counts[0, log_histogram.bin_of(np.linspace(0.1, 60, 1000).astype(np.float32))] += 1
    used = counts.any(axis=0)
    values, counts = values[used], counts[:, used]
    within = values[:, None] + log_histogram.widths()[used, None] * np.array([-3, -1, 1, 3]) / 8
    codes = _Codes(name="x", values=values, within=within, counts=counts, function=_same)
    step = codes.best(np.ones(1)).steps[0]
    assert abs(-0.27 - step * np.rint(-0.27 / step)) < 0.02


def test_bins_cover_the_numbers():
    """Every bin begins where the one before ends."""
    middle, width = log_histogram.centres()[1:383], log_histogram.widths()[1:383]
    np.testing.assert_allclose(middle[:-1] + width[:-1] / 2, middle[1:] - width[1:] / 2, rtol=1e-12)
    assert (
        log_histogram.widths()[0] == 0
        and (log_histogram.widths()[385:] == log_histogram.widths()[1:384]).all()
    )
