"""EBS as a search on sensitivities: softmax over strengths, expected cost as a penalty.

After "Efficient Bitwidth Search" (EBS, Li et al.), where strengths are trained with the network by its task
loss; here the loss of a choice is its objective, so gradients are exact and no training framework is needed.
Each part of a choice has strengths of its own (one vector for weights, one for activations), whose product of
softmaxes is the share of the choice; parts that are tied share one vector. The weight of the penalty grows by
the method of multipliers until the expected cost fits.
"""

from dataclasses import dataclass

import numpy as np

from dybitq.allocation.program import IntegerProgram
from dybitq.allocation.relaxation import Root
from dybitq.allocation.rounding import round_shares
from dybitq.allocation.strategies import STRATEGIES, Selection, StrategySettings

_ROUNDS = 20
_STEPS = 100
_RATE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mixture:
    """The mixture's loss, scaled so that objective and rows span at most 1 per unit.

    Attributes:
        unit_of: int64 ``[variables]``.
        strengths_of: int64 ``[variables, parts]``, the strengths whose sum is a variable's logit; padded
            with the last one, which stays 0.
        count: number of strengths, the padding included.
        objective: float64 ``[variables]``.
        rows: float64 ``[rows, variables]``.
        limits: float64 ``[rows]``.
        forbidden: bool ``[variables]``, values that a link does not have in common.
    """

    unit_of: np.ndarray
    strengths_of: np.ndarray
    count: int
    objective: np.ndarray
    rows: np.ndarray
    limits: np.ndarray
    forbidden: np.ndarray


@STRATEGIES.register("ebs")
def ebs(program: IntegerProgram, root: Root, settings: StrategySettings) -> Selection | None:
    """Descend on the strengths, take the largest share of every unit, and repair and improve greedily."""
    problem = relaxed_problem(program)
    selection = round_shares(program, shares(problem, descend(problem)))
    return None if selection is None else Selection(selection=selection)


def relaxed_problem(program: IntegerProgram) -> Mixture:
    """Scale a program and number its strengths."""
    objective, _ = _scaled(program.objective, program)
    rows = [_scaled(row, program) for row in program.rows]
    limits = [float(int(limit) - base) * factor for limit, (_, (base, factor)) in zip(program.limits, rows)]
    strengths_of, count = _strengths(program)
    return Mixture(
        unit_of=program.unit_of,
        strengths_of=strengths_of,
        count=count,
        objective=objective,
        rows=np.array([row for row, _ in rows]).reshape(len(rows), len(program.labels)),
        limits=np.array(limits),
        forbidden=~program.open_to_links(),
    )


def shares(problem: Mixture, strengths: np.ndarray) -> np.ndarray:
    """Compute the share of every variable, float64 ``[variables]``: softmax over each unit."""
    logits = strengths[problem.strengths_of].sum(axis=1)
    logits = np.where(problem.forbidden, -np.inf, logits)
    peak = np.full(int(problem.unit_of.max()) + 1, -np.inf)
    np.maximum.at(peak, problem.unit_of, logits)
    weight = np.exp(logits - peak[problem.unit_of])
    return np.asarray(weight / np.bincount(problem.unit_of, weight)[problem.unit_of])


def loss(
    problem: Mixture, strengths: np.ndarray, multipliers: np.ndarray, weight: float
) -> tuple[float, np.ndarray]:
    """Compute the expected objective plus a penalty on the expected rows, and its gradient.

    The penalty is ``weight / 2 * max(0, E[row] - limit + multiplier / weight)**2``.

    Args:
        multipliers: float64 ``[rows]``.

    Returns:
        The loss, and float64 ``[strengths]``.
    """
    share = shares(problem, strengths)
    over = np.maximum(problem.rows @ share - problem.limits + multipliers / weight, 0.0)
    value = float(problem.objective @ share + weight / 2 * (over**2).sum())
    slope = problem.objective + weight * over @ problem.rows
    mean = np.bincount(problem.unit_of, slope * share)[problem.unit_of]
    per_variable = share * (slope - mean)
    gradient = np.zeros(problem.count)
    np.add.at(gradient, problem.strengths_of, per_variable[:, None])
    gradient[-1] = 0.0
    return value, gradient


def descend(problem: Mixture) -> np.ndarray:
    """Run a fixed number of Adam steps from equal shares; repeatable to the bit."""
    strengths = np.zeros(problem.count)
    first, second = np.zeros(problem.count), np.zeros(problem.count)
    multipliers = np.zeros(len(problem.limits))
    weight, time = 1.0, 0
    for _ in range(_ROUNDS):
        for _ in range(_STEPS):
            time += 1
            gradient = loss(problem, strengths, multipliers, weight)[1]
            first = 0.9 * first + 0.1 * gradient
            second = 0.99 * second + 0.01 * gradient**2
            scale = np.sqrt(second / (1 - 0.99**time)) + 1e-12
            strengths = strengths - _RATE * first / (1 - 0.9**time) / scale
        over = problem.rows @ shares(problem, strengths) - problem.limits
        multipliers = np.maximum(multipliers + weight * over, 0.0)
        weight *= 1.5
    return strengths


def _scaled(values: np.ndarray, program: IntegerProgram) -> tuple[np.ndarray, tuple[int, float]]:
    """Values less the least of their unit, over the largest; with the sum of the least and the factor."""
    least = np.minimum.reduceat(values, program.start[:-1])
    shifted = values - least[program.unit_of]
    largest = float(shifted.max())
    factor = 1.0 / largest if largest > 0 else 0.0  # a part that is equal for all choices has no gradient
    return shifted * factor, (int(least.sum()), factor)


def _strengths(program: IntegerProgram) -> tuple[np.ndarray, int]:
    """Numbers of the strengths of every variable, ``[variables, parts]``, and how many there are."""
    number: dict[tuple[object, ...], int] = {}
    table: list[list[int]] = []
    owner: dict[tuple[int, str], object] = {}
    for index, link in enumerate(program.links):
        for unit in link.units:
            owner[unit, link.part] = ("link", index)
    for variable, unit in enumerate(program.unit_of.tolist()):
        parts = program.parts[variable] or (("", program.labels[variable]),)
        keys = [(owner.get((unit, part), unit), part, value) for part, value in parts]
        table.append([number.setdefault(key, len(number)) for key in keys])
    width = max(map(len, table))
    padded = [row + [len(number)] * (width - len(row)) for row in table]
    return np.array(padded, dtype=np.int64), len(number) + 1
