"""Options that make a recipe, shared by ``quantize`` and ``search``."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from dybitq.cli import options
from dybitq.registry import names_in

F = TypeVar("F", bound=Callable[..., Any])

_SETTINGS = ("weights", "activations", "granularity", "scale", "rounding", "range", "reduce_range")
_INTEGER = (
    *("integer_only", "flavour", "rounding_rule", "scales"),
    *("multiplier_bits", "residual_bits", "residual_rounding"),
)
_NAMES = (*_SETTINGS, "first_last", "bias_correction", *_INTEGER)

SECTIONS = {
    "Recipe": ("recipe", *_SETTINGS, "first_last", "bias_correction"),
    "Integer-only": _INTEGER,
}
"""Sections of ``--help`` for the options of a recipe, see :class:`dybitq.cli.options.SectionedCommand`."""


target_option = click.option(
    "--target",
    help=f"Runtime that the file is written for: {', '.join(names_in('dybitq.emit.targets'))}.  "
    "[default: onnxruntime]",
)


def recipe_options(*, weights: str = "int8", activations: str = "auto") -> Callable[[F], F]:
    """Add the options of a recipe; parameter ``recipe``, and ``recipe_settings``: the others that were used.

    They are keywords of :func:`dybitq.api.quantize.quantize` and of ``search``.

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
            values = {name: given.pop(name) for name in _NAMES}
            used = {name: value for name, value in values.items() if value is not None}
            return function(recipe_settings=used, **given)

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
