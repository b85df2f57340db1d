"""Choices that a machine runs at their own widths; the others cost accuracy and save nothing but memory."""

import numpy as np

from dybitq.allocation.prices import Prices
from dybitq.allocation.space import LayerChoices, Space
from dybitq.errors import ConfigError
from dybitq.hardware.costs import Array


def reduced_to_modes(prices: Prices) -> Space:
    """Remove settings that the machine runs as wider ones.

    A layer's widest settings stay in any case, and so do all settings of layers that are no products on the
    machine.

    Raises:
        ConfigError: the recipe itself names a format that the machine runs as a wider one.
    """
    kept: dict[str, tuple[list[str], list[str]]] = {}
    runs = prices.runs_as_is()
    for choice in prices.space.choices:
        as_is = runs[choice.layer]
        weights = [name for name, any_pair in zip(choice.weights, np.any(as_is, axis=1).tolist()) if any_pair]
        activations = [
            name for name, any_pair in zip(choice.activations, np.any(as_is, axis=0).tolist()) if any_pair
        ]
        refused = (set(choice.weights) | set(choice.activations)) - set(weights) - set(activations)
        if refused & choice.asked:
            raise ConfigError(_refusal(prices, choice, sorted(refused & choice.asked), weights, activations))
        kept[choice.layer] = (weights, activations)
    return prices.space.reduced(kept)


def allowed_pairs(prices: Prices, *, stored: bool) -> dict[str, Array]:
    """Mark allowed pairs, by layer bool ``[weights, activations]``; all pairs with ``stored`` widths."""
    if not stored:
        return prices.runs_as_is()
    return {c.layer: np.ones((len(c.weights), len(c.activations)), dtype=bool) for c in prices.space.choices}


def _refusal(
    prices: Prices, choice: LayerChoices, refused: list[str], weights: list[str], activations: list[str]
) -> str:
    runs = f"weights {', '.join(weights)}; activations {', '.join(activations)}"
    return (
        f"machine {prices.machine.name!r} has no mode for {', '.join(refused)}: layer {choice.layer!r} would "
        f"run at a wider one (of what may be chosen it runs {runs}). Leave the format out, or take --stored "
        "to use widths that only save memory"
    )
