"""What a search may choose: ties between readers of one tensor, parts of a concatenation, rules."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dybitq.allocation.prices import Prices
from dybitq.allocation.space import open_space
from dybitq.errors import ConfigError
from dybitq.graph.load import load
from dybitq.graph.survey import survey
from dybitq.graph.work.workload import read_workload
from dybitq.hardware.machine import load_machine
from dybitq.plan.recipe import DEFAULTS, Recipe, Rule, Settings

LISTS = replace(DEFAULTS, weights="int8,int4", activations="int8,int4")
COSTS = ("latency", "cycles", "energy", "dram", "size", "bops", "memory")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A network with two layers on one tensor, a concatenation of both, and one layer that reads it."""
    random = np.random.default_rng(0)
    nodes, weights = [], []

    def conv(name: str, source: str, inputs: int, outputs: int, kernel: int) -> str:
        array = random.normal(size=(outputs, inputs, kernel, kernel)).astype(np.float32)
        weights.append(numpy_helper.from_array(array, f"{name}.w"))
        weights.append(numpy_helper.from_array(np.zeros(outputs, np.float32), f"{name}.b"))
        pads = [kernel // 2] * 4
        nodes.append(
            helper.make_node("Conv", [source, f"{name}.w", f"{name}.b"], [f"{name}.y"], name=name, pads=pads)
        )
        nodes.append(helper.make_node("Relu", [f"{name}.y"], [f"{name}.relu"], name=f"{name}.r"))
        return f"{name}.relu"

    stem = conv("stem", "x", 3, 8, 3)
    parts = [conv("left", stem, 8, 8, 1), conv("right", stem, 8, 8, 3)]
    nodes.append(helper.make_node("Concat", parts, ["both"], name="join", axis=1))
    last = conv("last", conv("middle", "both", 16, 8, 1), 8, 4, 1)
    shapes = [[1, 3, 16, 16], [1, 4, 16, 16]]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip(("x", last), shapes)]
    graph = helper.make_graph(nodes, "net", infos[:1], infos[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    found = tmp_path_factory.mktemp("space") / "net.onnx"
    onnx.save(model, found)
    return found


def opened(path, **changes):
    """The space of the network with lists of two formats."""
    network = load(path)
    layers = {layer.name: layer for layer in survey(network)}
    return open_space(network, layers, replace(Recipe(defaults=LISTS), **changes))


def test_readers_of_one_tensor_are_tied(path):
    """Layers that read the same codes choose one width; the ends are fixed by rule."""
    space = opened(path)
    assert space.tied_activations == (("left", "right"),)
    choices = {choice.layer: choice for choice in space.choices}
    assert choices["stem"].weights == ("int8",) and choices["last"].weights == ("int8",)
    assert choices["left"].weights == ("int8", "int4") and choices["left"].root == "stem.relu"


def test_parts_of_a_concatenation_are_as_narrow_as_the_whole(path):
    """A narrow concatenation is written narrow by the layers before it."""
    space = opened(path)
    plan = space.plan(space.widest() | {"middle": ("int8", "int4")})
    formats = {edge.tensor: edge.format for edge in plan.edges}
    assert formats["both"] == formats["left.relu"] == formats["right.relu"] == "int4"
    assert formats["stem.relu"] == "int8"


def test_rules_that_contradict_each_other_are_refused(path):
    """Two rules that give the readers of one tensor different activations name both layers."""
    rules = tuple(
        Rule(name=name, settings=Settings(activations=setting))
        for name, setting in (("left", "int4"), ("right", "int8"))
    )
    with pytest.raises(ConfigError, match=r"'stem.relu'.*'left' \(rule 1\): int4; 'right' \(rule 2\): int8"):
        opened(path, rules=rules)


@pytest.mark.parametrize("machine", ["dybit_zcu102_like", "bitfusion_45nm", "eyeriss_v1"])
def test_a_table_of_prices_is_exact_around_its_plan(path, machine):
    """The sum over the layers is the exact cost of the plan that the table was made around."""
    space = opened(path)
    prices = Prices(read_workload(path), load_machine(machine), space)
    for assignment in (space.widest(), space.narrowest()):
        plan = space.plan(assignment)
        exact = prices.exact(plan, assignment)
        table = prices.table(plan, assignment, COSTS)
        steps = []
        for index, name in enumerate(table.names):
            total = table.fixed[name]
            for choice in space.choices:
                weights, activations = assignment[choice.layer]
                place = choice.weights.index(weights), choice.activations.index(activations)
                total += table.layers[choice.layer][(index, *place)]
            if name.startswith("memory@"):
                steps.append(total)
            else:
                assert total == pytest.approx(exact[name], rel=1e-9), name
        assert max(steps) == pytest.approx(exact["memory"])
        assert all((costs >= 0).all() for costs in table.layers.values())
