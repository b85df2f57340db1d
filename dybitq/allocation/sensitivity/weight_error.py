"""Errors of one weight matrix: DyBit's nRMSE of the weights, and the closed-form error of the output.

The first is that of DyBit (Zhou et al., arXiv:2302.12510), the second the trace of ``dW H dW^T``
(``fit/weights/moments.py``).
"""

import numpy as np

from dybitq.allocation.sensitivity import SENSITIVITIES, Scores, Subject
from dybitq.allocation.sensitivity.noise import LayerNoise, energy_of
from dybitq.fit.weights.moments import Hessian
from dybitq.records.plan import is_coded


@SENSITIVITIES.register("weight-nrmse")
def weight_nrmse(subject: Subject) -> Scores:
    """Compute the error of a layer: nRMSE of its weights plus nRMSE of its coded input."""
    space, statistics = subject.space, subject.statistics
    noise = LayerNoise(space, statistics)
    weights: dict[str, dict[str, float]] = {}
    activations: dict[str, dict[str, float]] = {}
    for choice in space.choices:
        layer = space.layers[choice.layer]
        weights[choice.layer] = dict.fromkeys(choice.weights, 0.0)
        if is_coded(choice.weights[0]):
            matrix = noise.matrix(layer)
            weights[choice.layer] = {
                name: normalised_rmse(matrix, noise.nearest(layer, name)) for name in choice.weights
            }
        sigma = energy_of(statistics, choice.root) if choice.root is not None else None
        activations[choice.layer] = {
            name: (noise.code_noise(choice.root, name, layer) / sigma) ** 0.5
            if sigma and choice.root is not None
            else 0.0
            for name in choice.activations
        }
    return Scores(weights=weights, activations=activations)


def normalised_rmse(matrix: np.ndarray, rounded: np.ndarray) -> float:
    """Compute the root mean square of the rounding error in units of the weights' standard deviation.

    Args:
        matrix, rounded: float, any equal shape.

    Returns:
        0 for a constant matrix that is kept, infinity for one that is not.
    """
    error = float(np.sqrt(np.mean((matrix.astype(np.float64) - rounded) ** 2)))
    sigma = float(np.std(matrix.astype(np.float64)))
    if sigma > 0:
        return error / sigma
    return 0.0 if error == 0 else float("inf")


def output_error(matrix: np.ndarray, rounded: np.ndarray, hessian: Hessian) -> float:
    """Return ``tr(dW H dW^T) / tr(W H W^T)``: energy of the output's error over that of the output.

    Args:
        matrix, rounded: float32 ``[groups, rows, K]``.
        hessian: H of the layer's input.

    Returns:
        At least 0; 0 for a layer whose output carries no energy.
    """
    signal = float(hessian.energy(matrix).sum())
    noise = float(hessian.energy(matrix.astype(np.float64) - rounded).sum())
    return noise / signal if signal > 0 else 0.0
