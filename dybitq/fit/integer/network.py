"""Plan and statistics to an integer program: encodings, weights on the dyadic grid, factors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from dybitq.errors import UnsupportedError
from dybitq.fit.integer import channels, elementwise, regions, residual
from dybitq.fit.integer import layers as weighted
from dybitq.fit.integer.assembly import Assembly
from dybitq.fit.integer.edges import Encodings, code_bounds, encodings_of
from dybitq.fit.integer.pow2_scales import tied_edges
from dybitq.fit.weights.grid import ScaleGrid
from dybitq.fit.weights.kernel_range import bounds_weights
from dybitq.fit.weights.layers import LayerArrays, fit_layer
from dybitq.graph.load import Network
from dybitq.graph.steps.records import IntegerSteps, Step, StepKind
from dybitq.graph.tensors import Tensors
from dybitq.records.arithmetic import IntegerOptions
from dybitq.records.fitted import Fitted, FittedEdge, FittedWeight
from dybitq.records.integer_network import Operation, Program
from dybitq.records.layers import LayerWork
from dybitq.records.plan import EdgePlan, LayerPlan, Plan
from dybitq.records.progress import Progress
from dybitq.records.statistics import Statistics

_ASSEMBLE: dict[StepKind, Callable[[Assembly, Step], list[Operation]]] = {
    StepKind.QUANTIZE: Assembly.quantize,
    StepKind.LAYER: weighted.layer,
    StepKind.WINDOW_MEAN: weighted.window_mean,
    StepKind.REGION_MEANS: regions.region_means,
    StepKind.AFFINE: channels.affine,
    StepKind.SLOPES: channels.slopes,
    StepKind.INTERPOLATE: weighted.interpolate,
    StepKind.PRODUCT: elementwise.product,
    StepKind.ADD: elementwise.add,
    StepKind.MULTIPLY: elementwise.multiply,
    StepKind.CONCAT: elementwise.concat,
    StepKind.MEAN: elementwise.mean,
    StepKind.LOOKUP: elementwise.lookup,
    StepKind.MOVE: elementwise.move,
    StepKind.CLAMP: elementwise.clamp,
    StepKind.SHAPE: Assembly.other,
    StepKind.TAIL: Assembly.other,
    StepKind.FLOAT: Assembly.other,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerFit:
    """Result of :func:`fit_integer`.

    Attributes:
        program: the network in integers.
        fitted: the same weights and encodings in the units of the float network.
        plan: with the relative snap of every layer and tensor.
    """

    program: Program
    fitted: Fitted
    plan: Plan


def fit_integer(
    network: Network,
    layers: Mapping[str, LayerWork],
    plan: Plan,
    statistics: Statistics,
    steps: IntegerSteps,
    progress: Progress | None = None,
) -> IntegerFit:
    """Fit every encoding, then every layer on the grid that its encodings allow, and assemble the program.

    Raises:
        StatisticsError: the statistics lack a tensor that the plan codes.
        UnsupportedError: a factor cannot be represented; the message names the layer.
    """
    edges = _fit_edges(plan, statistics, steps)
    todo = [step for step in steps.steps if step.kind is StepKind.LAYER]
    wide = plan.integer.residual_bits > 8
    sums = residual.raw_sums(steps.steps, set(steps.outputs), layers) if wide else {}
    weights: dict[str, FittedWeight] = {}
    snaps: dict[str, float] = {}
    tensors = Tensors(network)
    plans = {p.layer: p for p in plan.layers}
    for done, step in enumerate(todo):
        if progress is not None:
            progress("fitting layers", done, len(todo))
        layer = layers[step.name]
        arrays = _arrays(
            tensors, layer, plans[step.name], edges, _grid(step, layer, edges, plan.integer, sums)
        )
        moment = statistics.moments.get(layer.moment_key)
        try:
            fitted = fit_layer(layer, plans[step.name], arrays, moment, correct_bias=plan.bias_correction)
        except UnsupportedError as error:
            raise UnsupportedError(f"layer {layer.name}: {error}") from error
        weights[layer.name] = fitted
        snaps[layer.name] = 0.0 if arrays.grid is None else _snap(fitted, arrays.weight)
    assembly = Assembly(
        layers=layers,
        weights=weights,
        edges=dict(edges),
        options=plan.integer,
        accumulators=frozenset(steps.accumulators),
        raw_sums={step.outputs[0]: step for step in todo if step.outputs[0] in sums},
    )
    for step in steps.steps:
        assembly.append(step, _assemble(assembly, step))
    units = {step.outputs[0]: _unit(assembly, step) for step in steps.steps if step.wide}
    accumulators = {name: units[root] for name, root in steps.accumulators.items()}
    return IntegerFit(
        program=assembly.program(steps.outputs, accumulators),
        fitted=Fitted(weights=weights, edges={name: edges[name] for name in steps.encodings}),
        plan=_with_snaps(plan, steps, snaps, assembly.relative),
    )


def _assemble(assembly: Assembly, step: Step) -> list[Operation]:
    if step.kind is StepKind.ADD and assembly.options.residual_bits > 8:
        return residual.add_wide(assembly, step)
    return _ASSEMBLE[step.kind](assembly, step)


def _fit_edges(plan: Plan, statistics: Statistics, steps: IntegerSteps) -> dict[str, FittedEdge]:
    """Encoding of every coded tensor; those that share one differ in the codes that they are clamped to."""
    found: dict[str, Encodings] = {}
    for edge in plan.edges:
        seen = statistics.tensor(edge.tensor)
        found[edge.tensor] = encodings_of(
            edge, seen, steps.responses.get(edge.tensor), steps.bounds.get(edge.tensor)
        )
    if plan.integer.scales == "pow2":
        own = tied_edges(steps.steps, steps.roots, found)
    else:
        own = {name: encodings.best() for name, encodings in found.items()}
    edges = {}
    for name, root in steps.roots.items():
        shared = own[root]
        low, high = code_bounds(steps.bounds.get(name), shared.scale, shared.zero_point)
        low, high = (low, high) if name != root else (shared.low, shared.high)
        edges[name] = replace(shared, low=low, high=high)
    return edges


def _arrays(
    tensors: Tensors,
    layer: LayerWork,
    plan: LayerPlan,
    edges: Mapping[str, FittedEdge],
    grid: ScaleGrid | None,
) -> LayerArrays:
    """Float parameters of a layer, with the grid on which its factors are dyadic."""
    batched = layer.geometry.stacked  # the Add behind it stays apart
    return LayerArrays(
        weight=tensors.array(layer.weight),
        bias=None if layer.bias is None or batched else tensors.array(layer.bias).reshape(-1),
        input_scale=edges[layer.input].scale,
        bounded=bounds_weights(layer, plan),
        grid=grid,
    )


def _grid(
    step: Step,
    layer: LayerWork,
    edges: Mapping[str, FittedEdge],
    options: IntegerOptions,
    sums: Mapping[str, str],
) -> ScaleGrid | None:
    """Scales at which the layer's factor is dyadic; None where any will do.

    An accumulator that is dequantized as it is has no factor. One that a sum of 16 bits reads (``sums``) is
    multiplied in 64 bits, so that only powers of two need a grid there.
    """
    pow2 = options.scales == "pow2"
    if step.wide:
        return None
    if step.outputs[0] in sums:
        unit = edges[sums[step.outputs[0]]].scale / edges[layer.input].scale
        return ScaleGrid(unit=unit, pow2=True, max_shift=60) if pow2 else None
    if options.multiplier_bits:
        return None
    return ScaleGrid(unit=edges[step.outputs[0]].scale / edges[layer.input].scale, pow2=pow2)


def _unit(assembly: Assembly, step: Step) -> np.ndarray:
    """What one unit of an accumulator is worth that goes to the output as it is."""
    if step.kind is StepKind.LAYER:
        return weighted.unit_of(assembly, step)
    return np.array([assembly.input_edge(step).scale / step.count])


def _snap(fitted: FittedWeight, weight: np.ndarray) -> float:
    """Largest distance, relative, of a scale from the one that suits its codes best (least squares)."""
    integers = fitted.format.table[fitted.codes].astype(np.float64)
    axes = tuple(a for a in range(integers.ndim) if a != fitted.axis)
    over = (integers * weight).sum(axis=axes)
    under = (integers * integers).sum(axis=axes)
    best = np.where((over > 0) & (under > 0), over / np.maximum(under, 1), fitted.scale)
    return float(np.abs(fitted.scale / best - 1).max())


def _with_snaps(
    plan: Plan, steps: IntegerSteps, layers: Mapping[str, float], tensors: Mapping[str, float]
) -> Plan:
    worst: dict[str, float] = {}
    for name, relative in tensors.items():
        root = steps.roots[name]
        worst[root] = max(worst.get(root, 0.0), relative)

    def edge(given: EdgePlan) -> EdgePlan:
        return replace(given, snap=float(f"{worst.get(given.tensor, 0.0):.3g}"))

    return replace(
        plan,
        layers=tuple(replace(p, snap=float(f"{layers.get(p.layer, 0.0):.3g}")) for p in plan.layers),
        edges=tuple(edge(e) for e in plan.edges),
    )
