"""The same network with factors moved from a tensor to the matrices that it is multiplied with."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dybitq.graph.load import Network
from dybitq.graph.values import Namer, nodes_by_name, replace_constant, require_constant, values_by_name
from dybitq.records import LayerWork


def with_divided_inputs(
    network: Network, layers: Mapping[str, LayerWork], factors: Mapping[tuple[str, ...], np.ndarray]
) -> tuple[Network, dict[str, LayerWork]]:
    """Divide what some MatMuls read, feature by feature, and multiply the rows of their weights.

    Args:
        network: normalised; not changed.
        layers: its survey by name.
        factors: for the names of layers that read the same tensor, what each of its last axis' features is
            divided by: powers of two, float64 ``[K]``, so that no product changes by a bit.

    Returns:
        The network, with one Mul in front of each of these groups of layers, and its survey.
    """
    model = network.model.clone()
    nodes, values, namer = nodes_by_name(model), values_by_name(model), Namer(model)
    found = dict(layers)
    for names, scale in factors.items():
        value = values[layers[names[0]].input]
        first = _first(list(model.graph), names)
        inverse = namer.initializer((1 / scale).astype(np.float32), base=f"{value.name}_factors")
        node = namer.node("Mul", [value, inverse], base=f"{value.name}_smoothed", like=value)
        node.outputs[0].shape = value.shape
        model.graph.insert_before(nodes[first], node)
        for name in names:
            layer = nodes[name]
            layer.replace_input_with(0, node.outputs[0])
            weight = np.asarray(require_constant(layer.inputs[1]), np.float32)
            changed = replace_constant(model, layer, 1, (weight * scale[:, None]).astype(np.float32))
            found[name] = replace(found[name], input=node.outputs[0].name or "", weight=changed.name)
    return replace(network, model=model), found


def _first(order: Sequence[object], names: Sequence[str]) -> str:
    """The one of the nodes ``names`` that comes first."""
    wanted = frozenset(names)
    return next(name for node in order if (name := getattr(node, "name", None)) in wanted)
