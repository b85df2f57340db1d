"""Error of the output from second moments, in closed form: ``tr(dW H dW^T)``, from the statistics alone.

``H`` is the covariance of a layer's inputs (see ``fit/weights/moments.py``), ``dW`` the error of rounding to
the nearest level. Rounding errors of single weights are taken as independent, so the diagonal of H
suffices, and of large layers some rows are enough. The share that compensated rounding leaves of it is one
factor for each layer, from the Cholesky factor of H. The same for coded inputs: ``noise * |W|^2``.
"""

from collections.abc import Mapping

from dybitq.allocation.sensitivity import SENSITIVITIES, Scores, Subject
from dybitq.allocation.sensitivity.gains import gains, layer_gains
from dybitq.allocation.sensitivity.noise import LayerNoise, energy_of


@SENSITIVITIES.register("output-error")
def output_error(subject: Subject) -> Scores:
    """Predict the relative error of the network's output, first order."""
    return relative_errors(subject, layer_gains(subject.space, subject.statistics), compensated=False)


def relative_errors(subject: Subject, by_layer: Mapping[str, float], *, compensated: bool) -> Scores:
    """Compute the errors of all layers, each times its gain.

    Args:
        subject: the network, formats and statistics.
        by_layer: gain of every layer's relative output error.
        compensated: really round by the plan's method, instead of the closed form.
    """
    space = subject.space
    noise = LayerNoise(space, subject.statistics)
    weights: dict[str, dict[str, float]] = {}
    for done, choice in enumerate(space.choices):
        if subject.progress is not None:
            subject.progress("sensitivities", done, len(space.choices))
        layer, gain = space.layers[choice.layer], by_layer[choice.layer]
        errors = noise.weight_errors(layer, choice.weights, compensated=compensated)
        left = 1.0 if compensated or len(choice.weights) == 1 else noise.compensation(layer)
        weights[choice.layer] = {name: gain * left * error for name, error in errors.items()}
    return Scores(
        weights=weights,
        activations=input_errors(subject, noise, by_layer),
        fixed=fixed_errors(subject, noise),
        relative_error=True,
    )


def input_errors(
    subject: Subject, noise: LayerNoise, by_layer: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Compute the errors of the layers' coded inputs, each times the layer's gain."""
    errors: dict[str, dict[str, float]] = {}
    for choice in subject.space.choices:
        layer, gain = subject.space.layers[choice.layer], by_layer[choice.layer]
        root = choice.root
        errors[choice.layer] = {
            name: 0.0 if root is None else gain * noise.input_error(layer, root, name)
            for name in choice.activations
        }
    return errors


def fixed_errors(subject: Subject, noise: LayerNoise) -> float:
    """Sum the errors of coded tensors that no layer reads: operands of additions and the like."""
    read = {choice.root for choice in subject.space.choices}
    gain_of = gains(subject.space, subject.statistics)
    total = 0.0
    for edge in subject.space.base.edges:
        energy = energy_of(subject.statistics, edge.tensor)
        if edge.tensor not in read and energy:
            total += gain_of.get(edge.tensor, 0.0) * noise.code_noise(edge.tensor, edge.format) / energy
    return total
