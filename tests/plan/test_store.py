"""Recipe and plan files: there and back, and every mistake with its place."""

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dybitq.errors import ConfigError
from dybitq.plan.recipe import DEFAULTS, Recipe, Rule, Settings
from dybitq.plan.store import parse_plan, plan_document, plan_text, read_plan, read_recipe
from dybitq.records.arithmetic import IntegerOptions
from dybitq.records.plan import ActivationMode, EdgePlan, LayerPlan, Plan

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)

LAYERS = st.builds(
    LayerPlan,
    layer=NAMES,
    weights=st.sampled_from(["int8", "dybit3", "float", "activation", "auto4"]),
    granularity=st.sampled_from(["channel", "tensor"]),
    scale=st.sampled_from(["mse", "max"]),
    rounding=st.sampled_from(["nearest", "compensated"]),
    activations=st.sampled_from(ActivationMode),
    recode=st.sampled_from(["none", "sparq4-5opt"]),
    reason=NAMES,
)
EDGES = st.builds(
    EdgePlan,
    tensor=NAMES,
    format=st.sampled_from(["int8", "int4"]),
    range=st.sampled_from(["mse", "minmax"]),
    reason=NAMES,
)


@given(
    layers=st.lists(LAYERS, unique_by=lambda layer: layer.layer, max_size=5),
    edges=st.lists(EDGES, unique_by=lambda edge: edge.tensor, max_size=5),
    bias_correction=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_round_trip(layers, edges, bias_correction):
    """Any plan comes back from its YAML as it was, whatever its layers are called."""
    plan = Plan(
        model_sha256="ab" * 32, layers=tuple(layers), edges=tuple(edges), bias_correction=bias_correction
    )
    text = plan_text(plan)
    assert parse_plan(yaml.safe_load(text), source="test") == plan
    assert plan_text(parse_plan(yaml.safe_load(text), source="test")) == text


def test_one_line_a_layer_and_defaults_left_out():
    """The file as people read it, byte for byte."""
    plan = Plan(
        model_sha256="0" * 64,
        layers=(
            LayerPlan(layer="conv: 1", weights="dybit4", reason="rule 1"),
            LayerPlan(layer="fc", weights="int8", granularity="tensor", activations=ActivationMode.FLOAT),
        ),
        edges=(EdgePlan(tensor="x", range="minmax"), EdgePlan(tensor="y")),
        bias_correction=False,
    )
    assert plan_text(plan) == (
        "schema_version: 1\n"
        f"model_sha256: '{'0' * 64}'\n"
        "bias_correction: false\n"
        "layers:\n"
        "- {layer: 'conv: 1', weights: dybit4, reason: rule 1}\n"
        "- {layer: fc, weights: int8, granularity: tensor, activations: float}\n"
        "edges:\n"
        "- {tensor: x, range: minmax}\n"
        "- {tensor: y}\n"
    )


def test_empty_lists():
    """A plan that codes nothing is still a plan."""
    plan = Plan(model_sha256="a", layers=(), edges=())
    assert plan_text(plan).endswith("layers: []\nedges: []\n")
    assert parse_plan(yaml.safe_load(plan_text(plan)), source="test") == plan


def test_document_without_reasons():
    """What goes into the metadata of a model leaves out why."""
    plan = Plan(model_sha256="a", layers=(LayerPlan(layer="l", weights="int8", reason="because"),), edges=())
    assert plan_document(plan, reasons=False)["layers"] == [{"layer": "l", "weights": "int8"}]


def test_options_of_integer_arithmetic_round_trip():
    """Only what differs from the defaults is written."""
    plan = Plan(
        model_sha256="a",
        layers=(),
        edges=(),
        arithmetic="integer-fast",
        integer=IntegerOptions(residual_bits=16),
    )
    document = plan_document(plan)
    assert document["integer"] == {"residual_bits": 16}
    assert parse_plan(document, source="test") == plan


GOOD = "schema_version: 1\nmodel_sha256: abc\nlayers:\n- {layer: a, weights: int8}\nedges:\n- {tensor: x}\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema_version: 1\n", "", "schema_version: is missing"),
        ("schema_version: 1", "schema_version: 2", "schema_version: input should be 1, found the number 2"),
        ("model_sha256: abc\n", "", "model_sha256: is missing"),
        ("weights: int8", "wieghts: int8", "layers.0.wieghts: unknown field; did you mean 'weights'"),
        ("weights: int8", "weights: 8", "layers.0.weights: input should be a valid string, found the number"),
        (
            "weights: int8",
            "weights: int8, activations: dynamic8",
            "layers.0.activations: input should be 'static', 'dynamic' or 'float'",
        ),
        (
            "weights: int8",
            "weights: int8, granularity: row",
            "layers.0.granularity: input should be 'channel' or 'tensor'",
        ),
        ("{tensor: x}", "{format: int8}", "edges.0.tensor: is missing"),
        ("{tensor: x}", "x", "edges.0"),
        ("- {tensor: x}", "- {tensor: x}\n- {tensor: x}", "tensor 'x' stands there twice"),
        ("edges:", "- {layer: a, weights: int4}\nedges:", "layer 'a' stands there twice"),
        ("layers:", "layers: 3\nother:", "layers: input should be a valid list"),
        ("schema_version: 1", "schema_version: 1\nlayer: 1", "layer: unknown field; did you mean 'layers'"),
        ("edges:", "edges: [", "is not valid YAML"),
        (GOOD, "", "expected a mapping of fields at the top, found nothing"),
        (GOOD, "- 1\n", "expected a mapping of fields at the top, found a list"),
        ("{layer: a, weights: int8}", "{layer: a, layer: b, weights: int8}", "'layer' is given twice"),
    ],
)
def test_malformed_plan(tmp_path, old, new, message):
    """Every mistake is one message with the file and the place."""
    path = tmp_path / "plan.yaml"
    path.write_text(GOOD)
    read_plan(path)
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        read_plan(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_mistakes_at_once(tmp_path):
    """Two mistakes are reported in one run."""
    path = tmp_path / "plan.yaml"
    path.write_text("schema_version: 1\nmodel_sha256: a\nlayers: [{layer: 1}]\nedges: []\n")
    with pytest.raises(ConfigError, match=r"layers\.0\.layer: .*layers\.0\.weights: is missing"):
        read_plan(path)


def test_plan_that_is_not_there(tmp_path):
    """A missing or binary file is named."""
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_plan(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not a text file in UTF-8"):
        read_plan(tmp_path / "binary.yaml")


def test_recipe_file(tmp_path):
    """What is not said comes from the defaults; rules keep their order."""
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "defaults: {weights: dybit4, range: minmax}\n"
        "first_last: null\n"
        "bias_correction: false\n"
        "rules:\n"
        "- {op_type: Conv, name: 'a*', weights: int5}\n"
        "- {name: '*', scale: max}\n"
    )
    assert read_recipe(path) == Recipe(
        defaults=Settings(
            weights="dybit4",
            activations=DEFAULTS.activations,
            granularity=DEFAULTS.granularity,
            scale=DEFAULTS.scale,
            rounding=DEFAULTS.rounding,
            range="minmax",
            reduce_range=DEFAULTS.reduce_range,
        ),
        rules=(
            Rule(op_type="Conv", name="a*", settings=Settings(weights="int5")),
            Rule(op_type=None, name="*", settings=Settings(scale="max")),
        ),
        first_last=None,
        bias_correction=False,
    )


def test_recipe_without_an_exception_for_the_ends(tmp_path):
    """``same`` as on the command line, or null."""
    path = tmp_path / "recipe.yaml"
    for word in ("same", "null"):
        path.write_text(f"first_last: {word}\n")
        assert read_recipe(path).first_last is None


@pytest.mark.parametrize("options", ["{only: strict}", "{multiplier_bits: 31, scales: pow2}", "{}"])
def test_options_of_another_arithmetic(tmp_path, options):
    """Options of integer-only arithmetic do nothing in float rescaling, unless the options ask for it."""
    path = tmp_path / "recipe.yaml"
    path.write_text(f"integer: {options}\n")
    with pytest.raises(ConfigError, match=r"recipe.yaml: integer: .*add 'arithmetic: integer-fast'"):
        read_recipe(path)
    assert read_recipe(path, integer_only=True).source == str(path)
    path.write_text(f"schema_version: 1\nmodel_sha256: a\ninteger: {options}\nlayers: []\nedges: []\n")
    with pytest.raises(ConfigError, match=r"recipe.yaml: integer: .*arithmetic is float-rescale"):
        read_plan(path)


def test_empty_recipe_is_the_default(tmp_path):
    """A recipe may say nothing at all."""
    path = tmp_path / "recipe.yaml"
    path.write_text("{}\n")
    assert read_recipe(path) == Recipe()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [{weights: int4}]", "rules.0: needs op_type, name or both to match layers with"),
        (
            "rules: [{op: Conv, weights: int4}]",
            "rules.0.op: unknown field; known fields: weights, activations",
        ),
        ("default: {weights: int4}", "default: unknown field; did you mean 'defaults'"),
        ("defaults: {weight: int4}", "defaults.weight: unknown field; did you mean 'weights'"),
        ("defaults: {weights: 4}", "defaults.weights: input should be a valid string"),
        ("bias_correction: 'yes'", "bias_correction: input should be a valid boolean"),
        ("first_last: 8", "first_last: input should be a valid string"),
    ],
)
def test_malformed_recipe(tmp_path, text, message):
    """Every mistake is one message with the file and the place."""
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)
