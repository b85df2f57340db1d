"""``dybitq search``: plans that quantize emits and simulate confirms, and everything that is refused."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from dybitq.api.demo import demo
from dybitq.cli.main import group
from dybitq.plan.store import read_plan

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


def refused(run, *arguments: str, code: int = 2) -> str:
    """What a search says that fails with this exit code; it leaves no plan."""
    result = search(run, *arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert not Path("plan.yaml").exists()
    return result.stderr


def test_budgets_are_kept_together(run):
    """Every kind of cost can be bounded, several at once, and the exact costs keep every limit."""
    texts = {
        "latency": "262us",
        "energy": "0.75",
        "dram": "0.7",
        "memory": "4.9kB",
        "bops": "0.5",
        "size": "0.7",
    }
    arguments = [part for name, text in texts.items() for part in ("--budget", f"{name}={text}")]
    document = found(run, *arguments)
    costs = document["plans"][0]["costs"]
    for budget in document["budgets"]:
        assert costs[budget["cost"]] <= budget["limit"] * (1 + 1e-9), budget["name"]


def test_cycles_and_ratios_are_limits_on_latency(run):
    """``latency`` may be given in cycles, and a plain number is a share of uniform int8."""
    document = found(run, "--budget", "latency=2500cycles")
    assert document["plans"][0]["costs"]["cycles"] <= 2500
    document = found(run, "--budget", "latency=0.96", "--force")
    assert document["budgets"][0]["limit"] == pytest.approx(0.96 * document["baseline"]["latency"])


def test_the_accuracy_side_minimises_a_cost(run):
    """With a smallest SQNR the plan is the smallest one that is predicted to reach it."""
    document = found(run, "--budget", "sqnr=18dB", "--minimise", "size")
    plan = document["plans"][0]
    assert plan["predicted_sqnr_db"] >= 18
    assert plan["costs"]["size"] < 0.7 * document["baseline"]["size"]
    worse = found(run, "--budget", "sqnr=12", "--minimise", "size", "--force")
    assert worse["plans"][0]["costs"]["size"] < plan["costs"]["size"]


DROP_SPEC = """
reader: npz
splits:
  calib: {path: few.npz, arrays: {image: x}, labels: y}
  bare: {path: few.npz, arrays: {image: x}}
  val: {path: absent.npz, arrays: {image: x}, labels: y}
transform: [{scale: 0.0625}, {layout: CHW}]
task: classification
"""
FEW_FORMATS = ("--weights", "int8,int4,int2", "--activations", "int8", "--rounding", "nearest")


@pytest.fixture
def few(run, digits):
    """Arguments of a search that measures drops on 64 samples; ``val``, which evaluate reads, has no file."""
    with np.load(digits / "digits.npz") as arrays:
        np.savez("few.npz", x=arrays["x_calib"][:64], y=arrays["y_calib"][:64])
    Path("few.yaml").write_text(DROP_SPEC)
    return ("--data", "few.yaml", "--sensitivity", "output-error", "--first-last", "same", *FEW_FORMATS)


def test_a_drop_is_measured(run, few):
    """``drop`` walks from plan to plan on ``calib``, and the plan that it gives keeps what it measured."""
    document = found(run, "--budget", "drop=5", "--minimise", "size", *few)
    (plan,) = document["plans"]
    measured = plan["measured"]
    assert measured["drop"] <= 5
    assert measured["evaluations"] > 2  # the cheapest plan lost more, so plans between were tried
    assert plan["costs"]["size"] < document["baseline"]["size"]
    files = ("{d}/digits.onnx", "--statistics", "{d}/digits.stats", "--plan", "plan.yaml", "-o", "q.onnx")
    assert run("quantize", *files).exit_code == 0
    checked = run(
        *("evaluate", "q.onnx", "--reference", "{d}/digits.onnx", "--json"),
        *("--data", "few.yaml", "--split", "calib"),
    )
    assert json.loads(checked.stdout)["metrics"]["top-1"]["drop"] == measured["drop"]


def test_the_split_of_a_drop_is_named(run, few):
    """``--drop-split`` is the split that is read; without labels, or without the budget, it is refused."""
    message = refused(run, "--budget", "drop=5", "--drop-split", "bare", *few)
    assert "split 'bare'" in message and "--drop-split" in message
    assert "absent.npz" in refused(run, "--budget", "drop=5", "--drop-split", "val", *few, code=1)
    message = refused(run, "--budget", "size=0.6", "--drop-split", "calib", *few)
    assert "--drop-split names the split that --budget drop is measured on" in message


def test_a_front_has_no_plan_that_another_beats(run):
    """``--pareto`` writes plans of rising cost and falling error, each to its own file."""
    document = found(run, "--pareto", "4", "--budget", "size=0.9", "--plot", "front.svg")
    plans = document["plans"]
    assert [Path(plan["path"]).name for plan in plans] == [
        f"plan-0{n}.yaml" for n in range(1, len(plans) + 1)
    ]
    sizes = [plan["costs"]["size"] for plan in plans]
    errors = [plan["predicted_error"] for plan in plans]
    assert sizes == sorted(sizes) and errors == sorted(errors, reverse=True)
    assert all(Path(plan["path"]).exists() for plan in plans)
    assert Path("front.svg").read_text().startswith("<?xml")


def test_explain_names_every_layer(run):
    """``--explain`` gives a sentence for every layer, with the shadow prices of the budgets that bind."""
    result = search(run, "--budget", "size=0.6", "--budget", "latency=0.96", "--explain")
    assert result.exit_code == 0, result.output
    for layer in ("stem", "depthwise", "pointwise", "block1", "block2", "top", "scores"):
        assert f"\n{layer}: " in result.stdout
    assert "binds: 1% more lowers the objective by" in result.stdout
    assert "at the shadow prices" in result.stdout


def test_the_same_search_gives_the_same_plan(run):
    """Plans repeat byte for byte, from cached scores as well as from new ones."""
    arguments = ("--budget", "size=0.55", "--sensitivity", "compensated")
    assert search(run, *arguments).exit_code == 0
    first = Path("plan.yaml").read_bytes()
    assert search(run, *arguments, "--force").exit_code == 0
    assert Path("plan.yaml").read_bytes() == first
    assert read_plan(Path("plan.yaml")).layers[0].reason.startswith("first or last layer")


@pytest.mark.parametrize("strategy", ["lagrangian", "ebs", "greedy-speedup", "greedy-error"])
def test_no_strategy_beats_the_exact_one(run, strategy):
    """All strategies keep the budgets; the certificate of each says how far it may be from the best."""
    budget = ("--budget", "size=0.6", "--budget", "latency=0.97")
    best = found(run, *budget)["plans"][0]
    other = found(run, *budget, "--strategy", strategy, "--force")["plans"][0]
    assert other["predicted_error"] >= best["predicted_error"] * (1 - 1e-9)
    assert other["certificate"]["gap"] >= 0


@pytest.mark.parametrize("sensitivity", ["gain", "divergence", "hutchinson", "orthogonality"])
def test_sensitivities_that_run_the_network(run, digits, sensitivity):
    """They need data, are kept next to the statistics, and are not computed twice."""
    assert "--data" in refused(run, "--budget", "size=0.6", "--sensitivity", sensitivity)
    data = ("--data", "{d}/digits.yaml", "--samples", "8", "--sensitivity", sensitivity)
    first = found(run, "--budget", "size=0.6", *data)
    kept = list((digits / "digits.stats.scores").glob(f"{sensitivity}-*.json"))
    assert len(kept) == 1
    stamp = kept[0].stat().st_mtime_ns
    again = found(run, "--budget", "size=0.6", *data, "--force")
    assert again["plans"] == first["plans"]
    assert kept[0].stat().st_mtime_ns == stamp


def test_integer_only_plans_are_searched_too(run):
    """A search for integer-only arithmetic ends in a plan that quantize carries out."""
    assert search(run, "--budget", "size=0.6", "--integer-only").exit_code == 0
    assert read_plan(Path("plan.yaml")).arithmetic == "integer-fast"
    fixed = ("--statistics", "{d}/digits.stats", "--plan", "plan.yaml", "-o", "small.onnx")
    result = run("quantize", "{d}/digits.onnx", *fixed)
    assert result.exit_code == 0, result.output


def test_rules_fix_layers(run, tmp_path):
    """A rule with one format fixes a layer, one with a list narrows its choice; the rest is searched."""
    (tmp_path / "recipe.yaml").write_text(
        "rules:\n- {name: block1, weights: int8, activations: int8}\n- {name: top, weights: 'int4,dybit4'}\n"
    )
    document = found(run, "--budget", "size=0.7", "--recipe", "recipe.yaml")
    choices = document["plans"][0]["choices"]
    assert choices["block1"] == {"weights": "int8", "activations": "int8"}
    assert choices["top"]["weights"] in ("int4", "dybit4")


BAD = {
    "nothing to keep": ((), "nothing bounds the search"),
    "unknown budget": (("--budget", "latnecy=0.5"), "Did you mean 'latency'?"),
    "no number": (("--budget", "latency=fast"), "expected latency=NUMBER"),
    "no value": (("--budget", "latency"), "expected latency=NUMBER"),
    "unknown unit": (("--budget", "size=3apples"), "unknown unit 'apples'"),
    "negative": (("--budget", "size=-1"), "above 0"),
    "twice": (("--budget", "size=0.5", "--budget", "size=0.6"), "given twice"),
    "two accuracies": (("--budget", "sqnr=20", "--budget", "drop=1"), "give one of them"),
    "drop without data": (("--budget", "drop=1"), "--data"),
    "unknown cost": (("--budget", "sqnr=20", "--minimise", "sizee"), "Did you mean 'size'?"),
    "useless minimise": (("--budget", "size=0.5", "--minimise", "latency"), "bound the accuracy"),
    "contradiction": (("--budget", "sqnr=20", "--budget", "size=1", "--minimise", "size"), "contradict"),
    "front of one accuracy": (("--pareto", "3", "--budget", "sqnr=20"), "cannot be combined"),
    "unknown strategy": (("--budget", "size=0.5", "--strategy", "magic"), "unknown search strategy"),
    "unknown sensitivity": (("--budget", "size=0.5", "--sensitivity", "magic"), "unknown sensitivity"),
    "sqnr of nRMSE": (("--budget", "sqnr=20", "--sensitivity", "weight-nrmse"), "does not predict"),
    "unknown format": (("--budget", "size=0.5", "--weights", "int4,intt8"), "intt8"),
    "unsigned weights": (("--budget", "size=0.5", "--weights", "uint4"), "negative"),
    "missing mode": (("--budget", "size=0.5", "--weights", "int8,int5"), "has no mode for int5"),
    "formats that it has": (
        ("--budget", "size=0.5", "--weights", "int8,int2,int5"),
        "it runs weights int8, int2; activations ",
    ),
    "missing window": (
        ("--budget", "size=0.5", "--activations", "sparq4-5opt,int8"),
        "no mode for sparq4-5opt",
    ),
    "unknown machine": (("--budget", "size=0.5", "--hardware", "tpu9"), "unknown machine"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_requests(run, arguments, message):
    """Exit code 2 and a message that says what is wrong."""
    assert message in refused(run, *arguments)


def test_infeasible_budgets_say_what_is_reachable(run):
    """The closest reachable value of every budget, and which one binds; the same as data."""
    message = refused(run, "--budget", "latency=0.1", "--budget", "size=0.9")
    assert "the least reachable is" in message and "(binds)" in message and "of uniform int8 is" in message
    result = search(run, "--budget", "memory=0.3", "--json")
    document = json.loads(result.stdout)
    assert document["status"] == "infeasible"
    assert document["budgets"][0]["cost"] == "memory" and document["budgets"][0]["binds"]
    assert "size is in bytes" in refused(run, "--budget", "size=1kB")
    message = refused(run, "--budget", "sqnr=99dB")
    assert "is an SQNR of" in message
    message = refused(run, "--budget", "size=0.4", "--hardware", "int8_sa")
    assert "--stored" in message


def test_rules_that_match_nothing(run, tmp_path):
    """A rule has to match a layer."""
    (tmp_path / "recipe.yaml").write_text("rules:\n- {name: nowhere, weights: int8}\n")
    assert "matches none" in refused(run, "--budget", "size=0.7", "--recipe", "recipe.yaml")


def test_a_size_out_of_reach(run):
    """What keeps it out of reach: widths the machine does not run, and the layers at both ends."""
    message = refused(run, "--budget", "size=0.2", "--weights", "int8,int2")
    assert "size <= 9353.6: the least reachable is" in message
    assert "first and last layers stay at int8; --first-last same lets them take less" in message
    assert "--first-last" not in refused(run, "--budget", "size=0.2", "--first-last", "same")


def test_fewer_samples_than_usual(run, digits, tmp_path):
    """Where the split has fewer than 32, all are taken; more than there are cannot be asked for."""
    with np.load(digits / "digits.npz") as data:
        np.savez(tmp_path / "few.npz", **{name: data[name][:9] for name in data})
    spec = (digits / "digits.yaml").read_text().replace("digits.npz", "few.npz")
    (tmp_path / "few.yaml").write_text(spec)
    words = ("--budget", "size=0.6", "--data", "few.yaml", "--weights", "int8,int4")
    assert search(run, *words).exit_code == 0
    assert "9 samples, but 12 were asked for" in search(run, *words, "--samples", "12", "--force").stderr


def test_statistics_of_another_model(run, digits, tmp_path):
    """Statistics of another file are refused."""
    model = onnx.load(digits / "digits.onnx")
    model.doc_string = "another file"
    onnx.save(model, tmp_path / "other.onnx")
    result = run(
        *("search", "other.onnx", "--statistics", "{d}/digits.stats", "--hardware", HARDWARE),
        *("--budget", "size=0.5", "-o", "plan.yaml"),
    )
    assert result.exit_code == 1
    assert "statistics of another model" in result.stderr


@pytest.mark.parametrize("verb", ["search", "quantize"])
def test_a_model_that_is_quantized_already(run, verb):
    """The message says so, not that the statistics are of another model."""
    common = ("{d}/int8.onnx", "--statistics", "{d}/digits.stats", "-o", "out")
    more = ("--hardware", HARDWARE, "--budget", "size=0.5") if verb == "search" else ()
    result = run(verb, *common, *more)
    assert result.exit_code == 1
    assert "int8.onnx: quantized already" in result.stderr
    assert "start from the float model" in result.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weights: int8", "weights: int99", "int99"),
        ("layer: stem", "layer: stemm", "Did you mean 'stem'?"),
        ("tensor: image", "tensor: imag", "imag"),
        ("schema_version: 1", "schema_version: 7", "schema_version"),
        ("model_sha256: ", "model_sha256: 00", "another model"),
    ],
)
def test_plans_edited_into_something_impossible(run, old, new, message):
    """A plan of a search that was edited wrongly is refused, and the field is named."""
    assert search(run, "--budget", "size=0.6").exit_code == 0
    plan = Path("plan.yaml")
    text = plan.read_text()
    assert old in text
    plan.write_text(text.replace(old, new, 1))
    fixed = ("--statistics", "{d}/digits.stats", "--plan", "plan.yaml", "-o", "small.onnx")
    result = run("quantize", "{d}/digits.onnx", *fixed)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_the_machine_is_not_written_to(run):
    """A machine file is an input: no --force replaces it by a plan."""
    Path("machine.yaml").write_text(f"extends: {HARDWARE}\n")
    result = search(
        run, "--budget", "size=0.6", "--hardware", "machine.yaml", "-o", "machine.yaml", "--force"
    )
    assert result.exit_code == 1
    assert "machine.yaml: is an input" in result.stderr


def test_an_output_is_kept(run):
    """An existing plan is replaced with --force only."""
    assert search(run, "--budget", "size=0.6").exit_code == 0
    result = search(run, "--budget", "size=0.6")
    assert result.exit_code == 1
    assert "--force" in result.stderr


def test_help_has_sections(run):
    """``search --help`` lists options in sections."""
    shown = " ".join(run("search", "--help").stdout.split())
    titles = ("Options:", "Machine and budgets:", "Method:", "Recipe:", "Integer-only:", "Data:")
    assert [shown.count(title) for title in titles] == [1] * len(titles)
    assert sorted(titles, key=shown.index) == list(titles)
