"""OMPQ: layers whose features no other layer repeats deserve more bits (Ma et al., "OMPQ").

Features of one batch are compared by linear CKA; a layer that resembles few others weighs more. The weights
do not depend on the width, so here they multiply an error; OMPQ itself multiplies the bits.
"""

from collections.abc import Sequence

import numpy as np

from dybitq.allocation.sensitivity import SENSITIVITIES, Scores, Subject
from dybitq.allocation.sensitivity.output_error import relative_errors
from dybitq.graph.export import with_outputs
from dybitq.runtime.session import Session

_MOST_FEATURES = 4096  # values of a sample that are used, evenly spread


@SENSITIVITIES.register("orthogonality")
def orthogonality(subject: Subject) -> Scores:
    """Compute closed-form errors of the layers, each times a weight: large where no features resemble it."""
    space = subject.space
    names = [choice.layer for choice in space.choices]
    features = _features(subject, [space.layers[name].output for name in names])
    weight = dict(zip(names, importance(similarity(features)).tolist()))
    scores = relative_errors(subject, weight, compensated=False)
    return Scores(weights=scores.weights, activations=scores.activations)


def _features(subject: Subject, tensors: Sequence[str]) -> list[np.ndarray]:
    """Collect some values of every tensor, ``[samples, values]`` each."""
    network = subject.space.network
    session = Session(with_outputs(network, tensors), name=str(network.source))
    known = {info.name for info in session.inputs}
    values: dict[str, list[np.ndarray]] = {name: [] for name in tensors}
    for batch in subject.data("orthogonality"):
        feeds = {name: value for name, value in batch.feeds.items() if name in known}
        for name, value in session.run(feeds, list(values)).items():
            flat = value[: batch.count].reshape(batch.count, -1)
            stride = max(1, flat.shape[1] // _MOST_FEATURES) | 1  # odd, so that no column of an image is all
            values[name].append(flat[:, ::stride].astype(np.float64))
    return [np.concatenate(values[name]) for name in tensors]


def similarity(features: Sequence[np.ndarray]) -> np.ndarray:
    """Compute linear CKA between all pairs: ``<Gi, Gj> / (|Gi| |Gj|)`` of the centred Gram matrices.

    Args:
        features: of every layer ``[samples, ...]``, the same samples.

    Returns:
        float64 ``[layers, layers]``, symmetric, from 0 to 1, 1 on the diagonal; a layer whose features do
        not depend on the sample resembles nothing else.
    """
    grams = np.stack([_centred_gram(feature) for feature in features])
    norms = np.sqrt((grams**2).sum(axis=(1, 2)))
    inner = np.einsum("inm,jnm->ij", grams, grams)
    scale = np.outer(norms, norms)
    result = np.where(scale > 0, inner / np.where(scale > 0, scale, 1.0), 0.0)
    np.fill_diagonal(result, 1.0)
    return np.clip(result, 0.0, 1.0)


def importance(alike: np.ndarray, beta: float = 1.0) -> np.ndarray:
    """Weigh layers by ``theta_i = exp(-beta * sum over j != i of similarity_ij)``, float64 ``[layers]``.

    After that, as in the published code, every layer takes the mean over itself and all later layers.
    """
    gamma = alike.sum(axis=1) - 1.0
    theta = np.exp(-beta * gamma)
    later = np.cumsum(theta[::-1])[::-1]
    return np.asarray(later / np.arange(len(theta), 0, -1))


def _centred_gram(feature: np.ndarray) -> np.ndarray:
    flat = feature.reshape(len(feature), -1).astype(np.float64)
    flat = flat - flat.mean(axis=0)
    return np.asarray(flat @ flat.T)
