"""Plans priced without quantizing, against the files that quantizing with them writes."""

from dataclasses import replace

import pytest

from dybitq.api.demo import demo
from dybitq.api.quantize import quantize
from dybitq.api.simulate import simulate
from dybitq.plan.recipe import DEFAULTS, Recipe


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The demo's network and statistics."""
    folder = tmp_path_factory.mktemp("priced") / "digits"
    demo(folder)
    return folder


@pytest.mark.parametrize("activations", ["auto", "int4", "dybit4"])
@pytest.mark.parametrize("hardware", ["dybit_zcu102_like", "bitfusion_45nm"])
def test_a_plan_costs_what_its_file_costs(digits, tmp_path, hardware, activations):
    """Latency and energy of a plan are those of the emitted file, re-coded activations included."""
    recipe = Recipe(defaults=replace(DEFAULTS, weights="int4", activations=activations, rounding="nearest"))
    output, plan = tmp_path / "small.onnx", tmp_path / "plan.yaml"
    model = digits / "digits.onnx"
    quantize(model, digits / "digits.stats", output, recipe=recipe, save_plan=plan)
    emitted = simulate(output, hardware).report
    planned = simulate(model, hardware, plan=plan).report
    assert planned.total_cycles == pytest.approx(emitted.total_cycles, abs=10)
    assert planned.latency_us == pytest.approx(emitted.latency_us, rel=1e-3)
    assert planned.energy_pj == pytest.approx(emitted.energy_pj, rel=1e-3)
