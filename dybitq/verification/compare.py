"""onnxruntime against the integer reference, tensor by tensor.

Both run the stored model with functions inlined, so that what happens inside them is seen as well. The graph
is cut into portions, so that memory stays bounded whatever the network; each is a session whose outputs are
all its tensors, and starts from what the reference has computed so far, so that an error is found where it is
made. The outputs of the file as it is are compared as well.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from dybitq.errors import ModelError
from dybitq.graph.stored.plain import PlainNode, StoredModel
from dybitq.records.progress import Progress
from dybitq.runtime.session import Session
from dybitq.verification.interpreter import Computed, interpret

_PORTION_BYTES = 192 << 20  # of results held at once


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
    """Findings of a comparison so far.

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
        """True if everything was equal."""
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
        exact: compare the outputs of the file as it is as well; left out where float operators remain, whose
            results depend on how the runtime arranges the graph.
        threads: of onnxruntime.
        total: samples to come, for ``progress``.
        progress: called with stage, done, total.

    Raises:
        ModelError: onnxruntime cannot run the model.
    """
    result = Comparison()
    plain = Session(stored.source, threads) if exact else None
    portions: tuple[_Portion, ...] = ()
    for feeds, samples in batches:
        portions = portions or _portions(stored, feeds, threads)
        outputs = _compare_batch(stored, portions, feeds, result)
        found = {} if plain is None else plain.run(feeds, stored.inner.outputs)
        for name, array in found.items():
            result.output_differences += int(np.count_nonzero(~_same(outputs[name], array)))
        result.samples += samples
        if progress is not None:
            progress("comparing", result.samples, max(result.samples, total or 0))
    return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Portion:
    """A run of nodes that is computed at once: what goes in, and a session of just these nodes."""

    nodes: tuple[PlainNode, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    session: Session


def _portions(
    stored: StoredModel, feeds: Mapping[str, np.ndarray], threads: int | None
) -> tuple[_Portion, ...]:
    """Cut the graph where the results of a batch would take too much memory."""
    names = [name for node in stored.inner.nodes for name in node.outputs if name]
    watched: list[Session] = []

    def floats(node: PlainNode) -> Mapping[str, np.ndarray]:
        if not watched:
            watched.append(Session(stored.observed(names), threads, name=str(stored.source)))
        return watched[0].run(feeds, [name for name in node.outputs if name])

    types = {name: str(array.dtype) for name, array in feeds.items()}
    groups: list[list[PlainNode]] = [[]]
    size = 0
    for computed in interpret(stored.inner, feeds, floats):
        if size > _PORTION_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(computed.node)
        size += sum(array.nbytes for array in computed.outputs.values())
        types.update((name, str(array.dtype)) for name, array in computed.outputs.items())
    return tuple(_portion(stored, group, types, threads) for group in groups if group)


def _portion(
    stored: StoredModel, nodes: list[PlainNode], types: Mapping[str, str], threads: int | None
) -> _Portion:
    made = [name for node in nodes for name in node.outputs if name]
    read = {name: "" for node in nodes for name in node.inputs if name}
    inputs = {name: types[name] for name in read if name not in made and name not in stored.inner.constants}
    name = f"{stored.source} from {nodes[0].name or nodes[0].op_type!r} on"
    return _Portion(
        nodes=tuple(nodes),
        inputs=tuple(inputs),
        outputs=tuple(made),
        session=Session(stored.segment(inputs, made), threads, name=name),
    )


def _compare_batch(
    stored: StoredModel,
    portions: tuple[_Portion, ...],
    feeds: Mapping[str, np.ndarray],
    result: Comparison,
) -> dict[str, np.ndarray]:
    """Portion by portion: the runtime on what the reference has so far, then the reference, then both."""
    found: dict[str, np.ndarray] = {}
    computing = interpret(stored.inner, feeds, lambda node: {name: found[name] for name in node.outputs})
    held = dict(feeds)
    outputs: dict[str, np.ndarray] = {}
    tensors = 0
    for number, portion in enumerate(portions):
        found = portion.session.run({name: held[name] for name in portion.inputs}, portion.outputs)
        later = {name for other in portions[number + 1 :] for name in other.inputs}
        for _ in portion.nodes:
            computed = next(computing)
            tensors += _compare_node(computed, found, result)
            held.update((n, a) for n, a in computed.outputs.items() if n in later)
            outputs.update((n, a) for n, a in computed.outputs.items() if n in stored.inner.outputs)
        held = {name: array for name, array in held.items() if name in later}
    result.tensors = max(result.tensors, tensors)
    return outputs


def _compare_node(computed: Computed, found: Mapping[str, np.ndarray], result: Comparison) -> int:
    """Compare the integer results of one node; returns how many tensors they are."""
    tensors = 0
    for name, expected in computed.outputs.items():
        if not name or expected.dtype.kind not in "iu":
            continue
        array = found[name]
        if expected.dtype != array.dtype or expected.shape != array.shape:
            raise ModelError(
                f"tensor {name}: the reference has {expected.dtype}{list(expected.shape)}, onnxruntime "
                f"{array.dtype}{list(array.shape)}"
            )
        tensors += 1
        result.values += array.size
        if not np.array_equal(expected, array):
            _note(result, name, computed.node, expected, array)
    return tensors


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
