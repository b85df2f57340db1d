"""Trace of a Hessian from forward passes only (spec ``hawq-v3`` section 3.5).

With a divergence L that is 0, and flat, at the float weights, ``v^T H v`` is about
``2 L(W + eps v) / eps^2``; its mean over random signs v is the trace. No labels and no gradients are needed;
for KL of the outputs H is the Gauss-Newton (Fisher) matrix.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from dybitq.patches import from_matrix, to_matrix
from dybitq.search.sensitivity import SENSITIVITIES, Scores, Subject
from dybitq.search.sensitivity.noise import LayerNoise
from dybitq.search.sensitivity.reaction import Distance, Reaction

_SEED = 0


@SENSITIVITIES.register("hutchinson")
def hutchinson(subject: Subject) -> Scores:
    """HAWQ-V3's ``mean trace * |Q(W) - W|^2`` with KL as the loss, and the same for coded inputs."""
    space, rng = subject.space, np.random.default_rng(_SEED)
    noise = LayerNoise(space, subject.statistics)
    reaction = Reaction(subject, "hutchinson", noise)
    loss = reaction.loss()
    weights: dict[str, dict[str, float]] = {}
    activations: dict[str, dict[str, float]] = {}
    probed: set[str] = set()
    for done, choice in enumerate(space.choices):
        if subject.progress is not None:
            subject.progress("sensitivities", done, len(space.choices))
        layer = space.layers[choice.layer]
        weights[choice.layer] = dict.fromkeys(choice.weights, 0.0)
        if layer.weight_count and layer.weight is not None and len(choice.weights) > 1:
            name = layer.weight
            matrix = noise.matrix(layer)
            loss_of = partial(_loss_of_weight, reaction, name, loss)
            trace = mean_trace(loss_of, from_matrix(matrix, layer), rng)
            weights[choice.layer] = {
                setting: perturbation(trace, matrix, to_matrix(noise.parameters(layer, setting)[name], layer))
                for setting in choice.weights
            }
        activations[choice.layer] = dict.fromkeys(choice.activations, 0.0)
        if choice.root is not None and choice.root not in probed and len(choice.activations) > 1:
            probed.add(choice.root)
            curvature = _tensor_curvature(reaction, choice.root, rng)
            activations[choice.layer] = {
                setting: curvature * noise.code_noise(choice.root, setting, layer.input)
                for setting in choice.activations
            }
    return Scores(weights=weights, activations=activations)


def _loss_of_weight(reaction: Reaction, name: str, loss: Distance, weight: np.ndarray) -> float:
    return reaction.of_weight({name: weight}, loss)


def _tensor_curvature(reaction: Reaction, root: str, rng: np.random.Generator, step: float = 0.01) -> float:
    """Trace of the Hessian in the values of a tensor: what errors of variance 1 in all of them would cost."""
    size = step * reaction.root_mean_square(root)
    if size == 0:
        return 0.0
    seed = int(rng.integers(1 << 32))

    def disturbed(values: np.ndarray, side: float) -> np.ndarray:
        signs = np.random.default_rng(seed).integers(0, 2, values.shape, dtype=np.int8) * 2 - 1
        return np.asarray(side * signs)

    sides = [
        reaction.of_tensor(root, partial(disturbed, side=side), reaction.loss()) for side in (size, -size)
    ]
    return 2 * float(np.mean(sides)) / size**2


def mean_trace(
    divergence: Callable[[np.ndarray], float],
    weight: np.ndarray,
    rng: np.random.Generator,
    *,
    probes: int = 4,
    step: float = 0.01,
) -> float:
    """Trace of the Hessian divided by the number of weights.

    Every probe is taken with both signs, which cancels the third derivative.

    Args:
        divergence: from a weight tensor to the mean divergence of the network's outputs.
        weight: float32, where the divergence is 0.
        rng: source of the probes.
        probes: random sign vectors.
        step: ``eps`` as a share of the weights' root mean square.

    Returns:
        At least 0 for a divergence that is; 0 for an all-zero weight.
    """
    size = step * float(np.sqrt(np.mean(weight.astype(np.float64) ** 2)))
    if size == 0:
        return 0.0
    curvatures = []
    for _ in range(probes):
        signs = rng.integers(0, 2, weight.shape, dtype=np.int8) * 2 - 1
        for side in (size, -size):
            moved = (weight + side * signs).astype(weight.dtype)
            curvatures.append(2 * divergence(moved) / size**2)
    return float(np.mean(curvatures)) / weight.size


def perturbation(trace: float, matrix: np.ndarray, rounded: np.ndarray) -> float:
    """HAWQ-V3's sensitivity ``mean trace * |Q(W) - W|^2``; ``trace`` is that of :func:`mean_trace`."""
    return trace * float(((matrix.astype(np.float64) - rounded) ** 2).sum())
