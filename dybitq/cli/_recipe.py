"""Options that make a recipe, collected into one request."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from dybitq.cli import options
from dybitq.registry import names_in

F = TypeVar("F", bound=Callable[..., Any])

_SETTINGS = ("weights", "activations", "granularity", "scale", "rounding", "range", "reduce_range")
_INTEGER = {
    "integer_only": "only",
    "rounding_rule": "rounding",
    "scales": "scales",
    "multiplier_bits": "multiplier_bits",
    "residual_bits": "residual_bits",
    "residual_rounding": "residual_rounding",
}
"""Options of integer-only arithmetic to the fields of :class:`dybitq.records.arithmetic.IntegerOptions`."""

SECTIONS = {
    "Recipe": ("recipe", *_SETTINGS, "first_last", "bias_correction"),
    "Integer-only": (*_INTEGER, "flavour"),
}
"""Sections of ``--help`` for the options of a recipe, see :class:`dybitq.cli.options.SectionedCommand`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeRequest:
    """A recipe file, and the options that override it.

    Attributes:
        file: the recipe file, or None.
        changes: options that were used, by parameter name.
    """

    file: Path | None
    changes: dict[str, Any]

    @property
    def empty(self) -> bool:
        """True where the command line has no option of a recipe."""
        return self.file is None and not self.changes

    def recipe(self, base: Any = None) -> Any:
        """Build the recipe: the file's or the default one, overridden by the options.

        Args:
            base: settings where neither gives one; those of ``quantize`` if None.

        Raises:
            ConfigError: the file is not a recipe, or an option needs integer-only arithmetic.
        """
        from dybitq.plan.recipe import DEFAULTS, Recipe
        from dybitq.plan.store import read_recipe

        base = base or DEFAULTS
        chosen = Recipe(defaults=base)
        if self.file is not None:
            chosen = read_recipe(self.file, base, integer_only="integer_only" in self.changes)
        settings = {name: self.changes[name] for name in _SETTINGS if name in self.changes}
        chosen = replace(chosen, defaults=replace(chosen.defaults, **settings))
        if "first_last" in self.changes:
            given = self.changes["first_last"]
            chosen = replace(chosen, first_last=None if given == "same" else given)
        if "bias_correction" in self.changes:
            chosen = replace(chosen, bias_correction=self.changes["bias_correction"])
        if "target" in self.changes:
            chosen = replace(chosen, target=self.changes["target"])
        return self._with_arithmetic(chosen)

    def with_target(self, target: str) -> "RecipeRequest":
        """Ask for another target than the recipe file or the default."""
        return replace(self, changes=self.changes | {"target": target})

    def _with_arithmetic(self, chosen: Any) -> Any:
        from dybitq.errors import ConfigError
        from dybitq.records.arithmetic import FLOAT_RESCALE, INTEGER_EXPLICIT, INTEGER_FAST

        used = [name for name in (*_INTEGER, "flavour") if name in self.changes]
        if not used:
            return chosen
        if used == ["scales"] and chosen.arithmetic == FLOAT_RESCALE:
            return _with_scales(chosen, self.changes)
        if "integer_only" not in used and chosen.arithmetic == FLOAT_RESCALE:
            raise ConfigError(
                f"--{used[0].replace('_', '-')} changes integer-only arithmetic; add --integer-only"
            )
        flavour = self.changes.get("flavour")
        if flavour is not None:
            arithmetic = INTEGER_FAST if flavour == "fast" else INTEGER_EXPLICIT
        else:
            arithmetic = INTEGER_FAST if chosen.arithmetic == FLOAT_RESCALE else chosen.arithmetic
        given = {_INTEGER[name]: self.changes[name] for name in used if name in _INTEGER}
        return replace(chosen, arithmetic=arithmetic, integer=replace(chosen.integer, **given))


def _with_scales(chosen: Any, changes: dict[str, Any]) -> Any:
    """Apply ``--scales`` outside integer-only arithmetic: powers of two for weights and activations."""
    from dybitq.errors import ConfigError

    if changes["scales"] != "pow2":
        return chosen
    for name in ("scale", "range"):
        if changes.get(name, "pow2") != "pow2":
            raise ConfigError(
                f"--scales pow2 sets --scale and --range to pow2, but --{name} {changes[name]} was given; "
                "leave one of them out"
            )
    return replace(chosen, defaults=replace(chosen.defaults, scale="pow2", range="pow2"))


target_option = click.option(
    "--target",
    help=f"Runtime that the file is written for: {', '.join(names_in('dybitq.emit.targets'))}.  "
    "[default: onnxruntime]",
)


def recipe_options(*, weights: str = "int8", activations: str = "auto") -> Callable[[F], F]:
    """Add the options of a recipe; parameter ``request`` (a :class:`RecipeRequest`).

    Args:
        weights, activations: default formats, as the help shows them.
    """
    formats = (
        click.option(
            "--weights", help=f"Weight format, such as int8, int4, dybit4, auto3.  [default: {weights}]"
        ),
        click.option(
            "--activations",
            help="auto, int8, dynamic8, float, int4 to int7, dybit4, sparq4-5opt, ...  "
            f"[default: {activations}]",
        ),
    )

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def collected(**given: Any) -> Any:
            file = given.pop("recipe")
            names = (*_SETTINGS, "first_last", "bias_correction", "flavour", *_INTEGER)
            values = {name: given.pop(name) for name in names}
            changes = {name: value for name, value in values.items() if value is not None}
            return function(request=RecipeRequest(file=file, changes=changes), **given)

        decorated: Any = collected
        for option in reversed((_RECIPE, *formats, *_OPTIONS)):
            decorated = option(decorated)
        return decorated

    return decorate


_RECIPE = click.option(
    "--recipe", type=options.EXISTING_FILE, help="YAML file: defaults, then rules by operator and name."
)
_OPTIONS = (
    click.option(
        "--granularity",
        type=click.Choice(["channel", "tensor"]),
        help="One weight scale per output channel or per tensor.  [default: channel]",
    ),
    click.option("--scale", help="Method for weight scales: mse, max, pow2.  [default: mse]"),
    click.option("--rounding", help="Rounding of weights: compensated, nearest.  [default: compensated]"),
    click.option(
        "--range",
        help="Method for activation ranges: mse, minmax, percentile, entropy, mean-max, pow2.  "
        "[default: mse]",
    ),
    click.option(
        "--reduce-range/--no-reduce-range",
        default=None,
        help="Limit integers of 8-bit weights to 64, at which no kernel saturates.  [default: on]",
    ),
    click.option(
        "--first-last",
        help="Weight format of first and last layers; 'same' for no exception.  [default: int8]",
    ),
    click.option(
        "--bias-correction/--no-bias-correction",
        default=None,
        help="Correct mean errors by biases.  [default: on]",
    ),
    click.option(
        "--integer-only",
        type=click.Choice(["strict", "report"]),
        is_flag=False,
        flag_value="strict",
        help="Integer arithmetic only; 'report' leaves operators in float that have no integer form.",
    ),
    click.option(
        "--flavour",
        type=click.Choice(["fast", "explicit"]),
        help="Quantized kernels (fast), or plain integer operators (explicit).  [default: fast]",
    ),
    click.option(
        "--rounding-rule",
        type=click.Choice(["half-even", "half-up"]),
        help="Rounding of ties in a requantization; half-up needs explicit.  [default: half-even]",
    ),
    click.option(
        "--scales",
        type=click.Choice(["free", "pow2"]),
        help="Any dyadic factors (free), or powers of two: pure shifts.  [default: free]",
    ),
    click.option(
        "--multiplier-bits",
        type=click.IntRange(8, 31),
        help="Explicit: width of multipliers; weight scales are then not snapped.",
    ),
    click.option(
        "--residual-bits",
        type=click.Choice(["8", "16"]),
        callback=lambda _context, _parameter, value: None if value is None else int(value),
        help="Explicit: width of residual sums.  [default: 8]",
    ),
    click.option(
        "--residual-rounding",
        type=click.Choice(["sum", "branch"]),
        help="Explicit: round the exact sum once, or each branch before adding.  [default: sum]",
    ),
)
