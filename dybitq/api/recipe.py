"""The recipe that ``quantize`` and ``search`` are asked for: a file or dictionary, and single settings."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, cast

from dybitq.errors import ConfigError
from dybitq.plan.recipe import DEFAULTS, Recipe, Settings
from dybitq.plan.store import parse_plan, parse_recipe, read_plan, read_recipe
from dybitq.records.arithmetic import FLOAT_RESCALE, INTEGER_EXPLICIT, INTEGER_FAST
from dybitq.records.plan import Plan
from dybitq.schema.base import validate
from dybitq.schema.plan import OptionsShape

RecipeLike: TypeAlias = Recipe | Mapping[str, Any] | str | os.PathLike[str]
"""A recipe, the same as a dictionary, or the path of its YAML file."""

PlanLike: TypeAlias = Plan | Mapping[str, Any] | str | os.PathLike[str]
"""A plan, the same as a dictionary, or the path of its YAML file."""


class RecipeOptions(TypedDict, total=False):
    """Settings in place of those of a recipe, named as the command line names them; None changes nothing.

    Attributes:
        weights: weight format, such as ``int8``, ``dybit4``, ``auto3``; for ``search`` a list, with commas.
        activations: ``auto``, ``int8``, ``dynamic8``, ``float``, ``int4`` to ``int7``, ``sparq4-5opt``, ...
        granularity: of the weight scales.
        scale: weight scale method.
        rounding: weight rounding.
        range: activation range method.
        reduce_range: 8-bit weights within 64, which no kernel saturates at.
        first_last: weight format of the first and last layers; ``same`` for no exception.
        bias_correction: whether biases take up the mean error of the rounded weights.
        integer_only: integer multiply, add and shift only; ``report`` leaves in float what cannot be integer.
        flavour: of integer-only models, quantized kernels or plain integer operators.
        rounding_rule: ties of a requantization.
        scales: ``free``, or powers of two.
        multiplier_bits: width of the multipliers of the flavour ``explicit``.
        residual_bits, residual_rounding: of sums, in the flavour ``explicit``.
        target: runtime that the model is written for.
    """

    weights: str | None
    activations: str | None
    granularity: Literal["channel", "tensor"] | None
    scale: str | None
    rounding: str | None
    range: str | None
    reduce_range: bool | None
    first_last: str | None
    bias_correction: bool | None
    integer_only: Literal["strict", "report"] | None
    flavour: Literal["fast", "explicit"] | None
    rounding_rule: Literal["half-even", "half-up"] | None
    scales: Literal["free", "pow2"] | None
    multiplier_bits: int | None
    residual_bits: Literal[8, 16] | None
    residual_rounding: Literal["sum", "branch"] | None
    target: str | None


_INTEGER = {
    "integer_only": "only",
    "rounding_rule": "rounding",
    "scales": "scales",
    "multiplier_bits": "multiplier_bits",
    "residual_bits": "residual_bits",
    "residual_rounding": "residual_rounding",
}
"""Options of integer-only arithmetic to the fields of :class:`dybitq.records.arithmetic.IntegerOptions`."""


def recipe_of(recipe: RecipeLike | None, options: RecipeOptions, base: Settings = DEFAULTS) -> Recipe:
    """Return the recipe with ``options`` in place of its own values.

    Args:
        recipe: a recipe, None for the default one.
        options: settings that change it.
        base: settings of what neither says.

    Raises:
        ConfigError: no recipe, an unknown option, or options of integer-only arithmetic without it.
    """
    validate(OptionsShape, options, source="settings")
    given = {name: value for name, value in options.items() if value is not None}
    chosen = _read(recipe, base, integer_only="integer_only" in given)
    settings = {name: given[name] for name in Settings.__dataclass_fields__ if name in given}
    chosen = replace(chosen, defaults=replace(chosen.defaults, **cast(dict[str, Any], settings)))
    if "first_last" in given:
        chosen = replace(chosen, first_last=_first_last(given["first_last"]))
    if "bias_correction" in given:
        chosen = replace(chosen, bias_correction=bool(given["bias_correction"]))
    if "target" in given:
        chosen = replace(chosen, target=str(given["target"]))
    return _with_arithmetic(chosen, given)


def plan_of_request(plan: PlanLike | None, recipe: RecipeLike | None, options: RecipeOptions) -> Plan | None:
    """Return the plan to carry out as it stands, None where a recipe makes it.

    Raises:
        ConfigError: no plan, or a recipe or settings beside it.
    """
    if plan is None:
        return None
    if recipe is not None or any(value is not None for value in options.values()):
        raise ConfigError(
            "--plan cannot be combined with a recipe or its settings; leave them out, or edit the plan"
        )
    return load_plan(plan)


def load_plan(plan: PlanLike) -> Plan:
    """Read a plan from its YAML file or from a dictionary; a plan is returned as it is.

    Raises:
        ConfigError: not readable, or not a plan; every mistake with its place.
    """
    if isinstance(plan, Plan):
        return plan
    return parse_plan(plan, source="the plan") if isinstance(plan, Mapping) else read_plan(Path(plan))


def files_of(*given: object) -> tuple[Path, ...]:
    """Those of some recipes and plans that are files, which no output may replace."""
    return tuple(Path(each) for each in given if isinstance(each, str | os.PathLike))


def load_recipe(recipe: RecipeLike) -> Recipe:
    """Read a recipe from its YAML file or from a dictionary; a recipe is returned as it is.

    Raises:
        ConfigError: not readable, or not a recipe; every mistake with its place.
    """
    return _read(recipe, DEFAULTS, integer_only=False)


def _read(recipe: RecipeLike | None, base: Settings, *, integer_only: bool) -> Recipe:
    if recipe is None:
        return Recipe(defaults=base)
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, Mapping):
        return parse_recipe(recipe, base, source="the recipe", integer_only=integer_only)
    return read_recipe(Path(recipe), base, integer_only=integer_only)


def _first_last(given: object) -> str | None:
    return None if given == "same" else str(given)


def _with_arithmetic(chosen: Recipe, given: Mapping[str, Any]) -> Recipe:
    used = [name for name in (*_INTEGER, "flavour") if name in given]
    if not used:
        return chosen
    if used == ["scales"] and chosen.arithmetic == FLOAT_RESCALE:
        return _with_scales(chosen, given)
    if "integer_only" not in used and chosen.arithmetic == FLOAT_RESCALE:
        raise ConfigError(
            f"--{used[0].replace('_', '-')} changes integer-only arithmetic; add --integer-only"
        )
    flavour = given.get("flavour")
    if flavour is not None:
        arithmetic = INTEGER_FAST if flavour == "fast" else INTEGER_EXPLICIT
    else:
        arithmetic = INTEGER_FAST if chosen.arithmetic == FLOAT_RESCALE else chosen.arithmetic
    options = {_INTEGER[name]: given[name] for name in used if name in _INTEGER}
    return replace(chosen, arithmetic=arithmetic, integer=replace(chosen.integer, **options))


def _with_scales(chosen: Recipe, given: Mapping[str, Any]) -> Recipe:
    """Apply ``scales`` outside integer-only arithmetic: powers of two for weights and activations."""
    if given["scales"] != "pow2":
        return chosen
    for name in ("scale", "range"):
        if given.get(name, "pow2") != "pow2":
            raise ConfigError(
                f"--scales pow2 sets --scale and --range to pow2, but --{name} {given[name]} was given; "
                "leave one of them out"
            )
    return replace(chosen, defaults=replace(chosen.defaults, scale="pow2", range="pow2"))
