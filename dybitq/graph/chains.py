"""Pairs of layers between which positive factors can be moved, and networks with other parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from dybitq.graph.load import Network
from dybitq.graph.operators import clamp_bounds
from dybitq.graph.values import is_op, nodes_by_name, sole_consumer, values_by_name
from dybitq.records import LayerWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A layer, and the one that is the only reader of its output.

    Attributes:
        first, second: their names; no parameter of theirs has another reader.
        between: name of the tensor that the second reads.
        bound: what a Clip between them cuts it off at, infinite without one. Factors commute with the Clip
            only where the bound is never reached.
    """

    first: str
    second: str
    between: str
    bound: float


def chains(network: Network, layers: Mapping[str, LayerWork]) -> tuple[Chain, ...]:
    """Pairs with nothing between them, or a Relu, or a Clip that starts at zero; in topological order."""
    nodes = nodes_by_name(network.model)
    found = (_chain(nodes[name], layers) for name in layers)
    return tuple(chain for chain in found if chain is not None)


def _chain(node: ir.Node, layers: Mapping[str, LayerWork]) -> Chain | None:
    value, bound = node.outputs[0], float("inf")
    reader = sole_consumer(value)
    if reader is not None and is_op(reader, "Relu", "Clip"):
        bounds = clamp_bounds(reader)
        if bounds is None or bounds[0] != 0:
            return None
        value, bound = reader.outputs[0], bounds[1]
        reader = sole_consumer(value)
    if reader is None or (reader.name or "") not in layers or reader.inputs[0] is not value:
        return None
    parameters = [v for n in (node, reader) for v in n.inputs[1:] if v is not None]
    if any(len(v.uses()) != 1 for v in parameters):
        return None
    return Chain(first=node.name or "", second=reader.name or "", between=value.name or "", bound=bound)


def with_parameters(network: Network, arrays: Mapping[str, np.ndarray]) -> Network:
    """The network with other values for some of its initializers, by name; shapes stay, dtype is float32."""
    model = network.model.clone()
    values = values_by_name(model)
    for name, array in arrays.items():
        values[name].const_value = ir.tensor(np.ascontiguousarray(array, np.float32), name=name)
    return replace(network, model=model)
