"""Recipe to plan: defaults, then rules by operator type and name pattern, first match wins."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from dybitq.encodings.widths import is_uniform
from dybitq.errors import ConfigError, did_you_mean, naming
from dybitq.fit.activations.ranges import range_methods
from dybitq.fit.activations.recode import as_read, check_recoding
from dybitq.fit.auto import check_weight_format
from dybitq.fit.weights.rounding import roundings
from dybitq.fit.weights.scales import scale_methods
from dybitq.graph.load import Network
from dybitq.plan.regions import Regions, find_regions
from dybitq.records.arithmetic import DEFAULT_OPTIONS, FLOAT_RESCALE, IntegerOptions
from dybitq.records.geometry.products import ActivationProduct, EmbeddingTable, MatrixProduct
from dybitq.records.geometry.windows import TransposedWindow
from dybitq.records.layers import LayerWork
from dybitq.records.plan import (
    ACTIVATION,
    DEFAULT_TARGET,
    FLOAT,
    NO_RECODING,
    ActivationMode,
    EdgePlan,
    LayerPlan,
    Plan,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a layer in a recipe; None means "as the defaults have it".

    Attributes:
        weights: format name (``dybit4``, ``int8``, ``auto4``) or ``float``.
        activations: ``auto``, ``int8``, ``dynamic8``, ``float``, or what the layer makes of its 8-bit
            input codes: a format below 8 bits (``int4``, ``dybit4``) or a SPARQ re-coding
            (``sparq4-5opt``). ``auto`` is ``dynamic8`` for MatMul and ``int8`` for everything else.
        granularity: ``channel`` or ``tensor``.
        scale: registered scale method.
        rounding: registered rounding.
        range: registered range method of the activation that the layer reads.
        reduce_range: whether weights stay so small that no kernel saturates.
    """

    weights: str | None = None
    activations: str | None = None
    granularity: str | None = None
    scale: str | None = None
    rounding: str | None = None
    range: str | None = None
    reduce_range: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Settings for the layers that match an operator type and a name pattern (``*`` and ``?``)."""

    op_type: str | None = None
    name: str | None = None
    settings: Settings = field(default_factory=Settings)

    def matches(self, layer: LayerWork) -> bool:
        """Return whether the rule applies to ``layer``."""
        by_type = self.op_type is None or self.op_type == layer.op_type
        return by_type and (self.name is None or fnmatch.fnmatchcase(layer.name, self.name))


DEFAULTS = Settings(
    weights="int8",
    activations="auto",
    granularity="channel",
    scale="mse",
    rounding="compensated",
    range="mse",
    reduce_range=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Defaults, rules, and the format of the first and last weighted layers.

    Attributes:
        defaults: settings of every layer that no rule changes.
        rules: in order; for each layer the first that matches is used.
        first_last: weight format of first and last layers unless a rule names one; None: no exception.
        bias_correction: whether biases take up the mean error of the rounded weights.
        arithmetic: see :mod:`dybitq.records.arithmetic`.
        integer: options of integer-only arithmetic.
        target: name of the target to write for, see :mod:`dybitq.emit.target`.
        source: the file it was read from, or that there is none, for messages.
    """

    defaults: Settings = DEFAULTS
    rules: tuple[Rule, ...] = ()
    first_last: str | None = "int8"
    bias_correction: bool = True
    arithmetic: str = FLOAT_RESCALE
    integer: IntegerOptions = DEFAULT_OPTIONS
    target: str = DEFAULT_TARGET
    source: str = field(default="options", compare=False)

    @property
    def usual(self) -> Settings:
        """Settings of what no rule is about; none is missing."""
        return _merge(DEFAULTS, self.defaults)


FIRST_OR_LAST = "first or last layer"  # as a reason
PLAIN = ("auto", "int8", "dynamic8", FLOAT)  # activations without a re-coding


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Settings of one layer, and where they come from."""

    settings: Settings
    reason: str


def check_recipe(recipe: Recipe) -> None:
    """Refuse names that nothing has, where the recipe says them and not layer by layer.

    Raises:
        ConfigError: the setting, with the known names.
    """
    with naming(recipe.source):
        _check_settings(recipe.defaults)
        if recipe.first_last is not None:
            with naming("first and last layers"):
                check_weight_format(recipe.first_last)
        for number, rule in enumerate(recipe.rules, start=1):
            with naming(f"rule {number}"):
                _check_settings(rule.settings)


def _check_settings(settings: Settings) -> None:
    checks = (
        (settings.weights, check_weight_format),
        (settings.scale, scale_methods.get),
        (settings.rounding, roundings.get),
        (settings.range, range_methods.get),
    )
    for name, check in checks:
        if name is not None:
            check(name)
    if settings.activations is not None:
        check_recoding(settings.activations, "activations", PLAIN)


def make_plan(network: Network, layers: Sequence[LayerWork], recipe: Recipe) -> Plan:
    """Decide the format of every layer and of every activation tensor worth coding.

    Raises:
        ConfigError: a rule matches no layer, or a setting has a value that no layer can take.
    """
    resolved = resolve_settings(network, layers, recipe)
    layer_plans = tuple(_layer_plan(layer, resolved[layer.name]) for layer in layers)
    modes = {p.layer: p.activations for p in layer_plans if not p.in_float}
    by_name = {layer.name: layer for layer in layers}
    regions = find_regions(network.model.graph, by_name, modes)
    edges = _edge_plans(regions, layers, modes, resolved, recipe.usual.range or "mse")
    layer_plans, edges = _narrow_edges(regions, layers, layer_plans, edges)
    return Plan(
        model_sha256=network.sha256,
        layers=layer_plans,
        edges=edges,
        bias_correction=recipe.bias_correction,
        target=recipe.target,
        source=recipe.source,
    )


def resolve_settings(network: Network, layers: Sequence[LayerWork], recipe: Recipe) -> dict[str, Resolved]:
    """Return the settings of every layer by name.

    Raises:
        ConfigError: a rule matches no layer.
    """
    _check_rules(layers, recipe)
    outermost = end_layers(network.model.graph, layers)
    return {layer.name: _resolve(layer, recipe, outermost) for layer in layers}


def end_layers(graph: ir.Graph, layers: Sequence[LayerWork]) -> frozenset[str]:
    """Names of the layers with no weighted layer before them, or none after them."""
    weighted = {layer.name: layer for layer in layers if layer.weight_count}
    following: set[ir.Value] = set()
    last = set()
    for node in reversed(list(graph)):
        follows = any(v in following for v in node.outputs)
        if node.name in weighted:
            if not follows:
                last.add(node.name)
            follows = True
        if follows:
            following.update(v for v in node.inputs if v is not None)
    before: set[ir.Value] = set()
    first = set()
    for node in graph:
        preceded = any(v in before for v in node.inputs if v is not None)
        if node.name in weighted:
            if not preceded:
                first.add(node.name)
            preceded = True
        if preceded:
            before.update(node.outputs)
    return frozenset(first | last)


def _check_rules(layers: Sequence[LayerWork], recipe: Recipe) -> None:
    taken: dict[str, int] = {}
    for number, rule in enumerate(recipe.rules, start=1):
        matched = [layer.name for layer in layers if rule.matches(layer)]
        for name in matched:
            taken.setdefault(name, number)
        if matched and number not in {taken[name] for name in matched}:
            others = ", ".join(str(other) for other in sorted({taken[name] for name in matched}))
            raise ConfigError(
                f"{recipe.source}: rule {number} never applies: rule {others} before it takes all of its "
                f"{len(matched)} layers; put it first"
            )
        if matched:
            continue
        names = [layer.name for layer in layers]
        wanted = rule.name if rule.name is not None else rule.op_type or ""
        pool = names if rule.name is not None else sorted({layer.op_type for layer in layers})
        hint = did_you_mean(wanted.strip("*"), pool, cutoff=0.3)
        stated = (("op_type", rule.op_type), ("name", rule.name))
        pattern = ", ".join(f"{field}: {value}" for field, value in stated if value is not None)
        raise ConfigError(
            f"{recipe.source}: rule {number} ({pattern}) matches none of the {len(layers)} layers.{hint}"
        )


def _merge(base: Settings, over: Settings) -> Settings:
    changes = {
        name: value for name in Settings.__dataclass_fields__ if (value := getattr(over, name)) is not None
    }
    return replace(base, **changes)


def _resolve(layer: LayerWork, recipe: Recipe, outermost: frozenset[str]) -> Resolved:
    settings, reason = recipe.usual, "default"
    if layer.name in outermost and recipe.first_last is not None and settings.weights != FLOAT:
        activations = settings.activations if settings.activations in PLAIN else "int8"
        settings = replace(settings, weights=recipe.first_last, activations=activations)
        reason = FIRST_OR_LAST
    for number, rule in enumerate(recipe.rules, start=1):
        if rule.matches(layer):
            return Resolved(settings=_merge(settings, rule.settings), reason=f"rule {number}")
    return Resolved(settings=settings, reason=reason)


def activation_mode(layer: LayerWork, activations: str) -> ActivationMode:
    """Return the mode in which ``layer`` can honour ``activations``."""
    modes = kernel_modes(layer)
    if activations == FLOAT or not modes:
        return ActivationMode.FLOAT  # without a quantized kernel weights are packed, arithmetic stays float
    if activations in ("auto", "dynamic8"):
        return modes[0]
    return ActivationMode.STATIC


def kernel_modes(layer: LayerWork) -> tuple[ActivationMode, ...]:
    """Modes in which the runtime has a kernel for 8-bit activations of ``layer``, the usual one first."""
    match layer.geometry:
        case EmbeddingTable() | TransposedWindow():
            return ()
        case MatrixProduct(gemm=False, plain=plain):
            return (ActivationMode.DYNAMIC, ActivationMode.STATIC) if plain else ()
    return (ActivationMode.STATIC,)


def _layer_plan(layer: LayerWork, resolved: Resolved) -> LayerPlan:
    settings = resolved.settings
    assert settings.weights and settings.activations and settings.granularity  # DEFAULTS has them all
    assert settings.scale and settings.rounding and settings.reduce_range is not None
    mode = activation_mode(layer, settings.activations)
    weights, reason = settings.weights, resolved.reason
    if isinstance(layer.geometry, ActivationProduct):
        static = settings.activations == "int8"
        weights = ACTIVATION if static else FLOAT
        mode = ActivationMode.STATIC if static else ActivationMode.FLOAT
        reason = "both operands are activations"
    activations = as_read(settings.activations, layer)
    return LayerPlan(
        layer=layer.name,
        weights=weights,
        granularity=settings.granularity,
        scale=settings.scale,
        rounding=settings.rounding,
        activations=mode,
        recode=NO_RECODING if activations in PLAIN or mode is not ActivationMode.STATIC else activations,
        reduce_range=settings.reduce_range,
        reason=reason,
    )


def _edge_plans(
    regions: Regions,
    layers: Sequence[LayerWork],
    modes: Mapping[str, ActivationMode],
    resolved: Mapping[str, Resolved],
    default: str,
) -> tuple[EdgePlan, ...]:
    """Ranges as the layers that read a tensor ask for; ``default`` for tensors that none of them reads."""
    method: dict[str, str] = {}
    readers: dict[str, list[str]] = {}
    for layer in layers:
        if modes.get(layer.name) is ActivationMode.STATIC and layer.input in regions.carries:
            root = regions.carries[layer.input]
            method.setdefault(root, resolved[layer.name].settings.range or default)
            readers.setdefault(root, []).append(layer.name)
    return tuple(
        EdgePlan(
            tensor=name,
            range=method.get(name, default),
            reason="read by " + ", ".join(readers[name])
            if name in readers
            else "between quantized operators",
        )
        for name in regions.roots
    )


def _narrow_edges(
    regions: Regions,
    layers: Sequence[LayerWork],
    layer_plans: tuple[LayerPlan, ...],
    edges: tuple[EdgePlan, ...],
) -> tuple[tuple[LayerPlan, ...], tuple[EdgePlan, ...]]:
    """Write a uniform re-coding that all readers of a tensor share into its own codes.

    A clamp of coarser codes costs the runtime next to nothing, a table for each reader does.
    """
    inputs = {layer.name: layer.input for layer in layers}
    asked: dict[str, set[str]] = {}
    for plan in layer_plans:
        root = regions.carries.get(inputs[plan.layer])
        if root is not None and plan.activations is ActivationMode.STATIC and not plan.in_float:
            asked.setdefault(root, set()).add(plan.recode)
    narrow = {
        root: next(iter(names))
        for root, names in asked.items()
        if root in regions.layers_only and len(names) == 1 and is_uniform(next(iter(names)))
    }
    return (
        tuple(
            replace(p, recode=NO_RECODING) if regions.carries.get(inputs[p.layer]) in narrow else p
            for p in layer_plans
        ),
        tuple(replace(e, format=narrow.get(e.tensor, e.format)) for e in edges),
    )
