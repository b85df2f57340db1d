"""Recipes and plans as YAML: one line a layer, one line a tensor, defaults left out."""

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from dybitq.errors import ConfigError
from dybitq.plan.recipe import DEFAULTS, Recipe, Rule, Settings
from dybitq.records.arithmetic import (
    DEFAULT_OPTIONS,
    FLOAT_RESCALE,
    INTEGER_EXPLICIT,
    INTEGER_FAST,
    IntegerOptions,
)
from dybitq.records.plan import ActivationMode, EdgePlan, LayerPlan, Plan
from dybitq.schema.base import read_document, validate
from dybitq.schema.plan import PlanShape, RecipeShape, SettingsShape

_VERSION = 1


def read_recipe(path: Path, base: Settings = DEFAULTS, *, integer_only: bool = False) -> Recipe:
    """Read a recipe file; its defaults stand in for those of ``base``.

    Args:
        path: of the file.
        base: settings of what the recipe does not say.
        integer_only: whether integer-only arithmetic is asked for beside the recipe.

    Raises:
        ConfigError: not readable, fields that a recipe does not have, all of them at once, or options of
            integer-only arithmetic without it.
    """
    return parse_recipe(read_document(path), base, source=str(path), integer_only=integer_only)


def parse_recipe(
    document: Any, base: Settings = DEFAULTS, *, source: str, integer_only: bool = False
) -> Recipe:
    """Return a recipe from parsed YAML or a dictionary; messages begin with ``source``."""
    shape = validate(RecipeShape, document, source=source)
    if not integer_only:
        _check_arithmetic(shape, source)
    rules = []
    for number, rule in enumerate(shape.rules, start=1):
        if rule.op_type is None and rule.name is None:
            raise ConfigError(
                f"{source}: rules.{number - 1}: needs op_type, name or both to match layers with"
            )
        rules.append(Rule(op_type=rule.op_type, name=rule.name, settings=_settings(rule)))
    defaults = dataclasses.replace(
        base, **{k: v for k, v in dataclasses.asdict(_settings(shape.defaults)).items() if v is not None}
    )
    return Recipe(
        defaults=defaults,
        rules=tuple(rules),
        first_last=None if shape.first_last == "same" else shape.first_last,
        bias_correction=shape.bias_correction,
        arithmetic=shape.arithmetic,
        integer=IntegerOptions(**shape.integer.model_dump()),
        target=shape.target,
        source=source,
    )


def _check_arithmetic(shape: RecipeShape | PlanShape, source: str) -> None:
    if "integer" in shape.model_fields_set and shape.arithmetic == FLOAT_RESCALE:
        raise ConfigError(
            f"{source}: integer: has options of integer-only arithmetic, but arithmetic is {FLOAT_RESCALE}; "
            f"add 'arithmetic: {INTEGER_FAST}' or 'arithmetic: {INTEGER_EXPLICIT}'"
        )


def _settings(shape: SettingsShape) -> Settings:
    return Settings(**{name: getattr(shape, name) for name in Settings.__dataclass_fields__})


def read_plan(path: Path) -> Plan:
    """Read a plan file.

    Raises:
        ConfigError: not readable, or not a plan; every mistake with its place in the file.
    """
    return parse_plan(read_document(path), source=str(path))


def parse_plan(document: Any, *, source: str) -> Plan:
    """Return a plan from parsed YAML or JSON."""
    shape = validate(PlanShape, document, source=source)
    _check_arithmetic(shape, source)
    layers = tuple(
        LayerPlan(**(layer.model_dump() | {"activations": ActivationMode(layer.activations)}))
        for layer in shape.layers
    )
    edges = tuple(EdgePlan(**edge.model_dump()) for edge in shape.edges)
    for kind, names in (("layer", [p.layer for p in layers]), ("tensor", [p.tensor for p in edges])):
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ConfigError(f"{source}: {kind} {sorted(twice)[0]!r} stands there twice")
    return Plan(
        model_sha256=shape.model_sha256,
        layers=layers,
        edges=edges,
        bias_correction=shape.bias_correction,
        arithmetic=shape.arithmetic,
        integer=IntegerOptions(**shape.integer.model_dump()),
        target=shape.target,
        source=source,
    )


def plan_document(plan: Plan, *, reasons: bool = True) -> dict[str, Any]:
    """Return a plan as plain data, fields at their default left out."""
    document: dict[str, Any] = {"schema_version": _VERSION, "model_sha256": plan.model_sha256}
    for name in ("bias_correction", "arithmetic", "target"):
        if getattr(plan, name) != Plan.__dataclass_fields__[name].default:
            document[name] = getattr(plan, name)
    options = {k: v for k, v in dataclasses.asdict(plan.integer).items() if v != getattr(DEFAULT_OPTIONS, k)}
    if options:
        document["integer"] = options
    document["layers"] = [_changed(layer, reasons=reasons) for layer in plan.layers]
    document["edges"] = [_changed(edge, reasons=reasons) for edge in plan.edges]
    return document


def _changed(record: LayerPlan | EdgePlan, *, reasons: bool) -> dict[str, Any]:
    found = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if value == field.default or (field.name == "reason" and not reasons):
            continue
        found[field.name] = str(value) if isinstance(value, ActivationMode) else value
    return found


def plan_text(plan: Plan) -> str:
    """Write the YAML of a plan: a line for every layer and tensor, so that plans can be compared by line."""
    document = plan_document(plan)
    lines = [f"{key}: {_flow(value)}" for key, value in document.items() if key not in ("layers", "edges")]
    for key in ("layers", "edges"):
        lines.append(f"{key}:" if document[key] else f"{key}: []")
        lines += [f"- {_flow(item)}" for item in document[key]]
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=10**9, allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")
