"""The part of a network that is recognised so far, and the registry of functions that recognise operators.

A tensor is *coded* when integers stand for it. Which tensors share one encoding is found on the way:
operators that move values pass on the encoding of their input.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypedDict, TypeVar

import numpy as np
import onnx_ir as ir

from dybitq.graph.operators import clamp_bounds
from dybitq.graph.pointwise_groups import covered_nodes, pointwise_groups, swallowed_clamp
from dybitq.graph.values import constant, is_constant, nodes_by_name
from dybitq.integer.boundary import QuantizeStep
from dybitq.integer.step import IntegerStep
from dybitq.integer.tail import tail_nodes
from dybitq.records.integer_network import AttributeValue
from dybitq.records.layers import LayerWork
from dybitq.registry import Registry

S = TypeVar("S", bound=IntegerStep)


class Context:
    """State of the recognition of one network.

    Attributes:
        layers: survey by node name.
        nodes: of the network, by name.
        groups: stretches of elementwise operators, by the name of their output.
        tail: operators that only arrange the outputs.
        steps: found so far.
        roots: every coded tensor to the tensor whose encoding it has.
        bounds: real-valued bounds of coded tensors that a Relu or Clip wrote.
        done: nodes that a step found earlier has taken in.
    """

    def __init__(self, model: ir.Model, layers: Mapping[str, LayerWork]) -> None:
        graph = model.graph
        self.layers = layers
        self.nodes = nodes_by_name(model)
        self.groups = pointwise_groups(graph)
        self.tail = tail_nodes(graph)
        self.steps: list[IntegerStep] = []
        self.roots: dict[str, str] = {}
        self.bounds: dict[str, tuple[float, float]] = {}
        self.done: set[ir.Node] = set()
        inputs = (v for v in graph.inputs if v.dtype == ir.DataType.FLOAT and v.const_value is None)
        self.inputs = {v.name for v in inputs}
        self._grouped = covered_nodes(self.groups)

    def is_coded(self, value: ir.Value | None, *, demand: bool = False) -> bool:
        """Return whether ``value`` has codes.

        A float input of the network gets a quantizer now; with ``demand`` any float tensor does.
        """
        if value is None:
            return False
        name = str(value.name)
        if name in self.roots:
            return True
        if name not in self.inputs and not (demand and value.dtype == ir.DataType.FLOAT):
            return False
        self.roots[name] = name
        self.steps.append(QuantizeStep(name=name, op_type="", inputs=(name,), outputs=(name,)))
        return True

    def coded_operands(self, node: ir.Node) -> tuple[ir.Value, ...]:
        """Return an operator's inputs, constants included, if all variable ones are coded; otherwise none."""
        operands = tuple(v for v in node.inputs if v is not None)
        variable = [v for v in operands if not is_constant(v)]
        return operands if variable and all(self.is_coded(v) for v in variable) else ()

    def coded_channels(self, node: ir.Node) -> int | None:
        """Return the channels of an operator's first input, None unless it is coded and has axes of space."""
        source = node.inputs[0]
        shape = None if source is None else source.shape
        channels = shape[1] if shape is not None and len(shape) > 2 else None
        return channels if isinstance(channels, int) and self.is_coded(source) else None

    def own(self, step: S, output: ir.Value) -> S:
        """Return a step whose result ``output`` has an encoding of its own.

        The Relu or Clip that is the only reader of the result becomes part of the step.
        """
        clamp = swallowed_clamp(output)
        bounds = None if clamp is None else clamp_bounds(clamp)
        name = str(output.name)
        if clamp is not None and bounds is not None and clamp not in self._grouped:
            self.done.add(clamp)
            name = str(clamp.outputs[0].name)
            self.bounds[name] = bounds
            step = replace(step, outputs=(name,), bounds=bounds)
        self.roots[name] = name
        return step

    def carried(self, step: S) -> S:
        """Return a step whose results have the encoding of its first input."""
        for name in step.outputs:
            self.roots[name] = self.roots[step.inputs[0]]
        return step

    def is_inside_a_table(self, node: ir.Node) -> bool:
        """Return whether tables that come later compute everything that ``node`` is needed for."""
        if node not in self._grouped or str(node.outputs[0].name) in self.groups:
            return False
        return all(self.is_coded(group.source) for group in self.groups.values() if node in group.nodes)


Recogniser = Callable[[ir.Node, Context], IntegerStep | None]
"""Returns the step that a node becomes, or None where it is another operator or has no integer form."""

operators: Registry[Recogniser] = Registry("integer operator", "dybitq.integer.operators")
"""Recognisers by the name of their file. No two of them answer to the same node, so their order is free."""


class Names(TypedDict):
    """Fields that every step takes from its node."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: dict[str, np.ndarray]


def names_of(
    node: ir.Node, inputs: Sequence[ir.Value | None], outputs: tuple[str, ...] | None = None
) -> Names:
    """Return the fields that a step takes from its node; constants among ``inputs`` with their values."""
    read = [value for value in inputs if value is not None]
    return {
        "name": str(node.name),
        "op_type": node.op_type,
        "inputs": tuple(str(v.name) for v in read),
        "outputs": outputs if outputs is not None else tuple(str(v.name) for v in node.outputs if v.name),
        "constants": {str(v.name): np.asarray(constant(v)) for v in read if is_constant(v)},
    }


def plain_attributes(node: ir.Node) -> dict[str, AttributeValue]:
    """Return the numbers, strings and lists among the attributes of a node."""
    found: dict[str, AttributeValue] = {}
    for name, attribute in node.attributes.items():
        value = attribute.value
        if isinstance(value, int | float | str):
            found[name] = value
        elif isinstance(value, list | tuple):
            found[name] = tuple(value)
    return found
