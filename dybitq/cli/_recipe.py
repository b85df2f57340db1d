"""Everything on a command line that makes a recipe, which ``quantize`` takes as one request."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeRequest:
    """A recipe file, and what the options say instead.

    Attributes:
        file: the recipe file, or None.
        changes: options that were used, by parameter name.
    """

    file: Path | None
    changes: dict[str, Any]

    @property
    def empty(self) -> bool:
        """Whether the command line says nothing about a recipe."""
        return self.file is None and not self.changes

    def recipe(self, base: Any = None) -> Any:
        """The recipe: the file or the default one, with the options in place of its own values.

        Args:
            base: settings of what neither says; those of ``quantize`` if None.

        Raises:
            ConfigError: the file is no recipe, or options of integer-only arithmetic without it.
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
                f"--{used[0].replace('_', '-')} is about integer-only arithmetic; add --integer-only"
            )
        flavour = self.changes.get("flavour")
        if flavour is not None:
            arithmetic = INTEGER_FAST if flavour == "fast" else INTEGER_EXPLICIT
        else:
            arithmetic = INTEGER_FAST if chosen.arithmetic == FLOAT_RESCALE else chosen.arithmetic
        given = {_INTEGER[name]: self.changes[name] for name in used if name in _INTEGER}
        return replace(chosen, arithmetic=arithmetic, integer=replace(chosen.integer, **given))


def _with_scales(chosen: Any, changes: dict[str, Any]) -> Any:
    """``--scales`` outside integer-only arithmetic: powers of two for weights and activations."""
    from dybitq.errors import ConfigError

    if changes["scales"] != "pow2":
        return chosen
    for name in ("scale", "range"):
        if changes.get(name, "pow2") != "pow2":
            raise ConfigError(
                f"--scales pow2 makes --scale and --range pow2; found --{name} {changes[name]}: leave one of "
                "the two out"
            )
    return replace(chosen, defaults=replace(chosen.defaults, scale="pow2", range="pow2"))


target_option = click.option(
    "--target",
    help=f"Runtime that the file is written for: {', '.join(names_in('dybitq.emit.targets'))}.  "
    "[default: onnxruntime]",
)


def recipe_options(function: F) -> F:
    """Options that make a recipe; parameter ``request`` (a :class:`RecipeRequest`)."""

    @functools.wraps(function)
    def collected(**given: Any) -> Any:
        file = given.pop("recipe")
        names = (*_SETTINGS, "first_last", "bias_correction", "flavour", *_INTEGER)
        values = {name: given.pop(name) for name in names}
        changes = {name: value for name, value in values.items() if value is not None}
        return function(request=RecipeRequest(file=file, changes=changes), **given)

    decorated: Any = collected
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


_OPTIONS = (
    click.option(
        "--recipe", type=options.EXISTING_FILE, help="Recipe: defaults, then rules by operator and name."
    ),
    click.option("--weights", help="Weight format, such as int8, int4, dybit4, auto3.  [default: int8]"),
    click.option(
        "--activations",
        help="auto, int8, dynamic8, float, int4 to int7, dybit4, sparq4-5opt, ...  [default: auto]",
    ),
    click.option(
        "--granularity",
        type=click.Choice(["channel", "tensor"]),
        help="Weight scales.  [default: channel]",
    ),
    click.option("--scale", help="Weight scale method: mse, max, pow2.  [default: mse]"),
    click.option("--rounding", help="Weight rounding: compensated, nearest.  [default: compensated]"),
    click.option(
        "--range",
        help="Activation range: mse, minmax, percentile, entropy, mean-max, pow2.  [default: mse]",
    ),
    click.option(
        "--reduce-range/--no-reduce-range",
        default=None,
        help="8-bit weights within 64, which no kernel saturates at.  [default: on]",
    ),
    click.option(
        "--first-last",
        help="Weight format of first and last layers; 'same' for no exception.  [default: int8]",
    ),
    click.option(
        "--bias-correction/--no-bias-correction", default=None, help="Correct biases.  [default: on]"
    ),
    click.option(
        "--integer-only",
        type=click.Choice(["strict", "report"]),
        is_flag=False,
        flag_value="strict",
        help="Integer multiply, add and shift only; 'report' leaves in float what cannot be integer.",
    ),
    click.option(
        "--flavour",
        type=click.Choice(["fast", "explicit"]),
        help="Integer-only by quantized kernels, or by plain integer operators.  [default: fast]",
    ),
    click.option(
        "--rounding-rule",
        type=click.Choice(["half-even", "half-up"]),
        help="Ties of a requantization; half-up is for explicit.  [default: half-even]",
    ),
    click.option(
        "--scales",
        type=click.Choice(["free", "pow2"]),
        help="Integer-only with dyadic factors, or with powers of two: pure shifts.  [default: free]",
    ),
    click.option(
        "--multiplier-bits",
        type=click.IntRange(8, 31),
        help="Explicit: multipliers this wide, weight scales not snapped.",
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
        help="Explicit: round the exact sum once, or each branch before it is added.  [default: sum]",
    ),
)
