"""Recipe to plan for integer-only arithmetic, and what of a recipe or plan contradicts it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dybitq.encodings import formats
from dybitq.errors import ConfigError, UnsupportedError, first_of
from dybitq.graph.load import Network
from dybitq.graph.steps.recognise import integer_steps
from dybitq.graph.steps.records import IntegerSteps, Step, StepKind
from dybitq.plan.recipe import Recipe, Resolved, resolve_settings
from dybitq.records.arithmetic import INTEGER_EXPLICIT, INTEGER_FAST, IntegerOptions
from dybitq.records.geometry.products import ActivationProduct, EmbeddingTable
from dybitq.records.layers import LayerWork
from dybitq.records.plan import ACTIVATION, FLOAT, ActivationMode, EdgePlan, LayerPlan, Plan

_WIDTHS = tuple(f"int{bits}" for bits in range(2, 9))
_NAMED = 12  # operators named one by one in a refusal


def make_integer_plan(network: Network, layers: Sequence[LayerWork], recipe: Recipe) -> Plan:
    """Decide formats of layers and activation tensors where everything between input and output is integer.

    Raises:
        ConfigError: the recipe contradicts itself, the model or integer-only arithmetic.
        UnsupportedError: ``strict``, and an operator has no integer form.
    """
    check_options(recipe.arithmetic, recipe.integer)
    resolved = resolve_settings(network, layers, recipe)
    plans = tuple(_layer_plan(layer, resolved[layer.name], recipe.integer) for layer in layers)
    plan = Plan(
        model_sha256=network.sha256,
        layers=plans,
        edges=(),
        bias_correction=recipe.bias_correction,
        arithmetic=recipe.arithmetic,
        integer=recipe.integer,
        target=recipe.target,
        source=recipe.source,
    )
    steps = steps_of_plan(network, {layer.name: layer for layer in layers}, plan)
    check_strict(steps, recipe.integer)
    return replace(plan, edges=_edge_plans(steps, layers, plans, resolved, recipe.usual.range or "mse"))


def steps_of_plan(network: Network, layers: Mapping[str, LayerWork], plan: Plan) -> IntegerSteps:
    """Return the network as integer steps, with the layers that the plan leaves in float left in float."""
    quantized = frozenset(p.layer for p in plan.layers if not p.in_float)
    return integer_steps(network.model, layers, quantized)


def check_integer_plan(steps: IntegerSteps, plan: Plan) -> None:
    """Refuse a plan that integer-only arithmetic cannot carry out.

    Raises:
        ConfigError: the first contradiction, with the layer or tensor.
        UnsupportedError: ``strict``, and an operator has no integer form.
    """
    check_options(plan.arithmetic, plan.integer)
    for layer in plan.layers:
        if not layer.in_float and layer.activations is not ActivationMode.STATIC:
            raise ConfigError(
                f"{plan.source}: layer {layer.layer!r} has {layer.activations} activations; integer-only "
                "arithmetic takes static ones, or weights 'float' together with integer: {only: report}"
            )
        if plan.arithmetic == INTEGER_FAST and not _on_int8_kernels(layer.weights):
            raise ConfigError(
                f"{plan.source}: layer {layer.layer!r} has {layer.weights} weights, whose integers do not "
                "fit the int8 kernels of the fast flavour; use --flavour explicit, or a narrower format"
            )
        if layer.recodes:
            raise ConfigError(
                f"{plan.source}: layer {layer.layer!r} re-codes its input as {layer.recode!r}; integer-only "
                "arithmetic takes plain codes of 2 to 8 bits"
            )
    check_strict(steps, plan.integer)
    planned = {edge.tensor for edge in plan.edges}
    missing = [name for name in steps.encodings if name not in planned]
    surplus = sorted(planned - set(steps.encodings))
    if missing or surplus:
        what = f"tensor {missing[0]!r} is coded but not in it" if missing else f"{surplus[0]!r} has no codes"
        raise ConfigError(f"{plan.source}: {what}; make a new plan with --integer-only and edit that one")


def check_options(arithmetic: str, options: IntegerOptions) -> None:
    """Refuse combinations of options that exclude each other.

    Raises:
        ConfigError: the first of them.
    """
    if arithmetic == INTEGER_FAST:
        only_explicit = {
            "rounding half-up": options.rounding != "half-even",
            "multiplier_bits": options.multiplier_bits != 0,
            "residual_bits 16": options.residual_bits != 8,
            "residual_rounding branch": options.residual_rounding != "sum",
        }
        for name, given in only_explicit.items():
            if given:
                raise ConfigError(
                    f"{name} is for the explicit flavour; the kernels of the fast one round half to "
                    "even, once, with shifts of at most 16. Use --flavour explicit"
                )
    elif arithmetic != INTEGER_EXPLICIT:
        raise ConfigError(f"arithmetic {arithmetic!r} is not integer-only")
    if options.multiplier_bits and not 8 <= options.multiplier_bits <= 31:
        raise ConfigError(
            f"multiplier_bits {options.multiplier_bits} is out of range; expected 8 to 31, or 0 for shifts "
            "of at most 16"
        )
    if options.multiplier_bits and options.scales == "pow2":
        raise ConfigError("multiplier_bits has no meaning with scales pow2: every multiplier is 1")


def check_strict(steps: IntegerSteps, options: IntegerOptions) -> None:
    """Raise unless everything is integer arithmetic, or ``report`` allows the rest."""
    found = steps.float_steps
    if options.only != "strict" or not found:
        return
    lines = [f"{step.op_type} {step.name!r}: {step.reason}" for step in found]
    raise UnsupportedError(
        f"{len(found)} operators have no integer form: "
        + first_of(lines, _NAMED, "; ")
        + ". --integer-only=report leaves them in float and lists them"
    )


def _layer_plan(layer: LayerWork, resolved: Resolved, options: IntegerOptions) -> LayerPlan:
    settings = resolved.settings
    assert settings.weights and settings.activations and settings.granularity  # DEFAULTS has them all
    assert settings.scale and settings.rounding and settings.reduce_range is not None
    weights, reason = settings.weights, resolved.reason
    if settings.activations not in ("auto", FLOAT, *_WIDTHS):
        raise ConfigError(
            f"layer {layer.name!r} ({reason}): activations {settings.activations!r} contradict integer-only "
            "arithmetic, which takes auto, or int2 to int8"
        )
    in_float = settings.activations == FLOAT or weights == FLOAT
    if in_float and options.only == "strict":
        what = "weights float" if weights == FLOAT else "activations float"
        raise ConfigError(
            f"layer {layer.name!r} ({reason}): {what} contradicts --integer-only; leave it out, or use "
            "--integer-only=report"
        )
    if isinstance(layer.geometry, ActivationProduct):
        weights, reason = ACTIVATION, "both operands are activations"
    table = isinstance(layer.geometry, EmbeddingTable)
    return LayerPlan(
        layer=layer.name,
        weights=FLOAT if in_float or table else weights,
        granularity="tensor" if layer.geometry.stacked else settings.granularity,
        scale=settings.scale,
        rounding=settings.rounding,
        activations=ActivationMode.STATIC,
        reduce_range=settings.reduce_range,
        reason=reason,
    )


def _edge_plans(
    steps: IntegerSteps,
    layers: Sequence[LayerWork],
    plans: Sequence[LayerPlan],
    resolved: Mapping[str, Resolved],
    default: str,
) -> tuple[EdgePlan, ...]:
    """Return an encoding for every root; narrow ones where all layers that read it ask for the same width.

    Ranges are those of the layers that read a tensor; ``default`` where none does.
    """
    quantized = {p.layer for p in plans if not p.in_float}
    readers: dict[str, list[str]] = {}
    for layer in layers:
        if layer.name in quantized and layer.input in steps.roots:
            readers.setdefault(steps.roots[layer.input], []).append(layer.name)
    others = {
        steps.roots[name]
        for step in steps.steps
        for name in step.inputs
        if name in steps.roots and not _only_passes_on(step)
    }
    found = []
    for root in steps.encodings:
        names = readers.get(root, [])
        settings = [resolved[name].settings for name in names]
        widths = {s.activations if s.activations in _WIDTHS else "int8" for s in settings}
        narrow = len(widths) == 1 and root not in others
        found.append(
            EdgePlan(
                tensor=root,
                format=str(widths.pop()) if narrow else "int8",
                range=(settings[0].range if settings else None) or default,
                reason="read by " + ", ".join(names) if names else "between integer operators",
            )
        )
    return tuple(found)


def _on_int8_kernels(weights: str) -> bool:
    known = weights in formats.names(signed=True)
    return not known or formats.get(weights).fits_int8


def _only_passes_on(step: Step) -> bool:
    """Return whether a reader of codes does not mind their width: layers, and what only moves codes."""
    return step.kind in (StepKind.LAYER, StepKind.MOVE, StepKind.CLAMP, StepKind.QUANTIZE)
