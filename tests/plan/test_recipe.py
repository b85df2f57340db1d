"""Recipes to plans: defaults, rules in order, ends of the network, and what no layer can take."""

from dataclasses import replace

import pytest

from dybitq.api.integer import plan_of
from dybitq.errors import ConfigError
from dybitq.plan.check import check_plan
from dybitq.plan.recipe import DEFAULTS, Recipe, Rule, Settings, end_layers, make_plan
from dybitq.records.arithmetic import FLOAT_RESCALE, INTEGER_EXPLICIT, INTEGER_FAST
from dybitq.records.plan import ActivationMode, Plan


def planned(surveyed, **recipe) -> Plan:
    """The plan of a recipe."""
    return make_plan(surveyed.network, tuple(surveyed.layers.values()), Recipe(**recipe))


def weights(plan: Plan) -> list[str]:
    """Weight formats in order of the layers."""
    return [layer.weights for layer in plan.layers]


def test_defaults(chain):
    """Without anything said: int8 everywhere, static, and dynamic for MatMul."""
    plan = planned(chain)
    assert weights(plan) == ["int8"] * 4
    assert [layer.activations for layer in plan.layers] == [ActivationMode.STATIC] * 3 + [
        ActivationMode.DYNAMIC
    ]
    assert plan.model_sha256 == chain.network.sha256
    assert plan.bias_correction


def test_first_and_last_layers_keep_eight_bits(chain):
    """The ends stay at int8 unless told otherwise, and the plan says why."""
    narrow = replace(DEFAULTS, weights="dybit4")
    plan = planned(chain, defaults=narrow)
    assert weights(plan) == ["int8", "dybit4", "dybit4", "int8"]
    ends, between = "first or last layer", "default"
    assert [layer.reason for layer in plan.layers] == [ends, between, between, ends]
    assert weights(planned(chain, defaults=narrow, first_last=None)) == ["dybit4"] * 4
    assert weights(planned(chain, defaults=narrow, first_last="int6")) == ["int6", "dybit4", "dybit4", "int6"]


def test_float_default_reaches_the_ends_too(chain):
    """Leaving everything in float leaves the first and last layers in float."""
    assert weights(planned(chain, defaults=replace(DEFAULTS, weights="float"))) == ["float"] * 4


def test_first_matching_rule_wins(chain):
    """Rules are tried in order; what the first one leaves open comes from the defaults."""
    rules = (
        Rule(name="Conv_1", settings=Settings(weights="int3")),
        Rule(op_type="Conv", settings=Settings(weights="int5", granularity="tensor")),
        Rule(name="*", settings=Settings(weights="int7")),
    )
    plan = planned(chain, rules=rules)
    assert weights(plan) == ["int5", "int3", "int5", "int7"]
    assert [layer.granularity for layer in plan.layers] == ["tensor", "channel", "tensor", "channel"]
    assert [layer.reason for layer in plan.layers] == ["rule 2", "rule 1", "rule 2", "rule 3"]


def test_rules_beat_the_ends_only_in_what_they_say(chain):
    """A rule without weights leaves the first layer its own format."""
    rules = (Rule(op_type="Conv", settings=Settings(scale="max")),)
    plan = planned(chain, defaults=replace(DEFAULTS, weights="dybit4"), rules=rules)
    assert weights(plan) == ["int8", "dybit4", "dybit4", "int8"]
    assert [layer.scale for layer in plan.layers] == ["max", "max", "max", "mse"]


def test_both_conditions_of_a_rule_hold(chain):
    """Operator type and name have to match together; case counts."""
    rules = (Rule(op_type="MatMul", name="*[03]", settings=Settings(weights="int4")),)
    assert weights(planned(chain, rules=rules)) == ["int8", "int8", "int8", "int4"]
    with pytest.raises(ConfigError):
        planned(chain, rules=(Rule(name="conv_0", settings=Settings(weights="int4")),))


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        (Rule(name="Conv_7"), "'Conv_"),
        (Rule(name="*Convv_1*"), "'Conv_1'"),
        (Rule(op_type="Convolution"), "'Conv'"),
        (Rule(op_type="Conv", name="MatMul_3"), "'MatMul_"),
    ],
)
def test_rule_without_a_layer(chain, rule, hint):
    """A rule that matches nothing is an error with its number and the nearest name."""
    good = Rule(op_type="Conv", settings=Settings(weights="int4"))
    with pytest.raises(ConfigError, match=r"options: rule 2 .*matches none of the 4 layers") as caught:
        planned(chain, rules=(good, rule))
    assert f"Did you mean {hint}" in str(caught.value)


def test_rule_behind_one_that_takes_everything(chain):
    """A rule all of whose layers an earlier one takes is an error; one that gets some of them is not."""
    wide = Rule(op_type="Conv", settings=Settings(weights="int8"))
    narrow = Rule(name="Conv_1", settings=Settings(weights="int4"))
    with pytest.raises(
        ConfigError, match=r"options: rule 2 never applies: rule 1 before it takes all of its 1"
    ):
        planned(chain, rules=(wide, narrow))
    assert weights(planned(chain, rules=(narrow, wide)))[:2] == ["int8", "int4"]


def test_range_method_follows_the_reader(chain):
    """The range of a tensor is what the layer that reads it asks for."""
    plan = planned(chain, rules=(Rule(name="Conv_1", settings=Settings(range="minmax")),))
    assert {edge.tensor: edge.range for edge in plan.edges}["b"] == "minmax"
    assert {edge.range for edge in plan.edges if edge.tensor != "b"} == {"mse"}


@pytest.mark.parametrize("arithmetic", [FLOAT_RESCALE, INTEGER_FAST, INTEGER_EXPLICIT])
def test_range_method_of_what_no_layer_reads(surveyed, arithmetic):
    """Operands of an addition have the range of the defaults, in every arithmetic."""
    body = "a = Conv (x, w0)\n b = Conv (a, w1)\n s = Add (a, b)\n y = Conv (s, w2)"
    shapes = {"w0": (4, 4, 1, 1), "w1": (4, 4, 1, 1), "w2": (4, 4, 1, 1)}
    found = surveyed(body, shapes, inputs="float[1, 4, 9, 8] x", outputs="float[1, 4, 9, 8] y")
    recipe = Recipe(defaults=replace(DEFAULTS, range="minmax"), arithmetic=arithmetic)
    plan = plan_of(found.network, tuple(found.layers.values()), recipe)
    assert {"b", "s"} <= {edge.tensor for edge in plan.edges}
    assert {edge.range for edge in plan.edges} == {"minmax"}


def test_several_ends(surveyed):
    """Parallel branches have several first and several last layers."""
    body = """
      a = Conv (x, w0)
      b = Conv (x, w1)
      s = Add (a, b)
      c = Conv (s, w2)
      y = Conv (c, w3)
      z = Conv (s, w3)
    """
    shapes = {"w0": (4, 4, 1, 1), "w1": (4, 4, 1, 1), "w2": (4, 4, 1, 1), "w3": (3, 4, 1, 1)}
    model = surveyed(body, shapes, outputs="float[N, P, Q, R] y, float[N, P, Q, R] z")
    ends = end_layers(model.network.model.graph, tuple(model.layers.values()))
    assert {model.layers[name].output for name in ends} == {"a", "b", "y", "z"}


def test_modes_that_an_operator_cannot_take(surveyed):
    """Look-ups, transposed convolutions and products with the weight on the left stay weight-only."""
    body = "e = Gather (t, i)\n m = MatMul (w, e)\n y = MatMul (m, v)"
    model = surveyed(
        body,
        {"t": (20, 8), "w": (6, 4), "v": (3, 8, 5)},
        inputs="int64[3, 4] i",
        outputs="float[3, 6, 5] y",
    )
    plan = planned(model, defaults=replace(DEFAULTS, activations="int8"))
    assert [layer.activations for layer in plan.layers] == [ActivationMode.FLOAT] * 3
    assert not plan.edges


def test_products_of_activations(surveyed):
    """They take codes only where activations are static; otherwise they are left in float."""
    body = "q = MatMul (x, w)\n t = Transpose <perm = [0, 2, 1]> (q)\n y = MatMul (q, t)"
    model = surveyed(body, {"w": (6, 6)}, inputs="float[N, 5, 6] x", outputs="float[N, 5, 5] y")
    static = planned(model, defaults=replace(DEFAULTS, activations="int8"))
    assert static.layers[1].weights == "activation"
    assert [edge.tensor for edge in static.edges] == ["x", "q"]
    for activations in ("auto", "dynamic8", "float"):
        plan = planned(model, defaults=replace(DEFAULTS, activations=activations))
        assert plan.layers[1].weights == "float"
        assert not plan.edges


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "dybit44"}, "layer 'Conv_0'.*'dybit44'.*Did you mean 'dybit4'"),
        ({"weights": "udybit4"}, "layer 'Conv_0'.*no negative numbers.*'dybit4'"),
        ({"weights": "activation"}, "layer 'Conv_0' has weights of its own"),
        ({"activations": ActivationMode.DYNAMIC}, "layer 'Conv_0' is a Conv; only a MatMul"),
        ({"layer": "Conv_00"}, "no layer 'Conv_00'. Did you mean 'Conv_0'"),
        (
            {"recode": "sparq4-5opt", "activations": ActivationMode.FLOAT},
            "layer 'Conv_0' has recode: sparq4-5opt and activations: float; re-coding takes",
        ),
        ({"recode": "int4", "weights": "float"}, "layer 'Conv_0' has recode: int4 and weights: float"),
    ],
)
def test_edited_layers_are_checked(chain, change, message):
    """What a hand-edited plan says of a layer has to fit the layer."""
    plan = planned(chain)
    edited = replace(plan, layers=(replace(plan.layers[0], **change), *plan.layers[1:]))
    with pytest.raises(ConfigError, match=message):
        check_plan(chain.network, chain.layers, edited)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tensor": "bb"}, "no float activation 'bb' to code. Did you mean 'b'"),
        ({"tensor": "w1"}, "no float activation 'w1'"),
        ({"format": "dybit4"}, "tensor 'x' has format 'dybit4'; activations take int2 to int8"),
        ({"format": "int1"}, "tensor 'x' has format 'int1'; activations take int2 to int8"),
        ({"tensor": "a"}, "'b' has the codes of 'a', which Relu"),
    ],
)
def test_edited_edges_are_checked(chain, change, message):
    """Edges name float activations, once for each set of codes, in integer formats."""
    plan = planned(chain)
    edited = replace(plan, edges=(replace(plan.edges[0], **change), *plan.edges[1:]))
    with pytest.raises(ConfigError, match=message):
        check_plan(chain.network, chain.layers, edited)


def test_narrow_codes_are_not_recoded(chain):
    """A plan that wants fewer bits of a tensor whose codes have few already contradicts itself."""
    plan = planned(chain)
    edited = replace(
        plan,
        layers=(replace(plan.layers[0], recode="int5"), *plan.layers[1:]),
        edges=(replace(plan.edges[0], format="int3"), *plan.edges[1:]),
    )
    with pytest.raises(
        ConfigError, match=r"'Conv_0' re-codes its input as 'int5', but tensor 'x' has format 'int3'"
    ):
        check_plan(chain.network, chain.layers, edited)


def test_plan_of_another_model(chain):
    """The hash decides, and the message says what to do."""
    plan = replace(planned(chain), model_sha256="0" * 64)
    with pytest.raises(ConfigError, match=r"made for another model \(sha256 000000000000"):
        check_plan(chain.network, chain.layers, plan)


@pytest.mark.parametrize(
    ("body", "shapes", "options", "mode", "message"),
    [
        (
            "y = ConvTranspose (x, w)",
            {"w": (4, 3, 2, 2)},
            {},
            ActivationMode.STATIC,
            "a ConvTranspose, which has no kernel for 8-bit activations; set its activations to 'float'",
        ),
        (
            "y = MatMul (w, x)",
            {"w": (3, 6)},
            {"inputs": "float[N, 6, 5] x", "outputs": "float[N, 3, 5] y"},
            ActivationMode.DYNAMIC,
            "a MatMul with its weight on the left; only a MatMul by a constant matrix",
        ),
        (
            "y = MatMul (x, w)",
            {"w": (2, 6, 3)},
            {"inputs": "float[2, 5, 6] x", "outputs": "float[2, 5, 3] y"},
            ActivationMode.STATIC,
            "a MatMul by a stack of matrices, which has no kernel",
        ),
        (
            "y = Gather (w, i)",
            {"w": (9, 4)},
            {"inputs": "int64[N] i", "outputs": "float[N, 4] y"},
            ActivationMode.STATIC,
            "an embedding, which has no kernel",
        ),
    ],
)
def test_modes_without_a_kernel_are_refused(surveyed, body, shapes, options, mode, message):
    """A plan cannot ask for 8-bit activations where no kernel takes them."""
    model = surveyed(body, shapes, **options)
    plan = planned(model)
    check_plan(model.network, model.layers, plan)
    edited = replace(plan, layers=(replace(plan.layers[0], activations=mode),))
    with pytest.raises(ConfigError, match=message):
        check_plan(model.network, model.layers, edited)


def test_product_of_activations_has_no_format(surveyed):
    """Its weights are 'activation' or 'float'."""
    model = surveyed("y = MatMul (x, z)", {}, inputs="float[5, 6] x, float[6, 3] z", outputs="float[5, 3] y")
    plan = planned(model, defaults=replace(DEFAULTS, activations="int8"))
    edited = replace(plan, layers=(replace(plan.layers[0], weights="int8"),))
    with pytest.raises(ConfigError, match="multiplies two activations; its weights can be 'activation' or"):
        check_plan(model.network, model.layers, edited)
