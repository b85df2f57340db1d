"""Trace of a Hessian (the sensitivity of HAWQ-V3, Yao et al., arXiv:2011.10680) from forward passes only.

With a divergence L that is 0, and flat, at the float weights, ``v^T H v`` is about
``2 L(W + eps v) / eps^2``; its mean over random signs v is the trace. No labels and no gradients are needed;
for KL of the outputs H is the Gauss-Newton (Fisher) matrix.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from dybitq.allocation.sensitivity import SENSITIVITIES, Scores, Subject
from dybitq.allocation.sensitivity.choices import judged
from dybitq.allocation.sensitivity.noise import LayerNoise
from dybitq.allocation.sensitivity.reaction import Distance, Reaction
from dybitq.records.layers import LayerWork

_SEED = 0


@SENSITIVITIES.register("hutchinson")
def hutchinson(subject: Subject) -> Scores:
    """Compute ``mean trace * |Q(W) - W|^2`` with KL as the loss, and the same for coded inputs."""
    rng = np.random.default_rng(_SEED)
    noise = LayerNoise(subject.space, subject.statistics)
    reaction = Reaction(subject, "hutchinson", noise)
    loss = reaction.loss()

    def of_weight(layer: LayerWork, names: Sequence[str]) -> Mapping[str, float]:
        if not layer.weight_count or len(names) < 2:
            return dict.fromkeys(names, 0.0)
        weight, matrix = layer.weight, noise.matrix(layer)
        start = layer.geometry.from_matrix(matrix)
        trace = mean_trace(partial(_loss_of_weight, reaction, weight, loss), start, rng)
        rounded = {name: layer.geometry.to_matrix(noise.parameters(layer, name)[weight]) for name in names}
        return {name: perturbation(trace, matrix, rounded[name]) for name in names}

    def of_codes(root: str, names: Sequence[str], layer: LayerWork) -> Mapping[str, float]:
        if len(names) < 2:
            return dict.fromkeys(names, 0.0)
        curvature = _tensor_curvature(reaction, root, rng)
        return {name: curvature * noise.code_noise(root, name, layer) for name in names}

    weights, activations = judged(subject, of_weight, of_codes)
    return Scores(weights=weights, activations=activations)


def _loss_of_weight(reaction: Reaction, name: str, loss: Distance, weight: np.ndarray) -> float:
    return reaction.of_weight({name: weight}, loss)


def _tensor_curvature(reaction: Reaction, root: str, rng: np.random.Generator, step: float = 0.01) -> float:
    """Estimate the Hessian's trace in the values of a tensor: the loss by errors of variance 1 in each."""
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
    """Estimate the trace of the Hessian divided by the number of weights.

    Every probe is taken with both signs, which cancels the third derivative.

    Args:
        divergence: from a weight tensor to the mean divergence of the network's outputs.
        weight: float32, where the divergence is 0.
        rng: source of the probes.
        probes: random sign vectors.
        step: ``eps`` as a share of the weights' root mean square.

    Returns:
        At least 0 if the divergence is; 0 for an all-zero weight.
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
    """Return the sensitivity ``mean trace * |Q(W) - W|^2``; ``trace`` is that of :func:`mean_trace`."""
    return trace * float(((matrix.astype(np.float64) - rounded) ** 2).sum())
