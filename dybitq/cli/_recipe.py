"""Options that make a recipe, shared by ``quantize`` and ``search``."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from dybitq.cli import options

F = TypeVar("F", bound=Callable[..., Any])


def recipe_options(function: F) -> F:
    """Options that make a recipe; ``recipe`` is a parameter, ``recipe_settings`` the others that were used.

    They are keywords of :func:`dybitq.api.quantize.quantize` and of ``search``.
    """

    @functools.wraps(function)
    def collected(**given: Any) -> Any:
        values = {name: given.pop(name) for name in _NAMES}
        used = {name: value for name, value in values.items() if value is not None}
        return function(recipe_settings=used, **given)

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

_NAMES = (
    "weights", "activations", "granularity", "scale", "rounding", "range", "reduce_range", "first_last",
    "bias_correction", "integer_only", "flavour", "rounding_rule", "scales", "multiplier_bits",
    "residual_bits", "residual_rounding",
)  # fmt: skip
