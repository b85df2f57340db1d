"""Closed-form errors times gains that are measured: how much of a layer's error the network lets through.

Each layer is rounded once, with everything else in float, and each coded tensor coded once; the error of the
network's output over the error of the layer in closed form is the layer's gain. One run for each layer
and tensor instead of one for each format; all other formats follow from the closed form.
"""

import numpy as np

from dybitq.records import LayerWork
from dybitq.search.sensitivity import SENSITIVITIES, Scores, Subject
from dybitq.search.sensitivity.noise import LayerNoise
from dybitq.search.sensitivity.reaction import Reaction
from dybitq.search.space import bits_of

_PROBE_BITS = 4  # coarse enough to stand out, fine enough to stay in first order


@SENSITIVITIES.register("gain")
def gain(subject: Subject) -> Scores:
    """Relative error of the network's output, errors of layers weighted with measured gains."""
    space = subject.space
    noise = LayerNoise(space, subject.statistics)
    reaction = Reaction(subject, "gain", noise)
    distance = reaction.energy_ratio()
    weights: dict[str, dict[str, float]] = {}
    activations: dict[str, dict[str, float]] = {}
    probed: set[str] = set()
    for done, choice in enumerate(space.choices):
        if subject.progress is not None:
            subject.progress("sensitivities", done, len(space.choices))
        layer = space.layers[choice.layer]
        errors = noise.weight_errors(layer, choice.weights, compensated=True)
        name = _probe(choice.weights)
        factor = 0.0
        if errors[name] > 0 and layer.weight is not None:
            factor = reaction.of_weight(noise.parameters(layer, name), distance) / errors[name]
        weights[choice.layer] = {name: factor * error for name, error in errors.items()}
        activations[choice.layer] = dict.fromkeys(choice.activations, 0.0)
        if choice.root is not None and choice.root not in probed:
            probed.add(choice.root)
            factor = _tensor_gain(noise, reaction, choice.root, layer)
            activations[choice.layer] = {
                name: factor * noise.code_noise(choice.root, name, layer.input) for name in choice.activations
            }
    return Scores(
        weights=weights, activations=activations, fixed=_fixed(subject, noise, reaction), relative_error=True
    )


def _probe(names: tuple[str, ...]) -> str:
    return min(names, key=lambda name: abs(bits_of(name) - _PROBE_BITS))


def _tensor_gain(noise: LayerNoise, reaction: Reaction, root: str, layer: LayerWork | None) -> float:
    """Error of the output for one unit of squared error in every value of the tensor."""
    name = f"int{_PROBE_BITS}" if layer is not None else "int8"
    error = noise.code_noise(root, name)
    if error <= 0:
        return 0.0

    def change(values: np.ndarray) -> np.ndarray:
        return noise.coded(root, name, values, layer) - values

    return reaction.of_tensor(root, change, reaction.energy_ratio()) / error


def _fixed(subject: Subject, noise: LayerNoise, reaction: Reaction) -> float:
    """Errors of the coded tensors that no layer reads."""
    read = {choice.root for choice in subject.space.choices}
    return sum(
        _tensor_gain(noise, reaction, edge.tensor, None) * noise.code_noise(edge.tensor, edge.format)
        for edge in subject.space.base.edges
        if edge.tensor not in read and edge.tensor in subject.statistics.tensors
    )
