"""Pairs of layers between which positive factors can be moved, and networks with other parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from dybitq.graph.load import Network
from dybitq.graph.operators import clamp_bounds
from dybitq.graph.values import constant, float_attribute, is_op, nodes_by_name, sole_consumer, values_by_name
from dybitq.records.layers import LayerWork


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chain:
    """A layer, and the one that is the only reader of its output.

    Attributes:
        first, second: their names; no parameter of theirs has another reader.
        between: name of the tensor that the second reads.
        bound: upper bound of a Clip between them, infinite without one. Factors commute with the Clip only
            where the bound is never reached.
        slope: factor of negative values between them, a number or one for each channel ``[n]``; 1 with
            nothing between, 0 after a Relu or Clip.
    """

    first: str
    second: str
    between: str
    bound: float
    slope: np.ndarray


def chains(network: Network, layers: Mapping[str, LayerWork]) -> tuple[Chain, ...]:
    """Find pairs, in topological order.

    Between them stands nothing, a Relu, a Clip that starts at zero, or a LeakyRelu or PRelu whose slopes are
    not negative.
    """
    nodes = nodes_by_name(network.model)
    candidates = (_chain(nodes[name], layers) for name in layers)
    return tuple(chain for chain in candidates if chain is not None)


def _chain(node: ir.Node, layers: Mapping[str, LayerWork]) -> Chain | None:
    value, bound, slope = node.outputs[0], float("inf"), np.ones(1)
    reader = sole_consumer(value)
    if reader is not None and is_op(reader, "Relu", "Clip"):
        bounds = clamp_bounds(reader)
        if bounds is None or bounds[0] != 0:
            return None
        value, bound, slope = reader.outputs[0], bounds[1], np.zeros(1)
        reader = sole_consumer(value)
    elif reader is not None and is_op(reader, "LeakyRelu", "PRelu"):
        slopes = _slope(reader)
        if slopes is None:
            return None
        value, slope = reader.outputs[0], slopes
        reader = sole_consumer(value)
    if reader is None or (reader.name or "") not in layers or reader.inputs[0] is not value:
        return None
    parameters = [v for n in (node, reader) for v in n.inputs[1:] if v is not None]
    if any(len(v.uses()) != 1 for v in parameters):
        return None
    return Chain(
        first=node.name or "",
        second=reader.name or "",
        between=value.name or "",
        bound=bound,
        slope=slope,
    )


def _slope(node: ir.Node) -> np.ndarray | None:
    """Return slopes of a LeakyRelu or PRelu, one or one per channel; None if negative or of another shape."""
    if node.op_type == "LeakyRelu":
        slope = np.array([float_attribute(node, "alpha", 0.01)])
    else:
        array, value = constant(node.inputs[1]), node.inputs[0]
        rank = 0 if value is None or value.shape is None else len(value.shape)
        by_channel = array is not None and array.shape[:1] + (1,) * (rank - 2) == array.shape and rank >= 2
        if array is None or not (array.size == 1 or by_channel):
            return None
        slope = np.asarray(array, np.float64).reshape(-1)
    return slope if (slope >= 0).all() else None


def with_parameters(network: Network, arrays: Mapping[str, np.ndarray]) -> Network:
    """Replace values of some initializers, by name; shapes stay, dtype is float32."""
    model = network.model.clone()
    values = values_by_name(model)
    for name, array in arrays.items():
        values[name].const_value = ir.tensor(np.ascontiguousarray(array, np.float32), name=name)
    return replace(network, model=model)
