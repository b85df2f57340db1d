"""Choices of a search: formats of every layer's weights and activations, and the ties between layers.

A choice is a pair of recipe settings, ``weights`` and ``activations``. Settings may list several formats,
separated by commas; a layer whose settings name one each has nothing to choose. Layers that read the same
codes agree on their activations, and so do the parts of a concatenation with its readers, because a part
is stored as the whole is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dybitq.encodings import formats
from dybitq.encodings.widths import is_uniform, widths
from dybitq.errors import ConfigError
from dybitq.fit.activations.recode import as_read, check_recoding
from dybitq.fit.auto import candidates, is_auto
from dybitq.fit.shared import sharing
from dybitq.graph.load import Network
from dybitq.graph.tensors import Tensors
from dybitq.plan.integer import make_integer_plan
from dybitq.plan.parts import with_narrow_parts
from dybitq.plan.recipe import PLAIN, Recipe, Rule, Settings, activation_mode, make_plan, resolve_settings
from dybitq.records.arithmetic import FLOAT_RESCALE
from dybitq.records.geometry.products import ActivationProduct
from dybitq.records.layers import LayerWork
from dybitq.records.plan import ACTIVATION, FLOAT, ActivationMode, Plan

Assignment = Mapping[str, tuple[str, str]]
"""By layer the settings ``(weights, activations)``."""

WEIGHTS = ",".join((*(f"int{bits}" for bits in range(2, 9)), *(f"dybit{bits}" for bits in range(3, 6))))
ACTIVATIONS = ",".join(("auto", *(f"int{bits}" for bits in range(2, 8)), "sparq4-5opt"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChoices:
    """Choices of one layer.

    Attributes:
        layer: its name.
        weights, activations: settings, widest first.
        root: tensor whose codes it reads; None where it reads none, or has no choice about them.
        reason: origin of the settings.
        asked: formats that the recipe names itself.
    """

    layer: str
    weights: tuple[str, ...]
    activations: tuple[str, ...]
    root: str | None
    reason: str
    asked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Space:
    """Choices of a search for one network.

    Attributes:
        network, layers: the network and its survey by name.
        recipe: settings that are not searched.
        choices: of every layer, in the survey's order.
        tied_activations: layers that read the same codes; two or more names each.
        tied_weights: layers that share a weight.
        base: plan with the first choice of every layer.
    """

    network: Network
    layers: Mapping[str, LayerWork]
    recipe: Recipe
    choices: tuple[LayerChoices, ...]
    tied_activations: tuple[tuple[str, ...], ...]
    tied_weights: tuple[tuple[str, ...], ...]
    base: Plan

    def widest(self) -> dict[str, tuple[str, str]]:
        """Take the first choice of every layer."""
        return {c.layer: (c.weights[0], c.activations[0]) for c in self.choices}

    def narrowest(self) -> dict[str, tuple[str, str]]:
        """Take the last choice of every layer."""
        return {c.layer: (c.weights[-1], c.activations[-1]) for c in self.choices}

    def reduced(self, kept: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> "Space":
        """Keep only some weight and activation settings of every layer.

        Raises:
            ConfigError: layers that read the same codes have no activations left in common.
        """
        fewer = [
            replace(choice, weights=tuple(kept[choice.layer][0]), activations=tuple(kept[choice.layer][1]))
            for choice in self.choices
        ]
        return replace(self, choices=_agreed(fewer, self.tied_activations))

    def plan(self, assignment: Assignment, reasons: Mapping[str, str] | None = None) -> Plan:
        """Make the plan of an assignment.

        Args:
            assignment: settings by layer.
            reasons: text to write beside the layers, by name; None keeps the origin of a setting.
        """
        plan = _planned(self.network, self.layers, self.recipe, assignment)
        why = {choice.layer: choice.reason for choice in self.choices} | dict(reasons or {})
        layers = tuple(
            p if p.weights == ACTIVATION else replace(p, reason=why.get(p.layer, p.reason))
            for p in plan.layers
        )
        return replace(plan, layers=layers)


def bits_of(setting: str) -> int:
    """Return the width of a setting, for sorting and counting: 8 for ``auto``, 32 for ``float``."""
    if setting == FLOAT:
        return 32
    if setting in ("auto", "dynamic8", ACTIVATION):
        return 8
    return widths(setting).multiplied


def open_space(network: Network, layers: Mapping[str, LayerWork], recipe: Recipe) -> Space:
    """Find the choices of every layer and the ties between them.

    Args:
        network: in normal form.
        layers: survey by name.
        recipe: defaults and rules; ``weights`` and ``activations`` may be lists.

    Raises:
        ConfigError: unknown formats, rules that match nothing, or rules that contradict each other.
    """
    resolved = resolve_settings(network, tuple(layers.values()), recipe)
    listed = {
        name: (_weights(name, found.settings), _activations(layers[name], found.settings))
        for name, found in resolved.items()
    }
    first = {name: (weights[0], activations[0]) for name, (weights, activations) in listed.items()}
    base = _planned(network, layers, recipe, first)
    roots = _roots(network, layers, base, recipe)
    choices = []
    for layer in layers.values():
        weights, activations = listed[layer.name]
        if isinstance(layer.geometry, ActivationProduct):
            weights = (ACTIVATION,)
        elif weights[0] == FLOAT:
            weights = weights[:1]
        root = roots.get(layer.name)
        if recipe.arithmetic != FLOAT_RESCALE:
            activations = _integer_only(activations)
        choices.append(
            LayerChoices(
                layer=layer.name,
                weights=weights,
                activations=activations if root is not None else activations[:1],
                root=root,
                reason=resolved[layer.name].reason,
                asked=_asked(resolved[layer.name].settings),
            )
        )
    tied = _tied(choices)
    return Space(
        network=network,
        layers=layers,
        recipe=recipe,
        choices=_agreed(choices, tied),
        tied_activations=tied,
        tied_weights=tuple(dict.fromkeys(sharing(layers, base).values())),
        base=base,
    )


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _asked(settings: Settings) -> frozenset[str]:
    """Return formats that the recipe names, as opposed to those of the default list."""
    weights = [] if settings.weights == WEIGHTS else _names(settings.weights or "")
    activations = [] if settings.activations == ACTIVATIONS else _names(settings.activations or "")
    return frozenset(weights) | frozenset(activations)


def _weights(layer: str, settings: Settings) -> tuple[str, ...]:
    accepted: list[str] = []
    for name in _names(settings.weights or ""):
        if is_auto(name):
            accepted += candidates(name, ActivationMode.STATIC)
        elif name == FLOAT:
            accepted.append(name)
        else:
            try:
                signed = formats.get(name).signed
            except ConfigError as error:
                raise ConfigError(f"layer {layer!r}: {error}") from None
            if not signed:
                raise ConfigError(
                    f"layer {layer!r}: {name} has no negative levels, but weights need some; name a signed "
                    "format"
                )
            accepted.append(name)
    if not accepted:
        raise ConfigError(f"layer {layer!r}: no weight format given; expected names such as int8,int4")
    return tuple(sorted(dict.fromkeys(accepted), key=lambda name: (-bits_of(name), accepted.index(name))))


def _activations(layer: LayerWork, settings: Settings) -> tuple[str, ...]:
    names = _names(settings.activations or "")
    if not names:
        raise ConfigError(f"layer {layer.name!r}: no activations given; expected names such as int8,int4")
    for name in names:
        check_recoding(name, "activations", PLAIN)
    if isinstance(layer.geometry, ActivationProduct) and "auto" in names:
        return ("auto",)
    names = list(dict.fromkeys(as_read(name, layer) for name in names))
    if len(names) == 1:
        return (names[0],)
    static = [name for name in names if activation_mode(layer, name) is ActivationMode.STATIC]
    others = [name for name in names if name not in static]
    if others or not static:  # ranges computed at every run, or arithmetic in float: nothing to search
        return tuple((others or names)[:1])
    static = ["int8" if name == "auto" else name for name in static]
    return tuple(sorted(dict.fromkeys(static), key=lambda name: (-bits_of(name), static.index(name))))


def _integer_only(activations: Sequence[str]) -> tuple[str, ...]:
    """Keep activation settings without re-coding, which integer-only arithmetic needs."""
    kept = tuple(name for name in activations if name in PLAIN or is_uniform(name))
    return kept or tuple(activations)


def _planned(
    network: Network, layers: Mapping[str, LayerWork], recipe: Recipe, assignment: Assignment
) -> Plan:
    """Make the plan by a recipe with one rule for each layer, so that all checks of a recipe apply."""
    rules = tuple(_rule(recipe, name, layers, *pair) for name, pair in assignment.items())
    whole = replace(
        recipe, defaults=replace(recipe.defaults, weights="int8", activations="auto"), rules=rules
    )
    if recipe.arithmetic != FLOAT_RESCALE:
        return make_integer_plan(network, tuple(layers.values()), whole)
    return with_narrow_parts(network, make_plan(network, tuple(layers.values()), whole))


def _rule(recipe: Recipe, name: str, layers: Mapping[str, LayerWork], weights: str, activations: str) -> Rule:
    own = next((rule.settings for rule in recipe.rules if rule.matches(layers[name])), Settings())
    literal = "".join(f"[{char}]" if char in "*?[" else char for char in name)
    return Rule(name=literal, settings=replace(own, weights=weights, activations=activations))


def _roots(network: Network, layers: Mapping[str, LayerWork], base: Plan, recipe: Recipe) -> dict[str, str]:
    """By layer the tensor whose width it may choose."""
    tensors = Tensors(network)
    coded = {edge.tensor for edge in base.edges}
    modes = {p.layer: p.activations for p in base.layers if p.has_coded_weights}
    roots = {}
    for layer in layers.values():
        if modes.get(layer.name) is ActivationMode.STATIC:
            root = tensors.coded_root(layer.input, coded)
            if root is not None:
                roots[layer.name] = root
    return roots


def _tied(choices: Sequence[LayerChoices]) -> tuple[tuple[str, ...], ...]:
    readers: dict[str, list[str]] = {}
    for choice in choices:
        if choice.root is not None:
            readers.setdefault(choice.root, []).append(choice.layer)
    return tuple(tuple(names) for names in readers.values() if len(names) > 1)


def _agreed(choices: Sequence[LayerChoices], tied: Sequence[Sequence[str]]) -> tuple[LayerChoices, ...]:
    """Keep only those activations that all readers of a tensor have."""
    by_name = {choice.layer: choice for choice in choices}
    for names in tied:
        members = [by_name[name] for name in names]
        common = [a for a in members[0].activations if all(a in m.activations for m in members)]
        if not common:
            raise ConfigError(_contradiction(members))
        for member in members:
            by_name[member.layer] = replace(member, activations=tuple(common))
    return tuple(by_name.values())


def _contradiction(members: Sequence[LayerChoices]) -> str:
    said = "; ".join(f"{m.layer!r} ({m.reason}): {', '.join(m.activations)}" for m in members)
    return (
        f"layers that read the codes of {members[0].root!r} need the same activation format, but the "
        f"recipe allows them none in common: {said}. Change one of the rules"
    )
