"""Weighted layers as emitted: modes, biases, plans changed by hand, what stays in float and says so."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from dybitq.emit.emit import emit
from dybitq.graph.export import to_bytes
from dybitq.plan.recipe import Rule, Settings
from dybitq.records.plan import ActivationMode
from tests.emit.cases import CASES, SAME, W1, W3, W, array
from tests.emit.toolkit import against_float, largest_difference, make, optimized, run
from tests.models import make_model

THREE = make_model(
    "a = Conv (x, w)\n b = Relu (a)\n c = Conv (b, v)\n d = Relu (c)\n y = Conv (d, u)",
    weights={"w": W, "v": W3[:4], "u": array(5, 4, 1, 1)},
)


def metadata(model: bytes) -> dict[str, dict[str, str]]:
    """Metadata of the nodes that have any, by node name."""
    graph = onnx.load_model_from_string(model).graph
    return {
        node.name: {entry.key: entry.value for entry in node.metadata_props}
        for node in graph.node
        if node.metadata_props
    }


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("name", ["residual", "gemm", "conv_transpose_between", "matmul", "embedding"])
def test_granularity(name, granularity, tmp_path):
    """One scale for each channel or for the tensor; both fuse."""
    case = CASES[name]
    proto = make_model(case.body, **case.options)
    made = make(proto, tmp_path, activations="int8", weights="int4", granularity=granularity)
    ops = made.ops
    runs = case.runs | ({"Gather": 1} if (name, granularity) == ("embedding", "tensor") else {})
    assert {op: ops[op] for op in runs} == runs
    sizes = {weight.scale.size for weight in made.fitted.weights.values()}
    assert (sizes == {1}) == (granularity == "tensor")
    assert largest_difference(made) < 3.01


@pytest.mark.parametrize("activations", ["auto", "int8", "float"])
@pytest.mark.parametrize(
    "name", ["matmul", "matmul_weight_on_the_left", "matmul_batched_weight", "attention", "residual", "gemm"]
)
def test_corrected_biases(name, activations, tmp_path):
    """Biases that correction changes, or makes where there were none, arrive in the right shape."""
    case = CASES[name]
    made = make(make_model(case.body, **case.options), tmp_path, weights="int2", activations=activations)
    assert largest_difference(made) < 3.01
    if name != "matmul_batched_weight":
        assert all(weight.bias is not None for weight in made.fitted.weights.values())


def test_correction_helps(tmp_path):
    """Means of the outputs come back."""
    case = CASES["matmul_weight_on_the_left"]
    rng = np.random.default_rng(0)
    batches = [{"x": rng.uniform(0, 1, (4, 6, 5)).astype(np.float32)} for _ in range(4)]
    made = [
        make(
            make_model(case.body, **case.options),
            tmp_path,
            batches=batches,
            weights="int2",
            bias_correction=correct,
        )
        for correct in (False, True)
    ]
    wanted = [run(to_bytes(made[0].network.model), batch)["y"] for batch in batches]
    off = [
        np.abs(np.mean([run(m.model, b)["y"] - y for b, y in zip(batches, wanted)], axis=(0, 1, 3))).max()
        for m in made
    ]
    assert off[1] < 0.1 * off[0]


def test_huge_bias_beside_small_weights(tmp_path):
    """An int32 bias does not overflow, and the layer is still right."""
    proto = make_model(
        "y = Conv (x, w, b)", weights={"w": 1e-6 * W, "b": np.array([1e4, -1e4, 0, 1, -1, 1e-6], np.float32)}
    )
    made = make(proto, tmp_path)
    assert against_float(made) > 40
    assert largest_difference(made) < 1.01


@pytest.mark.parametrize("weights", ["int8", "int3"])
def test_dead_channels_and_zero_weights(weights, tmp_path):
    """Channels without weights, and a layer without any, give their bias and nothing else."""
    w = W.copy()
    w[1] = 0
    proto = make_model(
        "a = Conv (x, w, b)\n r = Relu (a)\n y = Conv (r, v, c)",
        weights={"w": w, "b": array(6), "v": np.zeros_like(W1), "c": array(5)},
    )
    made = make(proto, tmp_path, weights=weights)
    assert made.ops["QLinearConv"] == 2
    assert largest_difference(made) < 1.01
    found = run(made.model, made.feeds)["y"]
    np.testing.assert_allclose(found, np.broadcast_to(array(5)[None, :, None, None], found.shape), atol=0.02)


def test_layer_left_in_float_between_quantized_ones(tmp_path):
    """Its weights are not rounded by anybody: not by us, not by the runtime."""
    rules = (Rule(name="Conv_1", settings=Settings(weights="float")),)
    made = make(THREE, tmp_path, rules=rules)
    assert made.ops["QLinearConv"] == 2 and made.ops["Conv"] == 1
    assert largest_difference(made) < 1.01


@pytest.mark.parametrize(
    "rules",
    [
        (Rule(name="Conv_1", settings=Settings(weights="dybit6")),),
        (Rule(name="Conv_1", settings=Settings(activations="float")),),
        (Rule(name="Conv_0", settings=Settings(weights="dybit8")), Rule(name="Conv_2")),
    ],
)
def test_mixed_modes(rules, tmp_path):
    """Layers in float arithmetic between layers on integer kernels."""
    made = make(THREE, tmp_path, rules=rules, weights="int6")
    assert made.ops["QLinearConv"] == 2 and made.ops["Conv"] == 1
    assert largest_difference(made) < 2.01


def without_edge(made, tensor):
    """A plan without one of its edges."""
    return {"edges": tuple(edge for edge in made.plan.edges if edge.tensor != tensor)}


@pytest.mark.parametrize(
    ("tensor", "floats"),
    [
        ("b", {"Conv_0": "its output gets no codes", "Conv_1": "its input has no codes"}),
        ("x", {"Conv_0": "its input has no codes"}),
        ("y", {"Conv_2": "its output gets no codes"}),
    ],
)
def test_edges_removed_by_hand(tensor, floats, tmp_path):
    """Layers without codes on either side fall back to float, and say why."""
    change = without_edge(make(THREE, tmp_path), tensor)
    made = make(THREE, tmp_path, change=change, bias_correction=False)
    found = metadata(made.model)
    assert {name: entry.get("dybitq.reason") for name, entry in found.items()} == {
        name: floats.get(name) for name in ("Conv_0", "Conv_1", "Conv_2")
    }
    for name, entry in found.items():
        assert entry["dybitq.activations"] == ("float" if name in floats else "static")
    assert made.ops["QLinearConv"] == 3 - len(floats)
    assert made.ops["DequantizeLinear"] <= 2  # weights are folded, not decoded at every run
    assert against_float(made) > 30


def test_layers_removed_by_hand(tmp_path):
    """A layer that the plan does not mention stays as it is."""
    plan = make(THREE, tmp_path).plan
    made = make(THREE, tmp_path, change={"layers": plan.layers[:1]})
    assert sorted(metadata(made.model)) == ["Conv_0"]
    names = {tensor.name for tensor in onnx.load_model_from_string(made.model).graph.initializer}
    assert {"v", "u"} <= names and "w" not in names
    assert against_float(made) > 30


def test_nothing_but_edges(tmp_path):
    """Activations alone can be coded."""
    plan = make(THREE, tmp_path).plan
    made = make(THREE, tmp_path, change={"layers": tuple(replace(p, weights="float") for p in plan.layers)})
    assert not made.fitted.weights
    assert made.ops["Conv"] == 3 and made.ops["QLinearConv"] == 0
    assert largest_difference(made) < 1.01


def test_products_of_activations_in_float_by_plan(tmp_path):
    """'float' for a product of activations leaves it alone although both operands could be coded."""
    case = CASES["attention"]
    static = make(make_model(case.body, **case.options), tmp_path, activations="int8")
    layers = tuple(
        replace(p, weights="float", activations=ActivationMode.FLOAT) if p.weights == "activation" else p
        for p in static.plan.layers
    )
    made = make(
        make_model(case.body, **case.options), tmp_path, activations="int8", change={"layers": layers}
    )
    assert largest_difference(made) < 2.01


def test_narrow_activations(tmp_path):
    """Edges below 8 bits use few codes, and everything still fuses."""
    plan = make(THREE, tmp_path).plan
    edges = tuple(replace(e, format="int4") if e.tensor in "bd" else e for e in plan.edges)
    made = make(THREE, tmp_path, change={"edges": edges})
    assert made.fitted.edges["b"].high == 15
    assert made.ops["QLinearConv"] == 3
    # One value of b that lies half way between two of its few codes moves a handful of outputs.
    assert largest_difference(made, share=0.97) < 1.01 and largest_difference(made) < 10


def test_metadata_of_layers(tmp_path):
    """Every layer says its format and how its activations arrive, also where its node was replaced."""
    body = "e = Gather (t, i)\n a = MatMul (e, w)\n b = MatMul (a, v)\n y = MatMul (m, b)"
    proto = make_model(
        body,
        inputs="int64[3, 4] i",
        outputs="float[3, 2, 5] y",
        weights={"t": array(20, 8), "w": array(8, 8), "v": array(8, 5), "m": array(2, 4)},
    )
    rules = (Rule(name="MatMul_1", settings=Settings(weights="dybit7")),)
    made = make(proto, tmp_path, weights="dybit4", rules=rules)
    found = metadata(made.model)
    assert set(found) == set(made.layers)
    by_output = {layer.output: found[name] for name, layer in made.layers.items()}
    assert by_output["e"] == {"dybitq.weights": "dybit4", "dybitq.activations": "float"}
    assert by_output["y"]["dybitq.activations"] == "float"
    kinds = sorted((by_output[k]["dybitq.weights"], by_output[k]["dybitq.activations"]) for k in "ab")
    assert kinds == [("dybit4", "dynamic"), ("dybit7", "float")]
    (wide,) = (entry for entry in found.values() if "dybitq.reason" in entry)
    assert wide["dybitq.reason"] == "the integers of dybit7 do not fit int8"


@pytest.mark.parametrize("name", CASES)
def test_no_dead_weight(name, tmp_path):
    """No initializer is left that nobody reads, and no float copy of a quantized weight."""
    case = CASES[name]
    made = make(make_model(case.body, **case.options), tmp_path, weights="dybit4")
    graph = onnx.load_model_from_string(made.model).graph
    used = {name for node in graph.node for name in node.input}
    used |= {n for node in graph.node for a in node.attribute for m in a.g.node for n in m.input}
    assert {tensor.name for tensor in graph.initializer} <= used
    assert not graph.value_info
    kept = {made.layers[n].weight for n in made.fitted.weights} & {t.name for t in graph.initializer}
    assert kept == ({"w"} if name == "weight_read_elsewhere" else set())


@pytest.mark.parametrize("name", ["residual", "attention", "silu", "if_reads_codes"])
def test_emission_is_pure(name, tmp_path):
    """The network is not changed, and the same arguments give the same bytes."""
    case = CASES[name]
    made = make(make_model(case.body, **case.options), tmp_path, weights="int3")
    before = to_bytes(made.network.model)
    again = to_bytes(emit(made.network, made.layers, made.plan, made.fitted))
    assert again == made.model
    assert to_bytes(made.network.model) == before


def test_names_that_are_taken(tmp_path):
    """Short names of ours make way for those of the model."""
    weights = {"w1": SAME, "s1": SAME, "b1": array(4), "z1": array(4)}
    body = """
      q1 = Conv (x, w1, b1)
      r1 = Relu (q1)
      f1 = Conv (r1, s1, z1)
      c1 = Relu (f1)
      y = Conv (c1, w1)
    """
    proto = make_model(body, weights=weights, outputs="float[N, P, Q, R] y, float[N, 4, 5, 4] r1")
    proto.graph.output[1].type.tensor_type.ClearField("shape")
    made = make(proto, tmp_path, weights="dybit3")
    assert made.ops["QLinearConv"] == 3
    assert largest_difference(made) < 2.01


def test_model_with_functions_and_other_domains(tmp_path, monkeypatch):
    """Functions of the model are inlined, its other domains stay, ours is added."""
    proto = make_model(
        "a = my.Twice (x)\n c = Conv (a, w)\n y = com.microsoft.Gelu (c)",
        weights={"w": SAME},
        domains=', "my" : 1, "com.microsoft" : 1',
        functions='<domain: "my", opset_import: ["" : 17]>\nTwice (v) => (z) { z = Add (v, v) }',
    )
    path = tmp_path / "float.onnx"
    onnx.save(proto, path)
    monkeypatch.setattr(onnx.checker, "check_model", lambda *args, **options: None)  # knows no Microsoft
    made = make(path, tmp_path, weights="dybit4")
    found = onnx.load_model_from_string(made.model)
    assert {entry.domain for entry in found.opset_import} == {"", "com.microsoft", "dybitq"}
    assert {function.domain for function in found.functions} == {"dybitq"}
    assert optimized(made.model).graph.node
    assert against_float(made) > 10
