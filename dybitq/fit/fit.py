"""Plan and statistics to arrays: every layer and every edge, one at a time."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from dybitq.errors import StatisticsError
from dybitq.fit.edges import fit_edge
from dybitq.fit.layers import LayerArrays, fit_layer
from dybitq.graph.load import Network
from dybitq.graph.values import values_by_name
from dybitq.patches import moment_key
from dybitq.records import (
    ActivationMode,
    Fitted,
    FittedEdge,
    FittedWeight,
    LayerKind,
    LayerPlan,
    LayerWork,
    Plan,
    Statistics,
)

Progress = Callable[[str, int, int], None]


def fit(
    network: Network,
    layers: Mapping[str, LayerWork],
    plan: Plan,
    statistics: Statistics,
    progress: Progress | None = None,
) -> Fitted:
    """Fit every edge, then every layer (a bias needs the scale of the layer's input codes).

    Raises:
        StatisticsError: the statistics lack a tensor that the plan codes.
    """
    values = values_by_name(network.model)
    edges = fit_edges(plan, statistics, values)
    weights: dict[str, FittedWeight] = {}
    todo = [p for p in plan.layers if p.weights not in ("float", "activation")]
    for done, layer_plan in enumerate(todo):
        if progress is not None:
            progress("fitting layers", done, len(todo))
        layer = layers[layer_plan.layer]
        arrays = layer_arrays(network, values, layer, layer_plan, edges)
        moment = None if layer.kind is LayerKind.GATHER else statistics.moments.get(moment_key(layer))
        fitted = fit_layer(layer, layer_plan, arrays, moment, correct_bias=plan.bias_correction)
        weights[layer.name] = fitted
    return Fitted(weights=weights, edges=edges)


def fit_edges(plan: Plan, statistics: Statistics, values: Mapping[str, ir.Value]) -> dict[str, FittedEdge]:
    """Fit the coded tensors of a plan."""
    edges = {}
    for edge in plan.edges:
        found = statistics.tensors.get(edge.tensor)
        if found is None:
            raise StatisticsError(
                f"tensor {edge.tensor}: not in the statistics, which hold {len(statistics.tensors)} tensors; "
                "calibrate this model again"
            )
        edges[edge.tensor] = fit_edge(edge, found, values[edge.tensor].producer())
    return edges


def layer_arrays(
    network: Network,
    values: Mapping[str, ir.Value],
    layer: LayerWork,
    plan: LayerPlan,
    edges: Mapping[str, FittedEdge],
) -> LayerArrays:
    """Read a layer's float parameters out of the graph."""
    initializers = network.model.graph.initializers
    assert layer.weight is not None  # layers of two activations have no arrays
    weight = initializers[layer.weight].const_value
    bias = initializers[layer.bias].const_value if layer.bias is not None else None
    assert weight is not None
    scale = None
    if plan.activations is ActivationMode.STATIC:
        root = coded_root(values[layer.input], edges)
        scale = edges[root].scale if root is not None else None
    return LayerArrays(
        weight=np.asarray(weight.numpy(), np.float32),
        bias=None if bias is None else np.asarray(bias.numpy(), np.float32).reshape(-1),
        input_scale=scale,
    )


def coded_root(value: ir.Value, edges: Mapping[str, FittedEdge]) -> str | None:
    """The edge whose codes arrive at ``value`` through operators that only move codes, or None."""
    current: ir.Value | None = value
    while current is not None and current.name not in edges:
        node = current.producer()
        current = node.inputs[0] if node is not None and node.inputs else None
    return None if current is None else current.name
