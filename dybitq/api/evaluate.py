"""``dybitq evaluate`` as a function: a model on labelled data, against its float32 reference."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dybitq.data import fidelity
from dybitq.data.source import Batch, DataSource
from dybitq.data.spec import load_data
from dybitq.data.tasks import TASKS, Task
from dybitq.errors import ConfigError
from dybitq.graph.coded import CodedTensor, coded_tensors
from dybitq.graph.export import float_tensors, with_outputs
from dybitq.graph.load import Network, load
from dybitq.graph.read import read
from dybitq.records import TensorInfo
from dybitq.runtime.session import Session

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure over all samples, in percent.

    Attributes:
        name: ``top-1``.
        value: of the model.
        reference: of the reference; None without one.
        drop: ``reference - value`` in points.
        drop_error: standard error of the drop, paired: from the samples' own differences.
    """

    name: str
    value: float
    reference: float | None
    drop: float | None
    drop_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorError:
    """Error of one tensor against the reference: SQNR in dB, and the largest absolute difference."""

    tensor: str
    sqnr_db: float
    largest_difference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A limit that the user set."""

    name: str
    limit: float
    found: float
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateResult:
    """What ``evaluate`` measured.

    Attributes:
        model, reference: the files.
        samples: number of samples.
        seconds: wall time.
        metrics: of the task, the headline first; empty without labels or a task.
        agreement: percent of samples decided as the reference does; None without task or reference.
        outputs: error of each float output against the reference.
        edges: error of each quantized activation, in topological order; None if not asked for.
        gates: limits and whether they were kept.
    """

    model: Path
    reference: Path | None
    samples: int
    seconds: float
    metrics: tuple[Metric, ...]
    agreement: float | None
    outputs: tuple[TensorError, ...]
    edges: tuple[TensorError, ...] | None
    gates: tuple[Gate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to evaluate.

    Attributes:
        split, samples, batch_size: what to read, see :func:`dybitq.data.spec.load_data`.
        max_drop: largest drop of the headline metric, in points.
        min_sqnr: smallest SQNR of any output, dB.
        per_layer: compare the quantized activations too.
        threads: of onnxruntime.
    """

    split: str = "val"
    samples: int | None = None
    batch_size: int = 16
    max_drop: float | None = None
    min_sqnr: float | None = None
    per_layer: bool = False
    threads: int | None = None


def evaluate(
    model: Path,
    data: Path,
    *,
    reference: Path | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> EvaluateResult:
    """Measure ``model`` on ``data``, and against ``reference`` if there is one.

    Args:
        model: any ONNX file.
        data: data spec, .npz or folder of images.
        reference: the float32 network that ``model`` was made from.
        settings: see there.
        progress: called with stage, done, total.

    Raises:
        ConfigError: a gate without what it needs, a data spec that does not fit, or networks with
            different inputs or outputs.
        DataError: unreadable samples.
        ModelError: a model that cannot be read or run.
    """
    chosen = settings or Settings()
    _check_request(reference, chosen)
    pair = _open(model, reference, chosen)
    source = load_data(
        data,
        inputs=_common_inputs(pair),
        split=chosen.split,
        batch_size=chosen.batch_size,
        samples=chosen.samples,
    )
    task = TASKS.get(source.task) if source.task is not None else None
    if chosen.max_drop is not None and (task is None or not source.labelled):
        raise ConfigError(f"{source.where}: --max-drop needs 'task:' and labels in the data spec")
    if reference is None and (task is None or not source.labelled):
        raise ConfigError(
            f"{source.where}: nothing to measure: give a --reference, or 'task:' and labels in the data spec"
        )
    start = time.perf_counter()
    totals = _Totals(pair, task, source)
    for batch in source:
        totals.add(batch)
        if progress is not None:
            progress("evaluate", totals.samples, max(source.samples or 0, totals.samples))
    return totals.result(model, reference, chosen, time.perf_counter() - start)


def _check_request(reference: Path | None, settings: Settings) -> None:
    needing = {
        "--max-drop": settings.max_drop is not None,
        "--min-sqnr": settings.min_sqnr is not None,
        "--per-layer": settings.per_layer,
    }
    for option, given in needing.items():
        if given and reference is None:
            raise ConfigError(f"{option} compares with the float32 network; name it with --reference")


# --------------------------------------------------------------------------- sessions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pair:
    """The model and its reference, ready to run; ``outputs`` pairs their output names."""

    model: Session
    reference: Session | None
    outputs: tuple[tuple[str, str], ...]
    edges: tuple[CodedTensor, ...] | None


def _open(model: Path, reference: Path | None, settings: Settings) -> _Pair:
    if not settings.per_layer or reference is None:
        tested = Session(model, settings.threads)
        wanted = Session(reference, settings.threads) if reference is not None else None
        return _Pair(model=tested, reference=wanted, outputs=_pair_outputs(tested, wanted), edges=None)
    plain = Session(model, settings.threads), Session(reference, settings.threads)
    outputs = _pair_outputs(*plain)
    original = load(reference)
    stored, sha256 = read(model)
    edges = coded_tensors(stored, frozenset(float_tensors(original.model)))
    network = Network(model=stored, path=model, sha256=sha256, notes=())
    tested = Session(with_outputs(network, [e.codes for e in edges]), settings.threads, name=str(model))
    wanted = Session(with_outputs(original, [e.tensor for e in edges]), settings.threads, name=str(reference))
    given = {info.name for info in (*tested.outputs, *tested.inputs)}
    return _Pair(
        model=tested,
        reference=wanted,
        outputs=outputs,
        edges=tuple(e for e in edges if e.codes in given),
    )


def _pair_outputs(model: Session, reference: Session | None) -> tuple[tuple[str, str], ...]:
    """Outputs of the two by name, or in order where the names differ.

    Raises:
        ConfigError: they have not the same number of outputs.
    """
    names = [o.name for o in model.outputs]
    if reference is None:
        return tuple((name, name) for name in names)
    others = [o.name for o in reference.outputs]
    if set(names) == set(others):
        return tuple((name, name) for name in names)
    if len(names) != len(others):
        raise ConfigError(
            f"{model.name} has the outputs {', '.join(names)}, {reference.name} has {', '.join(others)}; "
            "they are not the same network"
        )
    return tuple(zip(names, others))


def _common_inputs(pair: _Pair) -> tuple[TensorInfo, ...]:
    """Inputs that suit both: an extent is fixed where either of them fixes it.

    Raises:
        ConfigError: names, types or fixed extents differ.
    """
    if pair.reference is None:
        return pair.model.inputs
    others = {i.name: i for i in pair.reference.inputs}
    if set(others) != {i.name for i in pair.model.inputs}:
        raise ConfigError(
            f"{pair.model.name} takes {_names(pair.model.inputs)}, {pair.reference.name} takes "
            f"{_names(pair.reference.inputs)}; they are not the same network"
        )
    return tuple(_common(info, others[info.name], pair) for info in pair.model.inputs)


def _common(a: TensorInfo, b: TensorInfo, pair: _Pair) -> TensorInfo:
    agree = len(a.shape) == len(b.shape) and a.dtype == b.dtype
    agree = agree and all(m is None or n is None or m == n for m, n in zip(a.shape, b.shape))
    if not agree:
        raise ConfigError(
            f"input {a.name!r} is {a.dtype} {_extents(a)} in {pair.model.name} and {b.dtype} {_extents(b)} "
            "in the reference; they are not the same network"
        )
    shape = tuple(n if m is None else m for m, n in zip(a.shape, b.shape))
    return TensorInfo(name=a.name, shape=shape, dtype=a.dtype)


def _names(inputs: Sequence[TensorInfo]) -> str:
    return ", ".join(i.name for i in inputs) or "no inputs"


def _extents(info: TensorInfo) -> str:
    return "[" + ", ".join("any" if e is None else str(e) for e in info.shape) + "]"


# --------------------------------------------------------------------------- sums


class _Totals:
    """Everything that is summed up over the batches."""

    def __init__(self, pair: _Pair, task: Task | None, source: DataSource) -> None:
        self.pair = pair
        self.task = task
        self.source = source
        self.samples = 0
        self.errors = {name: fidelity.init() for name, _ in pair.outputs}
        self.edges = {edge.tensor: fidelity.init() for edge in pair.edges or ()}
        self.scores: dict[str, list[np.ndarray]] = {}
        self.reference_scores: dict[str, list[np.ndarray]] = {}
        self.agreed: list[np.ndarray] = []

    def add(self, batch: Batch) -> None:
        """Run one batch through both models."""
        extent = next(iter(batch.feeds.values())).shape[0]
        values = self.pair.model.run(batch.feeds)
        wanted = self.pair.reference.run(batch.feeds) if self.pair.reference is not None else None
        self.samples += batch.count
        self._judge(values, wanted, batch)
        if wanted is None:
            return
        for name, other in self.pair.outputs:
            if values[name].dtype.kind == "f":
                found, expected = (_kept(v, extent, batch.count) for v in (values[name], wanted[other]))
                fidelity.update(self.errors[name], found, expected, name)
        inputs = batch.feeds
        for edge in self.pair.edges or ():
            real = edge.decode(values[edge.codes])
            expected = wanted[edge.tensor] if edge.tensor in wanted else inputs[edge.tensor]
            found, expected = (_kept(v, extent, batch.count) for v in (real, expected))
            fidelity.update(self.edges[edge.tensor], found, expected, edge.tensor)

    def _judge(
        self, values: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray] | None, batch: Batch
    ) -> None:
        """Score the first output by the task."""
        if self.task is None:
            return
        first, other = self.pair.outputs[0]
        offset = self.source.label_offset
        output = values[first][: batch.count]
        expected = None if wanted is None else wanted[other][: batch.count]
        if batch.labels is not None:
            for name, score in self.task.score(output, batch.labels, offset).items():
                self.scores.setdefault(name, []).append(score)
            if expected is not None:
                for name, score in self.task.score(expected, batch.labels, offset).items():
                    self.reference_scores.setdefault(name, []).append(score)
        if expected is not None:
            self.agreed.append(self.task.agree(output, expected, offset))

    def result(
        self, model: Path, reference: Path | None, settings: Settings, seconds: float
    ) -> EvaluateResult:
        """The figures over all batches."""
        metrics = tuple(self._metric(name) for name in self.scores)
        outputs = tuple(_error(n, t) for n, t in self.errors.items() if t.values)
        edges = None if self.pair.edges is None else tuple(_error(n, t) for n, t in self.edges.items())
        return EvaluateResult(
            model=model,
            reference=reference,
            samples=self.samples,
            seconds=seconds,
            metrics=metrics,
            agreement=100 * float(np.concatenate(self.agreed).mean()) if self.agreed else None,
            outputs=outputs,
            edges=edges,
            gates=_gates(settings, metrics, outputs),
        )

    def _metric(self, name: str) -> Metric:
        values = np.concatenate(self.scores[name])
        if name not in self.reference_scores:
            return Metric(
                name=name, value=100 * float(values.mean()), reference=None, drop=None, drop_error=None
            )
        others = np.concatenate(self.reference_scores[name])
        lost = others - values
        # The same samples were put to both, so the spread of their differences is what counts.
        error = float(lost.std(ddof=1)) / math.sqrt(lost.size) if lost.size > 1 else float("nan")
        return Metric(
            name=name,
            value=100 * float(values.mean()),
            reference=100 * float(others.mean()),
            drop=100 * float(lost.mean()),
            drop_error=100 * error,
        )


def _kept(value: np.ndarray, extent: int, count: int) -> np.ndarray:
    """``value`` without the part that belongs to padding samples."""
    if count == extent or value.ndim == 0 or value.shape[0] % extent:
        return value
    return value[: count * (value.shape[0] // extent)]


def _error(name: str, total: fidelity.ErrorTotal) -> TensorError:
    return TensorError(tensor=name, sqnr_db=fidelity.sqnr_db(total), largest_difference=total.largest)


def _gates(settings: Settings, metrics: Sequence[Metric], outputs: Sequence[TensorError]) -> tuple[Gate, ...]:
    gates = []
    if settings.max_drop is not None:
        drop = metrics[0].drop if metrics and metrics[0].drop is not None else float("nan")
        gates.append(
            Gate(name="max-drop", limit=settings.max_drop, found=drop, passed=drop <= settings.max_drop)
        )
    if settings.min_sqnr is not None:
        worst = min((e.sqnr_db for e in outputs), default=float("nan"))
        gates.append(
            Gate(name="min-sqnr", limit=settings.min_sqnr, found=worst, passed=worst >= settings.min_sqnr)
        )
    return tuple(gates)
