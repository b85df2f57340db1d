"""Targets: what holds for every one of them, and that a new one is one class which nothing else knows of."""

from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from dybitq import demo
from dybitq.api.inspect import inspect
from dybitq.api.quantize import quantize
from dybitq.emit.builder import Builder
from dybitq.emit.edges import CodedEdges
from dybitq.emit.layers import float_bias, keep_float, label
from dybitq.emit.target import Refusal, check_target, targets
from dybitq.errors import ConfigError
from dybitq.graph.load import load
from dybitq.graph.survey import survey
from dybitq.plan.recipe import DEFAULTS, Recipe, make_plan
from dybitq.plan.store import plan_text, read_plan, read_recipe
from dybitq.records.arithmetic import FLOAT_RESCALE, INTEGER_FAST
from dybitq.records.formats import NumberFormat
from dybitq.records.plan import ActivationMode, EdgePlan, LayerPlan, Plan
from dybitq.registry import names_in
from tests.emit.cases import CASES
from tests.emit.toolkit import largest_difference, make, weight_of
from tests.models import make_model

NETWORKS = ("residual", "gemm", "matmul", "attention", "embedding", "conv_transpose_between", "two_clamps")
DECISIONS = {  # of recipes, each of them beyond some target
    "tapered": {"weights": "dybit4"},
    "wide": {"weights": "dybit7"},
    "tensor": {"granularity": "tensor"},
    "recoded": {"activations": "sparq4-5opt"},
    "narrow": {"activations": "int5"},
    "dynamic": {"activations": "dynamic8"},
    "weights_only": {"activations": "float"},
    "auto": {"weights": "auto3"},
}


class PlainWriter:
    """Weights as float constants, activations as uint8 codes."""

    def __init__(self, model, plan):
        self.model = model
        self.builder = Builder(model)
        self.edges = CodedEdges(self.builder)

    def layer(self, layer, *, output_coded):
        """The layer with its rounded weights in float."""
        weight = self.builder.constant(weight_of(layer.fitted), "w")
        layer.node.replace_input_with(layer.weight_index, weight)
        label(layer.node, layer, layer.plan.activations)
        self.float_layer(layer.node, layer.work, output_coded=output_coded)
        return float_bias(self.builder, layer, layer.node.outputs[0])

    def float_layer(self, node, work, *, output_coded):
        """Left as it is."""
        if output_coded:
            keep_float(self.builder, node, work)

    def finish(self):
        """Mark the file."""
        self.model.ir_version = max(self.model.ir_version, 10)
        self.model.metadata_props["plain"] = "yes"


class Plain:
    """Carries integers without re-coding and with static ranges."""

    def carries(self, fmt: NumberFormat):
        """Integers only."""
        return fmt.family == "int"

    def refusals(self, plan, layers):
        """Everything but integers, static ranges and float rescaling."""
        found = []
        if plan.arithmetic != FLOAT_RESCALE:
            found.append(
                Refusal(decision=plan, field="arithmetic", why="it has floats", nearest=FLOAT_RESCALE)
            )
        for layer in plan.layers:
            if layer.has_coded_weights and not layer.weights.startswith(("int", "auto")):
                found.append(
                    Refusal(decision=layer, field="weights", why="not evenly spaced", nearest="int4")
                )
            if layer.recode != "none":
                found.append(Refusal(decision=layer, field="recode", why="no tables", nearest="none"))
            if layer.activations is ActivationMode.DYNAMIC:
                found.append(Refusal(decision=layer, field="activations", why="no range", nearest="float"))
        return found

    def open(self, model: ir.Model, plan: Plan):
        """A writer of floats."""
        return PlainWriter(model, plan)


@pytest.fixture
def plain(monkeypatch):
    """A target that is registered for one test."""
    assert "onnxruntime" in list(targets)  # the folder is loaded
    monkeypatch.setitem(targets._entries, "plain", Plain())


def with_nearest(plan: Plan, refused) -> Plan:
    """The plan with every refused value replaced by the nearest one."""
    for one in refused:
        value = ActivationMode(one.nearest) if one.field == "activations" else one.nearest
        changed = replace(one.decision, **{one.field: value})
        match one.decision:
            case Plan():
                plan = replace(plan, arithmetic=changed.arithmetic)
            case LayerPlan(layer=name):
                now = {one.field: value}
                plan = replace(
                    plan, layers=tuple(replace(p, **now) if p.layer == name else p for p in plan.layers)
                )
            case EdgePlan(tensor=name):
                plan = replace(plan, edges=tuple(changed if e.tensor == name else e for e in plan.edges))
    return plan


def planned(case, tmp_path, **settings):
    """Layers and plan of one of the small networks."""
    path = tmp_path / "float.onnx"
    onnx.save(make_model(case.body, **case.options), path)
    network = load(path)
    layers = survey(network)
    recipe = Recipe(defaults=replace(DEFAULTS, **settings), first_last=None)
    return {layer.name: layer for layer in layers}, make_plan(network, layers, recipe)


def test_names_are_those_of_the_files():
    """Every file of the folder registers a target under its own name, which ``--help`` shows, or variants."""
    assert set(names_in("dybitq.emit.targets")) == {name.split("-")[0] for name in targets}
    assert set(names_in("dybitq.emit.targets")) <= set(targets)
    assert "onnxruntime" in names_in("dybitq.emit.targets")


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("target", [*targets, "plain"])
@pytest.mark.parametrize("decision", [*DECISIONS, "integer"])
def test_refusals(target, decision, tmp_path):
    """A refusal names what has the decision, the value and the nearest one; with that, nothing is refused."""
    layers, plan = planned(CASES["residual"], tmp_path, **DECISIONS.get(decision, {}))
    if decision == "integer":
        plan = replace(plan, arithmetic=INTEGER_FAST)
    plan = replace(plan, target=target)
    entry = targets.get(target)
    refused = entry.refusals(plan, layers)
    for one in refused:
        name = {LayerPlan: "layer", EdgePlan: "tensor"}.get(type(one.decision))
        for part in (getattr(one.decision, one.field), one.nearest, getattr(one.decision, name or "target")):
            assert str(part) in f"{one} {target}"
    if refused:
        with pytest.raises(ConfigError, match=f"target '{target}' cannot write the plan: "):
            check_target(plan, layers)
    accepted = with_nearest(plan, refused)
    assert entry.refusals(accepted, layers) == type(refused)()
    check_target(accepted, layers)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("target", [*targets, "plain"])
@pytest.mark.parametrize("name", NETWORKS)
def test_runs_and_computes_what_was_planned(target, name, tmp_path):
    """What a target writes passes the checker, loads, runs, and agrees with the plain-float emulation."""
    case = CASES[name]
    for settings in (
        {"weights": "int5", "activations": "int8"},
        {"weights": "auto4", "activations": "float"},
    ):
        proto = make_model(case.body, **case.options)
        layers, plan = planned(case, tmp_path, rounding="nearest", **settings)
        plan = replace(plan, target=target)
        plan = with_nearest(plan, targets.get(target).refusals(plan, layers))
        change = {"target": target, "layers": plan.layers, "edges": plan.edges}
        made = make(proto, tmp_path, change=change, rounding="nearest", **settings)
        assert made.plan.target == target
        assert largest_difference(made) < 3.01


@pytest.mark.usefixtures("plain")
def test_the_whole_way_with_a_new_target(digits, tmp_path):
    """A registered class is all it takes: recipe, plan, auto formats, fitting on data, notes and the file."""
    model, statistics, spec = digits
    file = tmp_path / "recipe.yaml"
    file.write_text("target: plain\ndefaults: {weights: auto3}\n")
    output, saved = tmp_path / "out.onnx", tmp_path / "plan.yaml"
    result = quantize(
        model, statistics, output, recipe=read_recipe(file), save_plan=saved, data=spec, samples=20
    )
    assert {layer.weights for layer in result.plan.layers} == {"int3", "int8"}
    assert result.check.sqnr_db > 5
    written = onnx.load(output)
    assert {entry.key: entry.value for entry in written.metadata_props}["plain"] == "yes"
    assert not written.functions
    assert "\ntarget: plain\n" in saved.read_text()
    again = tmp_path / "again.onnx"
    quantize(model, statistics, again, plan=read_plan(saved), data=spec, samples=20)
    assert again.read_bytes() == output.read_bytes()
    assert inspect(output).coverage.weights > 0


@pytest.mark.usefixtures("plain")
def test_refused_before_anything_is_fitted(digits, tmp_path):
    """The first refused layer and its nearest format, how many more there are; nothing is written."""
    model, statistics, _ = digits
    recipe = Recipe(defaults=replace(DEFAULTS, weights="dybit4"), target="plain")
    output = tmp_path / "out.onnx"
    message = (
        r"options: target 'plain' cannot write the plan: layer 'depthwise' has weights: dybit4 "
        r"\(not evenly spaced\); the nearest that it can write is int4 \(and 4 more\)"
    )
    with pytest.raises(ConfigError, match=message):
        quantize(model, statistics, output, recipe=recipe, progress=lambda *_: pytest.fail("fitted"))
    assert not output.exists()


def test_default_target_is_left_out_of_plans(tmp_path):
    """Plans without a target are for onnxruntime, and such plans do not say so."""
    _, plan = planned(CASES["conv"], tmp_path)
    assert plan.target == "onnxruntime"
    assert "target" not in plan_text(plan).replace("targets", "")


def test_unknown_target(digits, tmp_path):
    """The nearest name is suggested."""
    model, statistics, _ = digits
    recipe = Recipe(target="onxruntime")
    message = "unknown target 'onxruntime'. Did you mean 'onnxruntime'?"
    with pytest.raises(ConfigError, match=message):
        quantize(model, statistics, tmp_path / "out.onnx", recipe=recipe)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The demo network, its statistics and its data spec."""
    from dybitq.api.calibrate import calibrate

    folder = Path(demo.__file__).parent

    here = tmp_path_factory.mktemp("digits")
    statistics = here / "digits.stats"
    calibrate(folder / "digits.onnx", folder / "digits.yaml", statistics, samples=50)
    return folder / "digits.onnx", statistics, folder / "digits.yaml"
