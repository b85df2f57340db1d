"""``dybitq search``: plans that quantize emits and simulate confirms, and everything that is refused."""

import json

import pytest
from click.testing import CliRunner

from dybitq.api.demo import demo
from dybitq.cli.main import group

HARDWARE = "dybit_zcu102_like"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Folder with the demo's network, statistics and data."""
    folder = tmp_path_factory.mktemp("search") / "digits"
    demo(folder)
    return folder


@pytest.fixture
def run(digits, tmp_path, monkeypatch):
    """Run ``dybitq`` in an empty folder; ``{d}`` in arguments stands for the demo's folder."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str):
        return CliRunner().invoke(group, [argument.replace("{d}", str(digits)) for argument in arguments])

    return invoke


def search(run, *arguments: str):
    """``dybitq search`` on the demo's network."""
    fixed = ("search", "{d}/digits.onnx", "--statistics", "{d}/digits.stats")
    machine = () if "--hardware" in arguments else ("--hardware", HARDWARE)
    output = () if "-o" in arguments else ("-o", "plan.yaml")
    return run(*fixed, *machine, *output, *arguments)


def found(run, *arguments: str):
    """The document of a search that succeeds."""
    result = search(run, "--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("hardware", [HARDWARE, "bitfusion_45nm", "stripes_like", "t4_hawq_calibrated"])
def test_simulate_confirms_what_search_predicts(run, digits, hardware):
    """Costs in the report are those of ``simulate --plan`` exactly, and those of the emitted file."""
    document = found(run, "--budget", "size=0.6", "--hardware", hardware, "--stored")
    (plan,) = document["plans"]
    assert plan["costs"]["size"] <= 0.6 * document["baseline"]["size"]
    model, small = str(digits / "digits.onnx"), "small.onnx"
    planned = run("simulate", model, "--hardware", hardware, "--plan", "plan.yaml", "--json")
    priced = json.loads(planned.stdout)
    assert plan["costs"]["latency"] == pytest.approx(priced["totals"]["latency_us"], rel=1e-9)
    emitted = run(
        "quantize", model, "--statistics", "{d}/digits.stats", "--plan", "plan.yaml", "-o", small, "--json"
    )
    assert emitted.exit_code == 0, emitted.output
    shares = json.loads(emitted.stdout)["coverage"]["shares"]
    assert sum(share["packed_bytes"] for share in shares) == plan["costs"]["size"]
    real = json.loads(run("simulate", small, "--hardware", hardware, "--json").stdout)
    assert real["totals"]["latency_us"] == pytest.approx(plan["costs"]["latency"], rel=2e-3)
    assert real["totals"]["energy_pj"] == pytest.approx(plan["costs"]["energy"], rel=2e-3)
