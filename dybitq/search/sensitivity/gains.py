"""How much of a layer's relative error reaches the network's output, from the statistics alone.

First order, errors taken as independent: a layer, and whatever works value by value, hands the relative
error of its input on; in a sum a branch counts as much as its share of the sum's energy, in a product
relative errors add up. So an error in one branch of a residual block is small beside the stream it joins.
"""

from collections.abc import Mapping

from dybitq.graph.flow import Flow, FlowKind, flows, output_names
from dybitq.records import Statistics
from dybitq.search.sensitivity.noise import energy_of
from dybitq.search.space import Space

_AVERAGED = 16  # times as many values in the other factor


def gains(space: Space, statistics: Statistics) -> dict[str, float]:
    """By tensor what one unit of its relative error adds to the relative error of the output."""
    outputs = output_names(space.network)
    found = dict.fromkeys(outputs, 1.0 / max(len(outputs), 1))
    for flow in reversed(flows(space.network, space.layers)):
        gain = sum(found.get(name, 0.0) for name in flow.outputs)
        if gain == 0:
            continue
        for name, share in zip(flow.inputs, _shares(flow, statistics)):
            found[name] = found.get(name, 0.0) + gain * share
    return found


def layer_gains(space: Space, statistics: Statistics) -> dict[str, float]:
    """By layer the gain of its output."""
    found: Mapping[str, float] = gains(space, statistics)
    return {layer.name: found.get(layer.output, 0.0) for layer in space.layers.values()}


def _shares(flow: Flow, statistics: Statistics) -> list[float]:
    if flow.kind is FlowKind.PRODUCT:
        # A mean, a deviation or a gate of many values has averaged their errors away.
        most = max(flow.elements)
        return [0.0 if size * _AVERAGED <= most else 1.0 for size in flow.elements]
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
