"""Trace of a Hessian from forward passes only (spec ``hawq-v3`` section 3.5).

With a divergence L that is 0, and flat, at the float weights, ``v^T H v`` is about
``2 L(W + eps v) / eps^2``; its mean over random signs v is the trace. No labels and no gradients are needed;
for KL of the outputs H is the Gauss-Newton (Fisher) matrix.
"""

from collections.abc import Callable

import numpy as np


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
