"""Measured effect of every format of every layer on the output: KL of class scores, or relative error.

One layer (or one coded tensor) at a time is quantized, with its bias corrected, everything else in float.
It takes a pass over the samples for each format of each layer, longer than any other sensitivity. The effect
of a single layer is measured, not modelled; interactions between the errors of layers are still left out.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from dybitq.allocation.sensitivity import SENSITIVITIES, Scores, Subject
from dybitq.allocation.sensitivity.choices import judged
from dybitq.allocation.sensitivity.noise import LayerNoise
from dybitq.allocation.sensitivity.reaction import Reaction
from dybitq.records.layers import LayerWork


@SENSITIVITIES.register("divergence")
def divergence(subject: Subject) -> Scores:
    """Measure the mean divergence of the outputs for every layer and tensor in every format."""
    noise = LayerNoise(subject.space, subject.statistics)
    reaction = Reaction(subject, "divergence", noise)
    distance = reaction.loss()

    def of_weight(layer: LayerWork, names: Sequence[str]) -> Mapping[str, float]:
        return {name: reaction.of_weight(noise.parameters(layer, name), distance) for name in names}

    def of_codes(root: str, names: Sequence[str], layer: LayerWork) -> Mapping[str, float]:
        changes = {name: partial(noise.coding_error, root, name, layer) for name in names}
        return {name: reaction.of_tensor(root, change, distance) for name, change in changes.items()}

    weights, activations = judged(subject, of_weight, of_codes)
    return Scores(weights=weights, activations=activations)
