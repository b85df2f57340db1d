"""Prices and scores as an allocation problem, and its solution as an assignment of formats."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dybitq.allocation.prices import PriceTable
from dybitq.allocation.sensitivity import Scores
from dybitq.allocation.space import LayerChoices, Space
from dybitq.errors import ConfigError
from dybitq.hardware.costs import Array
from dybitq.records.allocation import Budget, Choice, ChoiceGroup, Problem, Tie

ERROR = "error"
_SEPARATOR = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """Objective and limits of a search.

    Attributes:
        minimise: ``error``, or the name of a cost.
        limits: upper limit of the whole network's cost, or ``error``, by name and in its unit.
    """

    minimise: str
    limits: Mapping[str, float]


def formulate(
    space: Space, table: PriceTable, scores: Scores, goal: Goal, allowed: Mapping[str, Array]
) -> Problem:
    """Set up the problem of finding the best assignment by a table of prices.

    Args:
        space: choices of the layers.
        table: prices around some plan, of all costs that the goal names.
        scores: of the choices.
        goal: objective and limits; ``memory`` bounds every ``memory@...`` of the table.
        allowed: by layer bool ``[weights, activations]``.
    """
    columns = {name: index for index, name in enumerate(table.names)}
    fixed = {**table.fixed, ERROR: scores.fixed}
    groups, budgets = [], []
    rows = _bounded(goal, columns)
    for number, choice in enumerate(space.choices):
        # Costs that no layer decides are added to the first one, so that limits are the whole network's.
        besides = {name: max(value, 0.0) * (number == 0) for name, value in fixed.items()}
        costs = table.layers[choice.layer]
        options = []
        for i, weights in enumerate(choice.weights):
            for j, activations in enumerate(choice.activations):
                if not allowed[choice.layer][i, j]:
                    continue
                error = scores.weights[choice.layer][weights] + scores.activations[choice.layer][activations]
                numbers = {ERROR: error + besides[ERROR]}
                numbers |= {name: float(costs[k, i, j]) + besides[name] for name, k in columns.items()}
                options.append(
                    Choice(
                        label=_SEPARATOR.join((weights, activations)),
                        objective=numbers[goal.minimise],
                        costs={name: numbers[name] for name in rows},
                        parts={"weights": weights, "activations": activations},
                    )
                )
        groups.append(ChoiceGroup(name=choice.layer, choices=tuple(options)))
    for name, limit in rows.items():
        room = limit - min(fixed[name], 0.0)
        most = sum(max(c.costs[name] for c in group.choices) for group in groups)
        if name.partition("@")[0] == "memory" and most <= room:
            continue  # can never bind
        budgets.append(Budget(cost=name, maximum=room))
    return Problem(groups=tuple(groups), ties=_ties(space), budgets=tuple(budgets))


def _bounded(goal: Goal, columns: Mapping[str, int]) -> dict[str, float]:
    """Limits by the table's own names."""
    rows: dict[str, float] = {}
    for name, limit in goal.limits.items():
        if name == "memory":
            rows |= {column: limit for column in columns if column.startswith("memory@")}
        else:
            rows[name] = limit
    return rows


def _ties(space: Space) -> tuple[Tie, ...]:
    activations = [Tie(groups=names, part="activations") for names in space.tied_activations]
    return (*activations, *(Tie(groups=names, part="weights") for names in space.tied_weights))


def assignment_of(choices: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Convert the labels of a solution to settings by layer."""
    assignment = {}
    for layer, label in choices.items():
        weights, _, activations = label.partition(_SEPARATOR)
        assignment[layer] = (weights, activations)
    return assignment


def labels_of(assignment: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Convert settings by layer to labels."""
    return {layer: _SEPARATOR.join(pair) for layer, pair in assignment.items()}


def error_of(scores: Scores, assignment: Mapping[str, tuple[str, str]]) -> float:
    """Predict the error of an assignment."""
    total = scores.fixed
    for layer, (weights, activations) in assignment.items():
        total += scores.weights[layer][weights] + scores.activations[layer][activations]
    return total


def check_ties(space: Space, allowed: Mapping[str, Array]) -> None:
    """Refuse a space in which tied layers have no activation setting in common.

    Raises:
        ConfigError: naming the layers.
    """
    by_name = {choice.layer: choice for choice in space.choices}
    for names in space.tied_activations:
        left = [_left(by_name[name], allowed[name]) for name in names]
        if not set.intersection(*left):
            raise ConfigError(
                f"layers {', '.join(map(repr, names))} read the same codes and so need the same activation "
                "format, but the machine runs none that all of them may take; allow them a common one"
            )


def _left(choice: LayerChoices, allowed: Array) -> set[str]:
    return {name for name, any_left in zip(choice.activations, np.any(allowed, axis=0)) if any_left}
