"""Reaction of the float network's output to one change of a weight or of a tensor, measured on samples."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from dybitq.allocation.sensitivity import Subject
from dybitq.allocation.sensitivity.distances import kl_divergence, relative_error
from dybitq.allocation.sensitivity.noise import LayerNoise
from dybitq.data.source import Batch
from dybitq.errors import DataError
from dybitq.graph.export import with_outputs
from dybitq.graph.flow import output_names
from dybitq.graph.rewrites.probes import probed
from dybitq.runtime.session import Session

_ZERO = np.zeros((), np.float32)

Change = Callable[[np.ndarray], np.ndarray]
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Reaction:
    """Runs of the network with one tensor changed, compared with the unchanged network.

    Args:
        subject: the network and its samples.
        sensitivity: name for messages.
        noise: of the same subject.

    Raises:
        ConfigError: the subject has no data.
        DataError: there are no samples.
    """

    def __init__(self, subject: Subject, sensitivity: str, noise: LayerNoise) -> None:
        space = subject.space
        self._batches: list[Batch] = list(subject.data(sensitivity))
        if not self._batches:
            raise DataError(f"the sensitivity {sensitivity!r} needs samples, but the data have none")
        weighted = [layer for layer in space.layers.values() if layer.weight_count]
        weights = [name for layer in weighted for name in (layer.weight, layer.bias) if name is not None]
        self._disturbed = _readings(subject, noise)
        tensors = {name: nodes for found in self._disturbed.values() for name, nodes in found.items()}
        made = probed(space.network, weights, tensors)
        self._deltas = made.deltas
        self._session = Session(made.model, name=str(space.network.source))
        self._fetching = Session(with_outputs(space.network, list(tensors)), name=str(space.network.source))
        self._known = {info.name for info in self._session.inputs}
        count = len(output_names(space.network))
        self._outputs = [info.name for info in self._session.outputs][:count]
        self._reference = [self._run(batch, {}) for batch in self._batches]
        self._inputs = {info.name for info in self._fetching.inputs}
        self.by_classes = self._are_scores()

    def _are_scores(self) -> bool:
        """Tell if the first output is a row of class scores for every sample."""
        first = self._reference[0][0]
        return first.ndim == 2 and first.shape[1] > 1

    def _run(self, batch: Batch, changes: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        feeds = {name: value for name, value in batch.feeds.items() if name in self._known}
        feeds |= dict.fromkeys(self._deltas.values(), _ZERO)
        outputs = self._session.run({**feeds, **changes}, self._outputs)
        return [outputs[name] for name in self._outputs]

    def values(self, tensor: str) -> list[np.ndarray]:
        """Return the tensor in the float network, batch by batch."""
        batches = []
        for batch in self._batches:
            if tensor in batch.feeds:
                batches.append(np.asarray(batch.feeds[tensor], np.float32))
                continue
            feeds = {name: value for name, value in batch.feeds.items() if name in self._inputs}
            batches.append(self._fetching.run(feeds, [tensor])[tensor])
        return batches

    def of_weight(self, parameters: Mapping[str, np.ndarray], distance: Distance) -> float:
        """Mean distance over the samples with initializers replaced (float32, their own shapes)."""
        return self._mean([parameters] * len(self._batches), distance) if parameters else 0.0

    def of_tensor(self, root: str, change: Change, distance: Distance) -> float:
        """Mean distance with the values of a coded tensor changed, where its layers read them.

        Args:
            root: the tensor.
            change: from the values of one batch to the error that is added to them.
            distance: between outputs.
        """
        changes: list[dict[str, np.ndarray]] = [{} for _ in self._batches]
        for name in self._disturbed[root]:
            for batch, values in enumerate(self.values(name)):
                changes[batch][self._deltas[name]] = change(values).astype(np.float32)
        return self._mean(changes, distance)

    def root_mean_square(self, root: str) -> float:
        """Compute the root mean square of a coded tensor over the samples."""
        return float(np.sqrt(np.mean([np.mean(one.astype(np.float64) ** 2) for one in self.values(root)])))

    def _mean(self, changes: Sequence[Mapping[str, np.ndarray]], distance: Distance) -> float:
        total, samples = 0.0, 0
        for batch, change, reference in zip(self._batches, changes, self._reference):
            outputs = self._run(batch, change)
            for value, wanted in zip(outputs, reference):
                extent = slice(0, batch.count) if value.ndim and len(value) >= batch.count else slice(None)
                total += float(distance(wanted[extent], value[extent]).sum()) / len(outputs)
            samples += batch.count
        return total / max(samples, 1)

    def energy_ratio(self) -> Distance:
        """Error energy over the mean energy of the outputs: adds up to the reciprocal of the SQNR."""
        energies = [
            float(np.mean([(one[i].astype(np.float64) ** 2).sum() / len(one[i]) for one in self._reference]))
            for i in range(len(self._outputs))
        ]
        mean = float(np.mean(energies)) or 1.0

        def distance(reference: np.ndarray, changed: np.ndarray) -> np.ndarray:
            axes = tuple(range(1, reference.ndim))
            return np.asarray(((changed.astype(np.float64) - reference) ** 2).sum(axis=axes) / mean)

        return distance

    def loss(self) -> Distance:
        """KL of class scores; the relative error of anything else."""
        return kl_divergence if self.by_classes else relative_error


def _readings(subject: Subject, noise: LayerNoise) -> dict[str, dict[str, Collection[str]]]:
    """Find the tensors to disturb for each coded one, with the nodes that read them disturbed (none: all).

    A tensor that is written narrow is disturbed for all its readers, one that layers re-code only for those
    layers.
    """
    readings: dict[str, dict[str, Collection[str]]] = {}
    read = {choice.root for choice in subject.space.choices}
    for edge in subject.space.base.edges:
        if edge.tensor not in read or noise.written_narrow(edge.tensor):
            readings[edge.tensor] = {edge.tensor: ()}
    for choice in subject.space.choices:
        if choice.root is not None and choice.root not in readings:
            layers = [c.layer for c in subject.space.choices if c.root == choice.root]
            inputs = dict.fromkeys(subject.space.layers[name].input for name in layers)
            readings[choice.root] = {
                tensor: frozenset(n for n in layers if subject.space.layers[n].input == tensor)
                for tensor in inputs
            }
    return readings
