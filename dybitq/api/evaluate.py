"""``dybitq evaluate`` as a function: a model on labelled data, against its float32 reference."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dybitq.data import fidelity
from dybitq.data.memory import DataLike, data_of
from dybitq.data.padding import real_positions
from dybitq.data.source import Batch, DataSource
from dybitq.data.spec import load_data
from dybitq.data.tasks import TASKS, Task
from dybitq.errors import ConfigError, DataError, ModelError
from dybitq.graph import keys
from dybitq.graph.read import read
from dybitq.graph.source import ModelLike, model_source
from dybitq.records.models import ModelSource
from dybitq.records.progress import Progress
from dybitq.report.evaluate import EvaluateResult, Gate, Metric, TensorError
from dybitq.runtime.host import products_are_exact
from dybitq.runtime.pair import Pair, common_inputs, open_pair
from dybitq.runtime.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits to keep: the largest drop of the first metric in points, and the smallest SQNR of an output."""

    max_drop: float | None = None
    min_sqnr: float | None = None


def evaluate(
    model: ModelLike,
    data: DataLike,
    *,
    labels: npt.ArrayLike | None = None,
    reference: ModelLike | None = None,
    max_drop: float | None = None,
    min_sqnr: float | None = None,
    per_layer: bool = False,
    split: str = "val",
    samples: int | None = None,
    batch_size: int = 16,
    threads: int | None = None,
    progress: Progress | None = None,
) -> EvaluateResult:
    """Measure ``model`` on ``data``, and against ``reference`` if there is one.

    Args:
        model: any ONNX model.
        data: data spec, .npz or folder of images; or samples in memory.
        labels: class of each sample, for samples in memory.
        reference: the float32 network that ``model`` was made from.
        max_drop: largest drop of the first metric, in points; the result says whether it was kept.
        min_sqnr: smallest SQNR of any output, dB.
        per_layer: compare the quantized activations too.
        split: split of the data spec to read.
        samples: how many samples to read, spread evenly over the split; None for all.
        batch_size: samples of one run.
        threads: of onnxruntime; None for one on each core.
        progress: called with stage, done, total.

    Raises:
        ConfigError: a limit without what it needs, a data spec that does not fit, or networks with
            different inputs or outputs.
        DataError: unreadable samples.
        ModelError: a model that cannot be read or run.
    """
    tested, given = model_source(model), data_of(data, labels)
    compared = None if reference is None else model_source(reference)
    limits = Limits(max_drop=max_drop, min_sqnr=min_sqnr)
    _check_request(compared, limits, per_layer=per_layer)
    pair = open_pair(tested, compared, per_layer=per_layer, threads=threads)
    source = load_data(given, inputs=common_inputs(pair), split=split, batch_size=batch_size, samples=samples)
    task = _task(source, compared, limits)
    totals, start = _Totals(pair, task, source), time.perf_counter()
    first: Batch | None = None
    for batch in source:
        first = first or batch
        totals.add(batch)
        if progress is not None:
            progress("evaluate", totals.samples, max(source.samples or 0, totals.samples))
    result = totals.result(tested, compared, limits, time.perf_counter() - start)
    result = replace(result, notes=_origin_notes(tested, compared))
    if first is None or products_are_exact():
        return result
    saturates, decibels = _saturation(tested, first, threads)
    return replace(result, saturates=saturates, saturation_db=decibels)


def _task(source: DataSource, reference: ModelSource | None, limits: Limits) -> Task | None:
    """Return the task to score by, if the data have one.

    Raises:
        ConfigError: there is none and nothing else to measure, or a limit needs it.
    """
    task = TASKS.get(source.task) if source.task is not None else None
    if limits.max_drop is not None and (task is None or not source.labelled):
        raise ConfigError(f"{source.where}: --max-drop needs 'task:' and labels in the data spec")
    if reference is None and (task is None or not source.labelled):
        raise ConfigError(
            f"{source.where}: nothing to measure: give a --reference, or 'task:' and labels in the data spec"
        )
    return task


def _origin_notes(model: ModelSource, reference: ModelSource | None) -> tuple[str, ...]:
    """Note that ``model`` was made from another network than ``reference``, if it was."""
    if reference is None:
        return ()
    made_from = read(model)[0].metadata_props.get(keys.ORIGIN)
    other, found = read(reference)
    if made_from in (None, found, other.metadata_props.get(keys.ORIGIN)):
        return ()
    hashes = f"sha256 {made_from[:12]}..., the reference has {found[:12]}..."
    return (f"{model} was made from another file than {reference} ({hashes})",)


def _saturation(model: ModelSource, batch: Batch, threads: int | None) -> tuple[bool | None, float | None]:
    """Tell whether saturating kernels change the outputs of a batch (None: unknown), and the SQNR."""
    found = Session(model, threads).run(batch.feeds)
    try:
        exact = Session(model, threads, exact_products=True).run(batch.feeds)
    except ModelError:  # onnxruntime fails to make weights unsigned where two layers share them
        return None, None
    numbers = {n: v for n, v in exact.items() if isinstance(v, np.ndarray) and v.dtype.kind in "fiub"}
    floats = {name: fidelity.init() for name, value in numbers.items() if value.dtype.kind == "f"}
    for name, total in floats.items():
        fidelity.update(total, _real(found[name], batch), _real(exact[name], batch), name)
    saturates = any(
        not np.array_equal(value, found[name], equal_nan=value.dtype.kind == "f")
        for name, value in numbers.items()
    )
    decibels = min((total.sqnr_db for total in floats.values()), default=math.inf)
    return saturates, decibels if saturates and math.isfinite(decibels) else None


def _check_request(reference: ModelSource | None, limits: Limits, *, per_layer: bool) -> None:
    needing = {
        "--max-drop": limits.max_drop is not None,
        "--min-sqnr": limits.min_sqnr is not None,
        "--per-layer": per_layer,
    }
    for option, given in needing.items():
        if given and reference is None:
            raise ConfigError(f"{option} compares with the float32 network; name it with --reference")


class _Totals:
    """Everything that is summed up over the batches."""

    def __init__(self, pair: Pair, task: Task | None, source: DataSource) -> None:
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
        values = self.pair.model.run(batch.feeds)
        wanted = self.pair.reference.run(batch.feeds) if self.pair.reference is not None else None
        self.samples += batch.count
        self._judge(values, wanted, batch)
        if wanted is None:
            return
        for name, other in self.pair.outputs:
            if values[name].dtype.kind == "f":
                found, expected = _real(values[name], batch), _real(wanted[other], batch)
                fidelity.update(self.errors[name], found, expected, name)
        available = {**batch.feeds, **wanted}
        for edge in self.pair.edges or ():
            found, expected = _real(edge.decode(values), batch), _real(available[edge.tensor], batch)
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
            try:
                for name, score in self.task.score(output, batch.labels, offset).items():
                    self.scores.setdefault(name, []).append(score)
                if expected is not None:
                    for name, score in self.task.score(expected, batch.labels, offset).items():
                        self.reference_scores.setdefault(name, []).append(score)
            except DataError as error:
                raise DataError(f"{self.source.where}: {error}") from None
        if expected is not None:
            self.agreed.append(self.task.agree(output, expected, offset))

    def result(
        self, model: ModelSource, reference: ModelSource | None, limits: Limits, seconds: float
    ) -> EvaluateResult:
        """Return the figures over all batches."""
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
            rescaled=self.pair.rescaled,
            gates=_gates(limits, metrics, outputs),
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


def _real(value: np.ndarray, batch: Batch) -> np.ndarray:
    """``value`` without what belongs to padding: copies that fill a batch, ends of short sequences."""
    extent = next(iter(batch.feeds.values())).shape[0]
    if value.ndim == 0 or value.shape[0] % extent:
        return value
    value = value[: batch.count * (value.shape[0] // extent)]
    mask = real_positions(batch.feeds)
    if mask is not None and value.ndim == 3 and value.shape[:2] == mask[: batch.count].shape:
        return value[mask[: batch.count]]
    return value


def _error(name: str, total: fidelity.ErrorTotal) -> TensorError:
    return TensorError(tensor=name, sqnr_db=total.sqnr_db, largest_difference=total.largest)


def _gates(limits: Limits, metrics: Sequence[Metric], outputs: Sequence[TensorError]) -> tuple[Gate, ...]:
    gates = []
    if limits.max_drop is not None:
        drop = metrics[0].drop if metrics and metrics[0].drop is not None else float("nan")
        gates.append(Gate(name="max-drop", limit=limits.max_drop, found=drop, passed=drop <= limits.max_drop))
    if limits.min_sqnr is not None:
        worst = min((e.sqnr_db for e in outputs), default=float("nan"))
        gates.append(
            Gate(name="min-sqnr", limit=limits.min_sqnr, found=worst, passed=worst >= limits.min_sqnr)
        )
    return tuple(gates)
