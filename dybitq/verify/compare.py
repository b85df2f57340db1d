"""onnxruntime against the integer reference, tensor by tensor.

Both run the stored model with functions inlined, so that what happens inside them is seen as well. The
session has every integer tensor among its outputs; they are fetched in portions, so that memory stays
bounded whatever the network.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from dybitq.errors import ModelError
from dybitq.graph.plain import PlainNode, StoredModel
from dybitq.runtime.session import Session
from dybitq.verify.interpreter import Computed, interpret

Progress = Callable[[str, int, int], None]

_PORTION_BYTES = 192 << 20  # of fetched tensors held at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A tensor in which the runtime and the reference differ.

    Attributes:
        tensor, operator: names.
        op_type: of the operator.
        count: values that differ.
        total: values compared.
        index: first of them, within its batch.
        expected, found: there, by the reference and by the runtime.
    """

    tensor: str
    operator: str
    op_type: str
    count: int
    total: int
    index: tuple[int, ...]
    expected: float
    found: float


@dataclass(slots=True, kw_only=True)
class Comparison:
    """What a comparison has found so far.

    Attributes:
        samples: compared.
        tensors: integer tensors compared for each sample.
        values: integer values compared in all.
        mismatches: by tensor.
        output_differences: values of the float outputs that differ.
    """

    samples: int = 0
    tensors: int = 0
    values: int = 0
    mismatches: dict[str, Mismatch] = field(default_factory=dict)
    output_differences: int = 0

    @property
    def clean(self) -> bool:
        """Whether everything was equal."""
        return not self.mismatches and not self.output_differences


def compare(
    stored: StoredModel,
    batches: Iterable[tuple[Mapping[str, np.ndarray], int]],
    *,
    exact: bool = True,
    threads: int | None = None,
    total: int | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare every integer tensor, and the outputs, on real inputs.

    Args:
        stored: the model.
        batches: inputs by name, and how many of the batch are samples.
        exact: compare the outputs of the file as it is as well; without it, where float operators
            remain, whose results depend on how the runtime arranges the graph, those of the same run.
        threads: of onnxruntime.
        total: samples to come, for ``progress``.
        progress: called with stage, done, total.

    Raises:
        ModelError: onnxruntime cannot run the model.
    """
    names = [name for node in stored.inner.nodes for name in node.outputs if name]
    watched = Session(stored.observed(names), threads, name=f"{stored.path} with all its tensors")
    plain = Session(stored.path, threads) if exact else watched
    result = Comparison()
    for feeds, samples in batches:
        _compare_batch(stored, watched, plain, feeds, result)
        result.samples += samples
        if progress is not None:
            progress("comparing", result.samples, max(result.samples, total or 0))
    return result


def _compare_batch(
    stored: StoredModel,
    watched: Session,
    plain: Session,
    feeds: Mapping[str, np.ndarray],
    result: Comparison,
) -> None:
    def floats(node: PlainNode) -> Mapping[str, np.ndarray]:
        return watched.run(feeds, [name for name in node.outputs if name])

    portion: list[Computed] = []
    size, compared = 0, 0
    outputs: dict[str, np.ndarray] = {}
    for computed in interpret(stored.inner, feeds, floats):
        outputs.update((n, a) for n, a in computed.outputs.items() if n in stored.inner.outputs)
        portion.append(computed)
        size += sum(array.nbytes for array in computed.outputs.values())
        if size > _PORTION_BYTES:
            compared += _compare_portion(watched, feeds, portion, result)
            portion, size = [], 0
    compared += _compare_portion(watched, feeds, portion, result)
    result.tensors = max(result.tensors, compared)
    for name, found in plain.run(feeds, stored.inner.outputs).items():
        result.output_differences += int(np.count_nonzero(~_same(outputs[name], found)))


def _compare_portion(
    watched: Session, feeds: Mapping[str, np.ndarray], portion: list[Computed], result: Comparison
) -> int:
    """Compare the integer tensors of some nodes; returns how many there were."""
    expected = {
        name: (computed.node, array)
        for computed in portion
        for name, array in computed.outputs.items()
        if name and array.dtype.kind in "iu"
    }
    if not expected:
        return 0
    for name, found in watched.run(feeds, list(expected)).items():
        node, array = expected[name]
        if array.dtype != found.dtype or array.shape != found.shape:
            raise ModelError(
                f"tensor {name}: the reference has {array.dtype}{list(array.shape)}, onnxruntime "
                f"{found.dtype}{list(found.shape)}"
            )
        result.values += array.size
        if not np.array_equal(array, found):
            _note(result, name, node, array, found)
    return len(expected)


def _note(result: Comparison, name: str, node: PlainNode, expected: np.ndarray, found: np.ndarray) -> None:
    different = expected != found
    first = tuple(int(i) for i in np.argwhere(different)[0])
    before = result.mismatches.get(name)
    result.mismatches[name] = Mismatch(
        tensor=name,
        operator=node.name,
        op_type=node.op_type,
        count=int(np.count_nonzero(different)) + (before.count if before else 0),
        total=expected.size + (before.total if before else 0),
        index=before.index if before else first,
        expected=before.expected if before else float(expected[first]),
        found=before.found if before else float(found[first]),
    )


def _same(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    return (expected == found) | (np.isnan(expected) & np.isnan(found))
