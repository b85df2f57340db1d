"""Errors of the output, measured where they are large, and by closed forms where they are small.

Weights of a layer, or a coded tensor, in one format, with everything else in float: the error of the
network's output over its energy. Formats are measured from the coarsest on, until one is found whose error is
small enough to be of first order; those of the finer ones follow from it in proportion to the error of the
layer, or of the codes, in closed form. Coarse formats need their own runs because their errors are not in
proportion: a code of 4 bits whose step is as large as the values loses most of them, one of 5 bits few.

Errors of several changes are not added directly. Coarse codes shrink their tensor, since a level is about
the mean of the values rounded to it, so the output loses a share of its energy instead of gaining noise. The
shares that remain multiply, so their logarithms add up. For small errors that is the same as adding errors.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from dybitq.allocation.sensitivity import SENSITIVITIES, Scores, Subject
from dybitq.allocation.sensitivity.choices import judged
from dybitq.allocation.sensitivity.noise import LayerNoise
from dybitq.allocation.sensitivity.reaction import Reaction
from dybitq.records.layers import LayerWork

_FIRST_ORDER = 0.01  # relative error of the output up to which finer formats follow from coarser ones
_MOST_LOST = 0.9  # share of the energy above which a straight line continues the logarithm


@SENSITIVITIES.register("gain")
def gain(subject: Subject) -> Scores:
    """Predict the relative error of the network's output by measured gains."""
    noise = LayerNoise(subject.space, subject.statistics)
    reaction = Reaction(subject, "gain", noise)
    distance = reaction.energy_ratio()

    def of_weight(layer: LayerWork, names: Sequence[str]) -> Mapping[str, float]:
        errors = noise.weight_errors(layer, names, compensated=True)
        return losses(errors, lambda name: reaction.of_weight(noise.parameters(layer, name), distance))

    def of_codes(root: str, names: Sequence[str], layer: LayerWork | None) -> Mapping[str, float]:
        errors = {name: noise.code_noise(root, name, layer) for name in names}

        def measured(name: str) -> float:
            return reaction.of_tensor(root, partial(noise.coding_error, root, name, layer), distance)

        return losses(errors, measured)

    weights, activations = judged(subject, of_weight, of_codes)
    read = {choice.root for choice in subject.space.choices}
    fixed = [
        of_codes(edge.tensor, [edge.format], None)[edge.format]
        for edge in subject.space.base.edges
        if edge.tensor not in read and edge.tensor in subject.statistics.tensors
    ]
    return Scores(weights=weights, activations=activations, fixed=sum(fixed), relative_error=True)


def losses(errors: Mapping[str, float], measured: Callable[[str], float]) -> dict[str, float]:
    """Compute the loss of every setting from its closed-form error and a function that measures one."""
    losses_of: dict[str, float] = {}
    error, factor = math.inf, 0.0
    for name in sorted(errors, key=lambda name: -errors[name]):
        if errors[name] > 0 and error > _FIRST_ORDER:
            factor = measured(name) / errors[name]
        error = factor * errors[name]
        losses_of[name] = loss(error)
    return {name: losses_of[name] for name in errors}


def loss(error: float) -> float:
    """Return ``-log(1 - error)`` of a relative error, which adds up where remaining shares multiply."""
    kept = min(error, _MOST_LOST)
    return float(-np.log1p(-kept) + (error - kept) / (1 - _MOST_LOST))
