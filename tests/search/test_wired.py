"""Sensitivities on a real network: what they predict, what they leave alone, and their cache."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

from dybitq.allocation.budgets import sqnr_of
from dybitq.allocation.formulation import error_of
from dybitq.allocation.sensitivity import SENSITIVITIES, Subject
from dybitq.allocation.sensitivity.cache import folder_of, scores_of
from dybitq.allocation.sensitivity.gains import layer_gains
from dybitq.allocation.sensitivity.noise import LayerNoise
from dybitq.allocation.space import open_space
from dybitq.api.demo import demo
from dybitq.api.evaluate import evaluate
from dybitq.api.quantize import quantize
from dybitq.api.search_request import SEARCHED
from dybitq.calibration.store import load as load_statistics
from dybitq.data.spec import load_data
from dybitq.graph.export import to_bytes
from dybitq.graph.flow import FlowKind, flows
from dybitq.graph.load import load
from dybitq.graph.rewrites.probes import probed
from dybitq.graph.survey import survey
from dybitq.plan.recipe import Recipe
from dybitq.runtime.session import Session

LISTS = replace(SEARCHED, weights="int8,int4,int3", activations="int8,int4")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Folder with the demo's network, statistics and data."""
    folder = tmp_path_factory.mktemp("wired") / "digits"
    demo(folder)
    return folder


@pytest.fixture(scope="module")
def subject(digits):
    """The demo's network with three weight formats and two widths of activations."""
    network = load(digits / "digits.onnx")
    space = open_space(network, {layer.name: layer for layer in survey(network)}, Recipe(defaults=LISTS))
    inputs = Session(to_bytes(network.model)).inputs

    def source():
        return load_data(digits / "digits.yaml", inputs=inputs, split="calib", batch_size=16, samples=48)

    statistics = load_statistics(digits / "digits.stats")
    return Subject(space=space, statistics=statistics, source=source, samples=48)


def measured_sqnr(digits, folder, space, assignment) -> float:
    """SQNR of the emitted network on real samples, dB."""
    output = folder / "small.onnx"
    plan = space.plan(assignment)
    quantize(digits / "digits.onnx", digits / "digits.stats", output, plan=plan, force=True)
    found = evaluate(output, digits / "digits.yaml", reference=digits / "digits.onnx", samples=200)
    return found.outputs[0].sqnr_db


def test_measured_gains_predict_the_sqnr_of_whole_plans(digits, subject, tmp_path):
    """Plans of very different widths come out within 3 dB of what ``gain`` predicts."""
    scores = SENSITIVITIES.get("gain")(subject)
    space = subject.space
    mixed = {
        c.layer: (c.weights[i % len(c.weights)], c.activations[i % len(c.activations)])
        for i, c in enumerate(space.choices)
    }
    for assignment in (space.widest(), mixed, space.narrowest()):
        predicted = sqnr_of(error_of(scores, assignment))
        assert predicted == pytest.approx(measured_sqnr(digits, tmp_path, space, assignment), abs=3.0)


@pytest.mark.parametrize("name", sorted(SENSITIVITIES))
def test_fewer_bits_cost_more(subject, name):
    """Every sensitivity gives layers and tensors more for fewer bits, finite and at least 0."""
    scores = SENSITIVITIES.get(name)(subject)
    for choice in subject.space.choices:
        weights = [scores.weights[choice.layer][w] for w in choice.weights]
        activations = [scores.activations[choice.layer][a] for a in choice.activations]
        assert np.isfinite(weights + activations).all()
        assert min(weights + activations) >= 0
        assert weights == sorted(weights)
        assert activations == sorted(activations)


def test_the_closed_form_of_compensation_is_what_rounding_does(subject):
    """Nearest error times the conditional variances is the error of really compensated weights."""
    noise = LayerNoise(subject.space, subject.statistics)
    for name in ("pointwise", "block1", "block2", "top"):
        layer = subject.space.layers[name]
        nearest = noise.weight_errors(layer, ["int4"], compensated=False)["int4"]
        real = noise.weight_errors(layer, ["int4"], compensated=True)["int4"]
        predicted = nearest * noise.compensation(layer)
        assert 0.5 < predicted / real < 2.0
        assert abs(np.log(predicted / real)) < abs(np.log(nearest / real))


def test_errors_in_a_branch_count_less_than_in_the_stream(subject):
    """A residual block's layers gain less than the layer behind the sum, and the last layer gains 1."""
    gains = layer_gains(subject.space, subject.statistics)
    assert gains["scores"] == pytest.approx(1.0)
    assert gains["block2"] < gains["top"]


def test_a_probed_network_is_the_network(subject):
    """Without changes a probed network computes the same; a replaced weight changes its output."""
    network = subject.space.network
    layer = subject.space.layers["top"]
    made = probed(network, [layer.weight], {"residual.relu": ("top",)})
    batch = next(iter(subject.source()))
    plain = Session(to_bytes(network.model)).run(batch.feeds)
    session = Session(made.model)
    feeds = {**batch.feeds, **dict.fromkeys(made.deltas.values(), np.zeros((), np.float32))}
    name = session.outputs[0].name
    assert np.allclose(session.run(feeds)[name], plain[name], atol=1e-5)
    shape = tuple(extent or 1 for extent in layer.weight_shape)
    changed = session.run({**feeds, layer.weight: np.zeros(shape, np.float32)})[name]
    assert not np.allclose(changed, plain[name], atol=1e-2)


def test_scores_are_kept_and_damaged_ones_made_again(digits, subject):
    """The cache answers for the same request only, and a broken file is no answer."""
    statistics = digits / "digits.stats"
    first = scores_of("output-error", subject, statistics)
    (path,) = folder_of(statistics).glob("output-error-*.json")
    document = json.loads(path.read_text())
    assert document["weights"] == {k: dict(v) for k, v in first.weights.items()}
    path.write_text("{")
    assert scores_of("output-error", subject, statistics) == first
    assert json.loads(path.read_text()) == document


def test_a_function_of_one_tensor_passes_errors_on_once(tmp_path):
    """``x * Sigmoid(x)`` is a function of x: stacked a hundred times it does not multiply the gain."""
    lines = ['<ir_version: 10, opset_import: ["" : 17]> net (float[1,4] x) => (float[1,4] y0)', "{"]
    names = ["x", *(f"t{i}" for i in range(100))]
    for i in range(100):
        lines.append(f"s{i} = Sigmoid({names[i]})")
        lines.append(f"{names[i + 1]} = Mul({names[i]}, s{i})")
    lines += ["y0 = Identity(t99)", "}"]
    path = tmp_path / "silu.onnx"
    onnx.save(onnx.parser.parse_model("\n".join(lines)), path)
    network = load(path)
    (whole,) = flows(network, {})
    assert (whole.kind, whole.inputs, whole.outputs) == (FlowKind.PASS, ("x",), ("y0",))
