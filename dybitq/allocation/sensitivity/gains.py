"""Gains: the share of a layer's relative error that reaches the network's output, from the statistics alone.

First order, errors taken as independent: a layer, and every elementwise operator, passes on the relative
error of its input; in a sum a branch counts as much as its share of the sum's energy, in a product
relative errors add up. So an error in one branch of a residual block is small beside the stream it joins.
A factor that is computed from a mean of many of the other factor's values (a gate, a deviation) passes on its
own errors like any other, but not those from before the mean, which has averaged them away.
"""

from collections.abc import Mapping

from dybitq.allocation.sensitivity.noise import energy_of
from dybitq.allocation.space import Space
from dybitq.graph.flow import Flow, FlowKind, flows, output_names
from dybitq.records.statistics import Statistics

_AVERAGED = 16  # times as many values


def gains(space: Space, statistics: Statistics) -> dict[str, float]:
    """Return by tensor the relative error of the output per unit of the tensor's relative error."""
    outputs = output_names(space.network)
    direct = dict.fromkeys(outputs, 1.0 / max(len(outputs), 1))
    gated: dict[str, float] = {}  # through the smaller factor of a product, up to the mean that it comes from
    for flow in reversed(flows(space.network, space.layers)):
        straight, through_gate = (sum(g.get(name, 0.0) for name in flow.outputs) for g in (direct, gated))
        for name, share, gates in zip(flow.inputs, _shares(flow, statistics), _gates(flow)):
            if gates:
                gated[name] = gated.get(name, 0.0) + straight + through_gate
            else:
                direct[name] = direct.get(name, 0.0) + straight * share
                gated[name] = gated.get(name, 0.0) + (0.0 if _averages(flow) else through_gate * share)
    return {name: direct.get(name, 0.0) + gated.get(name, 0.0) for name in {**direct, **gated}}


def layer_gains(space: Space, statistics: Statistics) -> dict[str, float]:
    """Return by layer the gain of its output."""
    gain_of: Mapping[str, float] = gains(space, statistics)
    return {layer.name: gain_of.get(layer.output, 0.0) for layer in space.layers.values()}


def _gates(flow: Flow) -> list[bool]:
    """Mark the factors of a product with far fewer values than the other one: a gate, a deviation."""
    if flow.kind is not FlowKind.PRODUCT:
        return [False] * len(flow.inputs)
    return [size * _AVERAGED <= max(flow.elements) for size in flow.elements]


def _averages(flow: Flow) -> bool:
    """Tell if each result is a mean of many values, whose errors it averages away."""
    return flow.kind is FlowKind.PASS and flow.results * _AVERAGED <= max(flow.elements)


def _shares(flow: Flow, statistics: Statistics) -> list[float]:
    if flow.kind not in (FlowKind.SUM, FlowKind.JOIN) or len(flow.inputs) < 2:
        return [1.0] * len(flow.inputs)
    energies = [energy_of(statistics, name) for name in flow.inputs]
    whole = energy_of(statistics, flow.outputs[0])
    if whole is None or whole <= 0 or any(energy is None for energy in energies):
        return [1.0 / len(flow.inputs)] * len(flow.inputs)
    known = [float(energy or 0.0) for energy in energies]
    if flow.kind is FlowKind.SUM:
        return [energy / whole for energy in known]
    total = sum(flow.elements)
    sizes = [n / total for n in flow.elements]
    return [energy * size / whole for energy, size in zip(known, sizes)]
