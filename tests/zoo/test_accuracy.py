"""Accuracy on real networks: SQNR against float32, held to the figures in accuracy.json.

Quantized here and evaluated on ``val``, as ``dybitq evaluate --reference`` reports it. A change that costs a
network more than ``MARGIN`` dB fails. After a change that is meant to move the figures,

    DYBITQ_UPDATE_ACCURACY=1 pytest tests/zoo

writes what it measures into accuracy.json instead; the commit says what moved them.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from dybitq.api.calibrate import calibrate
from dybitq.api.evaluate import evaluate
from dybitq.api.quantize import quantize
from dybitq.plan.recipe import DEFAULTS, Recipe

MARGIN = 0.5  # dB; processors differ in the last bits of float32 sums, which moves figures by less
STORED = Path(__file__).with_name("accuracy.json")
SAMPLES = {"kws_dscnn": None, "resnet8_cifar10": 1000, "resnet20_cifar10": 500, "squeezenet1_1": 200}
SETTINGS = {
    "W8A8": {},
    "dybit4": {"weights": "dybit4"},
    "auto3": {"weights": "auto3"},
    "sparq4-5opt": {"activations": "sparq4-5opt"},
}


@pytest.fixture(scope="module", params=SAMPLES)
def network(request, zoo, tmp_path_factory):
    """Name of a network, with its model, data spec and statistics."""
    name = request.param
    model, spec = zoo / "models" / f"{name}.onnx", zoo / "specs" / f"{name}.yaml"
    statistics = tmp_path_factory.mktemp(name) / "network.stats"
    calibrate(model, spec, statistics, samples=SAMPLES[name])
    return name, model, spec, statistics


@pytest.mark.parametrize("setting", SETTINGS)
def test_sqnr(network, setting, tmp_path):
    """The output's SQNR is not below the stored one by more than the margin."""
    name, model, spec, statistics = network
    recipe = Recipe(defaults=replace(DEFAULTS, **SETTINGS[setting]))
    quantize(model, statistics, tmp_path / "small.onnx", recipe=recipe)
    found = evaluate(tmp_path / "small.onnx", spec, reference=model, samples=SAMPLES[name])
    sqnr = min(output.sqnr_db for output in found.outputs)
    stored = json.loads(STORED.read_text())
    if os.environ.get("DYBITQ_UPDATE_ACCURACY"):
        stored.setdefault(name, {})[setting] = round(sqnr, 2)
        STORED.write_text(json.dumps(stored, indent=2) + "\n")
    assert sqnr >= stored[name][setting] - MARGIN, f"{name} {setting}: {sqnr:.2f} dB"
