"""The folder of operators: every file is tried, and the order of the files does not matter."""

import typing

import onnx
import pytest

from dybitq.emit.integer.writers import operations
from dybitq.graph.load import load
from dybitq.graph.survey import survey
from dybitq.integer.context import operators
from dybitq.integer.recognise import integer_steps
from dybitq.integer.step import IntegerStep
from dybitq.records.integer_network import Operation
from dybitq.registry import Registry
from tests.verify.networks import NETWORKS


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Every test network with its survey."""
    folder = tmp_path_factory.mktemp("networks")
    found = {}
    for number, (name, net) in enumerate(NETWORKS.items()):
        path = folder / f"{number}.onnx"
        onnx.save(net.proto(), path)
        network = load(path)
        found[name] = network, {layer.name: layer for layer in survey(network)}
    return found


def recognised(loaded):
    """Steps of every network."""
    return {
        name: integer_steps(network.model, layers, frozenset(layers))
        for name, (network, layers) in loaded.items()
    }


def steps_of_operators(base):
    """Names of the records of steps that the folder defines."""
    for record in base.__subclasses__():
        if record.__module__.startswith("dybitq.integer.operators."):
            yield record.__name__
        yield from steps_of_operators(record)


def test_every_operator_has_a_network(loaded):
    """No step is defined that tests/verify/networks.py does not take through both flavours."""
    assert {"add", "maximum", "pad"} <= set(operators)
    tried = {type(step).__name__ for steps in recognised(loaded).values() for step in steps.steps}
    assert set(steps_of_operators(IntegerStep)) <= tried


def test_the_order_of_operators_is_free(loaded, monkeypatch):
    """No two recognisers answer to one node, so that the last may be asked first."""

    def summary():
        return {
            name: [(type(s), s.name, s.inputs, s.outputs, s.bounds) for s in found.steps] + [found.roots]
            for name, found in recognised(loaded).items()
        }

    expected, names = summary(), list(operators)
    monkeypatch.setattr(Registry, "__iter__", lambda _: iter(reversed(names)))
    assert list(operators) == names[::-1] and summary() == expected


def test_every_operation_has_writers():
    """The registry of emission holds the kinds of the records, one for one."""
    records = typing.get_args(Operation)
    assert sorted(record.kind for record in records) == list(operations)
