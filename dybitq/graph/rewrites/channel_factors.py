"""Functions of one tensor between layers, and networks with other channel factors on both sides of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from dybitq.graph.load import Network
from dybitq.graph.pointwise import Response
from dybitq.graph.pointwise_groups import Group, pointwise_groups
from dybitq.graph.values import Namer, nodes_by_name, take_over, values_by_name
from dybitq.records.layers import LayerWork


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stretch:
    """A layer, a function of its output, and the layers that read the result; no other operator reads either.

    Attributes:
        first: name of the layer before; no parameter of it has another reader.
        source, result: names of its output and of the function's result.
        nodes: names of the operators between.
        inner: names of the tensors between, which no operator outside reads.
        readers: names of the layers after; their weights have no other reader.
        function: the elementwise function.
    """

    first: str
    source: str
    result: str
    nodes: tuple[str, ...]
    inner: tuple[str, ...]
    readers: tuple[str, ...]
    function: Response


def stretches(network: Network, layers: Mapping[str, LayerWork]) -> tuple[Stretch, ...]:
    """Find stretches of the main graph, in topological order."""
    candidates = (_stretch(group, layers) for group in pointwise_groups(network.model.graph).values())
    return tuple(stretch for stretch in candidates if stretch is not None)


def _stretch(group: Group, layers: Mapping[str, LayerWork]) -> Stretch | None:
    source, result = group.source, group.output
    first = source.producer()
    if first is None or (first.name or "") not in layers or source.is_graph_output():
        return None
    if first.outputs[0] is not source or not {use.node for use in source.uses()} <= set(group.nodes):
        return None
    readers = list(dict.fromkeys(use.node for use in result.uses()))
    weighted = all((n.name or "") in layers and n.inputs[0] is result for n in readers)
    if not readers or not weighted or result.is_graph_output():
        return None
    parameters = [v for v in first.inputs[1:] if v is not None] + [n.inputs[1] for n in readers]
    if any(v is None or len(v.uses()) != 1 for v in parameters):
        return None
    inner = [n.outputs[0] for n in group.nodes if n.outputs[0] is not result]
    if not all(use.node in group.nodes for value in inner for use in value.uses()):
        return None
    return Stretch(
        first=first.name or "",
        source=source.name or "",
        result=result.name or "",
        nodes=tuple(n.name or "" for n in group.nodes),
        inner=tuple(value.name or "" for value in inner),
        readers=tuple(n.name or "" for n in readers),
        function=group.function(),
    )


def with_factors_around(
    network: Network, factors: Mapping[Stretch, tuple[np.ndarray, np.ndarray]]
) -> Network:
    """Multiply the channels of ``source`` and of ``result`` of some stretches; the tensors keep their names.

    A Mul before the function takes the first factors back, one after it applies the second. The layers on
    both sides are not changed: the caller changes their parameters
    (:func:`dybitq.graph.rewrites.chains.with_parameters`).

    Args:
        network: normalised; not changed.
        factors: float64 ``[channels]`` each.
    """
    model = network.model.clone()
    nodes, values, namer = nodes_by_name(model), values_by_name(model), Namer(model)
    for stretch, (before, after) in factors.items():
        source, result = values[stretch.source], values[stretch.result]
        inside = [nodes[name] for name in stretch.nodes]
        taken_back = _multiplied(model, namer, source, 1 / before)
        model.graph.insert_before(inside[0], taken_back)
        for node in inside:
            for index, value in enumerate(node.inputs):
                if value is source:
                    node.replace_input_with(index, taken_back.outputs[0])
        multiplied = _multiplied(model, namer, result, after)
        last = result.producer()
        assert last is not None
        model.graph.insert_after(last, multiplied)
        take_over(multiplied.outputs[0], result, keep=multiplied, renamed=multiplied.outputs[0].name or "")
    return replace(network, model=model)


def _multiplied(model: ir.Model, namer: Namer, value: ir.Value, factor: np.ndarray) -> ir.Node:
    """Multiply the channels of ``value``, axis 1, by ``factor``."""
    rank = 2 if value.shape is None else len(value.shape)
    shaped = factor.astype(np.float32).reshape(-1, *[1] * (rank - 2))
    constant = namer.initializer(shaped, base=f"{value.name}_factors")
    node = namer.node("Mul", [value, constant], base=f"{value.name}_unscaled", like=value)
    node.outputs[0].shape = value.shape
    return node
