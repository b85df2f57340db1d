"""The network's own reaction to every layer in every format: KL of class scores, or relative error.

One layer (or one coded tensor) at a time is quantized, with its bias corrected, everything else in float.
It takes a pass over the samples for each format of each layer, which is the longest of all, and leaves
nothing of a single layer to a model; what layers do to each other's errors is still left out.
"""

from functools import partial

import numpy as np

from dybitq.records import LayerWork
from dybitq.search.sensitivity import SENSITIVITIES, Scores, Subject
from dybitq.search.sensitivity.noise import LayerNoise
from dybitq.search.sensitivity.reaction import Reaction


@SENSITIVITIES.register("divergence")
def divergence(subject: Subject) -> Scores:
    """Mean divergence of the outputs for every layer and tensor in every format."""
    space = subject.space
    noise = LayerNoise(space, subject.statistics)
    reaction = Reaction(subject, "divergence", noise)
    distance = reaction.loss()
    weights: dict[str, dict[str, float]] = {}
    activations: dict[str, dict[str, float]] = {}
    measured: set[str] = set()
    for done, choice in enumerate(space.choices):
        if subject.progress is not None:
            subject.progress("sensitivities", done, len(space.choices))
        layer = space.layers[choice.layer]
        weights[choice.layer] = {
            name: reaction.of_weight(noise.parameters(layer, name), distance) for name in choice.weights
        }
        activations[choice.layer] = dict.fromkeys(choice.activations, 0.0)
        if choice.root is not None and choice.root not in measured:
            measured.add(choice.root)
            activations[choice.layer] = {
                name: reaction.of_tensor(
                    choice.root, partial(_coding_error, noise, choice.root, name, layer), distance
                )
                for name in choice.activations
            }
    return Scores(weights=weights, activations=activations)


def _coding_error(
    noise: LayerNoise, root: str, setting: str, layer: LayerWork, values: np.ndarray
) -> np.ndarray:
    return np.asarray(noise.coded(root, setting, values, layer) - values)
