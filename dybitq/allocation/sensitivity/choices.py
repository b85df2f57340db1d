"""The loop over all choices of a network that measured sensitivities share."""

from collections.abc import Callable, Mapping, Sequence

from dybitq.allocation.sensitivity import Subject
from dybitq.records.layers import LayerWork

OfWeight = Callable[[LayerWork, Sequence[str]], Mapping[str, float]]
"""From a layer and its weight settings to a number for each."""
OfTensor = Callable[[str, Sequence[str], LayerWork], Mapping[str, float]]
"""From a coded tensor, its settings and a layer that reads it to a number for each."""

ByLayer = dict[str, Mapping[str, float]]


def judged(subject: Subject, of_weight: OfWeight, of_tensor: OfTensor) -> tuple[ByLayer, ByLayer]:
    """Collect numbers for all weights and all coded tensors.

    A tensor that several layers read is judged once and counts for the first of them.

    Returns:
        By layer and setting those of the weights, and those of the activations.
    """
    space = subject.space
    weights: ByLayer = {}
    activations: ByLayer = {}
    roots: set[str] = set()
    for done, choice in enumerate(space.choices):
        if subject.progress is not None:
            subject.progress("sensitivities", done, len(space.choices))
        layer = space.layers[choice.layer]
        weights[choice.layer] = of_weight(layer, choice.weights)
        activations[choice.layer] = dict.fromkeys(choice.activations, 0.0)
        if choice.root is not None and choice.root not in roots:
            roots.add(choice.root)
            activations[choice.layer] = of_tensor(choice.root, choice.activations, layer)
    return weights, activations
