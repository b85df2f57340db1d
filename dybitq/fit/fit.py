"""Plan and statistics to arrays: every layer and every edge, one at a time."""

from collections.abc import Mapping

from dybitq.fit.activations.edges import fit_edge, joined_edge
from dybitq.fit.activations.recode import fit_recoding
from dybitq.fit.activations.sparq_scales import window_readers, windowed_edge
from dybitq.fit.shared import fit_together, sharing
from dybitq.fit.weights.kernel_range import bounds_weights
from dybitq.fit.weights.layers import LayerArrays
from dybitq.graph.load import Network
from dybitq.graph.tensors import Tensors
from dybitq.records.fitted import Fitted, FittedEdge, FittedWeight, Recoding
from dybitq.records.layers import LayerWork
from dybitq.records.plan import ActivationMode, LayerPlan, Plan
from dybitq.records.progress import Progress
from dybitq.records.statistics import Moment, Statistics


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
    tensors = Tensors(network)
    edges = fit_edges(layers, plan, statistics, tensors)
    weights: dict[str, FittedWeight] = {}
    todo = [p for p in plan.layers if p.has_coded_weights]
    alike = sharing(layers, plan)
    for done, layer_plan in enumerate(todo):
        if progress is not None:
            progress("fitting layers", done, len(todo))
        if layer_plan.layer in weights:
            continue
        names = alike.get(layer_plan.layer, (layer_plan.layer,))
        works = [layers[name] for name in names]
        arrays = [layer_arrays(tensors, work, layer_plan, edges) for work in works]
        moments = [moment_of(work, statistics) for work in works]
        weights |= fit_together(works, layer_plan, arrays, moments, correct_bias=plan.bias_correction)
    return Fitted(
        weights={p.layer: weights[p.layer] for p in todo},
        edges=edges,
        recodings=fit_recodings(layers, plan, statistics, tensors, edges),
    )


def moment_of(layer: LayerWork, statistics: Statistics) -> Moment | None:
    """Moment of what a layer multiplies; None if it was not kept, and for embeddings."""
    return statistics.moments.get(layer.moment_key)


def fit_recodings(
    layers: Mapping[str, LayerWork],
    plan: Plan,
    statistics: Statistics,
    tensors: Tensors,
    edges: Mapping[str, FittedEdge],
) -> dict[str, Recoding]:
    """Return the re-codings of the plan by layer; a layer whose input has no codes gets none."""
    found = {}
    for layer_plan in plan.layers:
        layer = layers[layer_plan.layer]
        root = tensors.coded_root(layer.input, edges)
        if layer_plan.recodes and root is not None and layer.input in statistics.tensors:
            seen = statistics.tensors[layer.input]
            found[layer.name] = fit_recoding(layer_plan.recode, edges[root], seen)
    return found


def fit_edges(
    layers: Mapping[str, LayerWork], plan: Plan, statistics: Statistics, tensors: Tensors
) -> dict[str, FittedEdge]:
    """Fit the coded tensors of a plan, for the windows that layers read them through."""
    edges: dict[str, FittedEdge] = {}
    readers = window_readers(layers, plan, tensors)
    for edge in plan.edges:
        found = statistics.tensor(edge.tensor)
        clamp = tensors.clamp(edge.tensor)
        own = fit_edge(edge, found, clamp, tensors.response(edge.tensor))
        own = windowed_edge(edge, own, found, clamp, readers.get(edge.tensor, ()))
        roots = [tensors.coded_root(part, edges) for part in tensors.concatenated(edge.tensor)]
        parts = [edges[root] for root in roots if root is not None]
        edges[edge.tensor] = joined_edge(own, parts) if len(parts) == len(roots) else own
    return edges


def layer_arrays(
    tensors: Tensors, layer: LayerWork, plan: LayerPlan, edges: Mapping[str, FittedEdge]
) -> LayerArrays:
    """Read a layer's float parameters out of the graph."""
    root = tensors.coded_root(layer.input, edges) if plan.activations is ActivationMode.STATIC else None
    return LayerArrays(
        weight=tensors.array(layer.weight),
        bias=tensors.array(layer.bias).reshape(-1) if layer.bias is not None else None,
        input_scale=edges[root].scale if root is not None else None,
        bounded=bounds_weights(layer, plan),
    )
