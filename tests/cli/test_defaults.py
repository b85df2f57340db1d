"""Defaults that ``--help`` states are those of the functions and records behind the verbs."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import click
import pytest

from dybitq.allocation.budgets import parse_budgets
from dybitq.allocation.sensitivity import SAMPLES
from dybitq.allocation.strategies import StrategySettings
from dybitq.api.allocate import allocate
from dybitq.api.calibrate import calibrate
from dybitq.api.evaluate import evaluate
from dybitq.api.export import export
from dybitq.api.quantize import quantize
from dybitq.api.recipe import recipe_of
from dybitq.api.search_request import SEARCHED, Request, default_sensitivity, goal_of
from dybitq.api.simulate import sweep
from dybitq.api.verify import verify
from dybitq.cli.main import group
from dybitq.errors import listed
from dybitq.plan.recipe import DEFAULTS, Recipe, Settings
from dybitq.records.arithmetic import DEFAULT_OPTIONS, INTEGER_FAST
from dybitq.records.plan import DEFAULT_TARGET

OF_NONE = {"all", "one per core", "by the size of its activations"}
"""What ``--help`` calls a None that the function resolves."""

WITH_DATA = default_sensitivity(True)
BOUNDED = parse_budgets(("sqnr=20dB",))


def default_of(function: Callable[..., Any], name: str) -> Any:
    """Default of a function's parameter."""
    return inspect.signature(function).parameters[name].default


def of_recipe(settings: Settings) -> dict[str, Any]:
    """Defaults of the options that make a recipe."""
    integer_only = recipe_of(None, {"integer_only": "strict"}, settings)
    flavours = {INTEGER_FAST: "fast"}
    return {
        "weights": listed(str(settings.weights).split(",")),
        "activations": listed(str(settings.activations).split(",")),
        "granularity": settings.granularity,
        "scale": settings.scale,
        "rounding": settings.rounding,
        "range": settings.range,
        "reduce_range": settings.reduce_range,
        "first_last": Recipe().first_last,
        "bias_correction": Recipe().bias_correction,
        "flavour": flavours.get(integer_only.arithmetic),
        "rounding_rule": DEFAULT_OPTIONS.rounding,
        "scales": DEFAULT_OPTIONS.scales,
        "residual_bits": DEFAULT_OPTIONS.residual_bits,
        "residual_rounding": DEFAULT_OPTIONS.residual_rounding,
    }


def of_settings(settings: Any, *names: str) -> dict[str, Any]:
    """Defaults of options that are fields of a record by the same name."""
    return {name: getattr(settings, name) for name in names}


REAL: Mapping[str, Mapping[str, Any]] = {
    "allocate": {
        "strategy": default_of(allocate, "strategy"),
        "top_k": StrategySettings().top_k,
        "nodes": StrategySettings().most_nodes,
    },
    "calibrate": {
        name: default_of(calibrate, name)
        for name in ("split", "samples", "batch_size", "threads", "moments", "memory")
    },
    "evaluate": {name: default_of(evaluate, name) for name in ("split", "samples", "batch_size", "threads")},
    "export": {name: default_of(export, name) for name in ("split", "samples")},
    "quantize": {
        **of_recipe(DEFAULTS),
        "target": DEFAULT_TARGET,
        **{name: default_of(quantize, name) for name in ("split", "samples")},
    },
    "search": {
        **of_recipe(SEARCHED),
        **of_settings(Request(), "strategy", "split", "drop_split"),
        "samples": f"{SAMPLES}, or all if fewer",
        "sensitivity": f"{WITH_DATA} with --data, else {default_sensitivity(False)}",
        "minimise": goal_of(BOUNDED, Request(), None, None).minimise,  # needs no prices
    },
    "simulate": {"workers": default_of(sweep, "workers")},
    "verify": {
        name: default_of(verify, name)
        for name in ("split", "samples", "batch_size", "integer_only", "threads")
    },
}
"""For each verb the options whose default ``--help`` states, and their real defaults."""


def stated(verb: str) -> dict[str, str]:
    """Options of a verb whose default ``--help`` states, and the default as it is written."""
    command = group.get_command(click.Context(group), verb)
    assert command is not None
    context = click.Context(command)
    found = {}
    for parameter in command.get_params(context):
        row = parameter.get_help_record(context)
        default = re.search(r"default: ([^;\]]+)", row[1]) if row else None
        if default:
            found[parameter.name or ""] = default[1]
    return found


@pytest.mark.parametrize("verb", group.list_commands(click.Context(group)))
def test_help_states_the_real_defaults(verb):
    """Every default in the help is in the table above, and is what the verb does without the option."""
    shown, real = stated(verb), dict(REAL.get(verb, {}))
    assert shown.keys() == real.keys()
    for name, value in real.items():
        if value is None:
            assert shown[name] in OF_NONE, name
        else:
            assert shown[name] == ("on" if value is True else str(value)), name
