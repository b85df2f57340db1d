"""Distances between outputs: KL divergence of class scores, relative error of anything else."""

import numpy as np


def kl_divergence(reference: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """KL(softmax(reference) || softmax(changed)) of every sample, in nats.

    Args:
        reference, changed: float ``[samples, classes]``, scores before the softmax.

    Returns:
        float64 ``[samples]``, at least 0.
    """
    log_p, log_q = _log_softmax(reference), _log_softmax(changed)
    return np.maximum((np.exp(log_p) * (log_p - log_q)).sum(axis=-1), 0.0)


def relative_error(reference: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """Energy of the error over energy of the reference, for every sample.

    Args:
        reference, changed: float ``[samples, ...]``.

    Returns:
        float64 ``[samples]``; for a sample without energy, the energy of the error itself.
    """
    axes = tuple(range(1, reference.ndim))
    wide = reference.astype(np.float64)
    energy = (wide**2).sum(axis=axes)
    return np.asarray(((changed - wide) ** 2).sum(axis=axes) / np.where(energy > 0, energy, 1.0))


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores.astype(np.float64) - scores.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
