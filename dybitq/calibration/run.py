"""One pass of the data through the float32 model: batches in, statistics out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dybitq.calibration import channels, moments, tensors
from dybitq.calibration.workers import OrderedFold, cores, run_workers
from dybitq.data.padding import real_positions
from dybitq.data.source import Batch, DataSource
from dybitq.errors import DataError
from dybitq.graph.derived import Derived, derived_tensors
from dybitq.graph.export import float_tensors, with_outputs
from dybitq.graph.load import Network
from dybitq.graph.pointwise_groups import pointwise_groups
from dybitq.graph.values import shape_of
from dybitq.records.layers import LayerWork, TensorInfo
from dybitq.records.progress import Progress
from dybitq.records.statistics import MomentKind, Statistics
from dybitq.runtime.session import Session

BATCH_VALUES = 1 << 24
"""Fetched float32 values of one run (64 MiB) that the automatic batch size aims at."""

LARGEST_BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSettings:
    """Settings of a pass.

    Attributes:
        richest: the richest kind of second moments that is kept.
        budget_bytes: memory for the sums of all second moments together.
        batch_size: samples of one run; None chooses by the size of the activations.
        workers: threads, each with one batch; None for one on each core. The result does not depend on it.
        progress: called with "calibrate", samples done, samples in all.
    """

    richest: MomentKind = MomentKind.FULL
    budget_bytes: int = 1 << 30
    batch_size: int | None = None
    workers: int | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Watch:
    """Tensors and layers that one pass measures.

    Attributes:
        fetched: inputs, and tensors that onnxruntime returns, in topological order.
        derived: tensors whose statistics are derived from those.
        layers: layers with weights, for channel statistics.
        shaped: those of them that an elementwise function follows: their channels get histograms.
        keyed: one layer for each moment key, with the kind of moment that is kept.
    """

    fetched: tuple[str, ...]
    derived: Mapping[str, Derived]
    layers: tuple[LayerWork, ...]
    shaped: frozenset[str]
    keyed: Mapping[str, tuple[LayerWork, MomentKind]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Totals:
    """Running sums of one pass, by tensor, moment key and layer."""

    tensors: dict[str, tensors.TensorTotal]
    moments: dict[str, moments.MomentTotal]
    channels: dict[str, channels.ChannelTotal]


def plan_watch(
    network: Network, layers: Sequence[LayerWork], richest: MomentKind, budget_bytes: int
) -> Watch:
    """Choose the tensors to fetch, those to derive from them, and the moments that fit the memory budget."""
    names = float_tensors(network.model)
    known = frozenset(names)
    weighted = [layer for layer in layers if layer.geometry.has_moments and layer.output in known]
    keyed: dict[str, LayerWork] = {}
    for layer in weighted:
        if layer.input in known:
            keyed.setdefault(layer.moment_key, layer)
    kinds = moments.choose_kinds(keyed, richest, budget_bytes)
    derived = derived_tensors(network, known)
    sources = {group.source.name for group in pointwise_groups(network.model.graph).values()}
    # A layer's input is needed in its own shape, if its patches are wanted.
    for key, layer in keyed.items():
        if kinds[key] is not MomentKind.NONE and layer.input in derived and derived[layer.input].moved:
            del derived[layer.input]
    return Watch(
        fetched=tuple(n for n in names if n not in derived),
        derived=derived,
        layers=tuple(weighted),
        shaped=frozenset(layer.name for layer in weighted if layer.output in sources),
        keyed={k: (layer, kinds[k]) for k, layer in keyed.items() if kinds[k] is not MomentKind.NONE},
    )


def collect(
    network: Network, layers: Sequence[LayerWork], source: DataSource, settings: CalibrationSettings
) -> Statistics:
    """Run every sample of ``source`` through the float32 network once and collect statistics.

    Args:
        network: the normalised model.
        layers: its survey.
        source: the data.
        settings: of the pass.

    Raises:
        DataError: bad samples, or NaN inside the model.
        ModelError: onnxruntime cannot run the model.
    """
    watch = plan_watch(network, layers, settings.richest, settings.budget_bytes)
    session = Session(with_outputs(network, watch.fetched), 1, name=str(network.source))
    watch = _available(watch, session)
    names = _outputs(watch, session)
    source = replace(source, batch_size=_batch_size(session, source, names, settings))
    totals = _init(watch)
    folds = OrderedFold()
    expected, done = source.samples or 0, 0

    def work(number: int, first_sample: int, batch: Batch) -> None:
        values = {**batch.feeds, **session.run(batch.feeds, names)}
        for key, add in _measure(watch, totals, values, first_sample, batch):
            folds.fold(key, number, add)

    def finished(batch: Batch) -> None:
        nonlocal done
        done += batch.count
        if settings.progress is not None:
            settings.progress("calibrate", done, max(expected, done))

    run_workers(_numbered(source), work, finished, folds, settings.workers or cores())
    return _result(network, totals, watch, done)


def model_inputs(network: Network) -> tuple[TensorInfo, ...]:
    """Return the inputs that a run of the normalised model needs."""
    return tuple(
        TensorInfo(
            name=value.name or "",
            shape=shape_of(value) or (),
            dtype=value.dtype.numpy().name if value.dtype is not None else "",
        )
        for value in network.model.graph.inputs
        if value.const_value is None
    )


def _numbered(source: DataSource) -> Iterator[tuple[int, int, Batch]]:
    first = 0
    for number, batch in enumerate(source):
        yield number, first, batch
        first += batch.count


def _available(watch: Watch, session: Session) -> Watch:
    """Leave out tensors that onnxruntime does not return as float32."""
    given = {info.name for info in (*session.inputs, *session.outputs) if info.dtype == "float32"}
    fetched = tuple(n for n in watch.fetched if n in given)
    derived = {n: rule for n, rule in watch.derived.items() if rule.source in given}
    known = given | set(derived)
    return replace(
        watch,
        fetched=fetched,
        derived=derived,
        layers=tuple(layer for layer in watch.layers if layer.output in given),
        keyed={k: pair for k, pair in watch.keyed.items() if pair[0].input in known},
    )


def _outputs(watch: Watch, session: Session) -> list[str]:
    inputs = {info.name for info in session.inputs}
    return [name for name in watch.fetched if name not in inputs]


def _batch_size(
    session: Session, source: DataSource, names: Sequence[str], settings: CalibrationSettings
) -> int:
    """Choose the samples of one run, where the settings do not, from the activations of the first sample.

    Small batches keep activations in cache while they are measured; tiny networks want larger ones to
    outweigh the cost of a call.
    """
    if source.fixed_batch or source.opened.batches:
        return source.batch_size
    if settings.batch_size is not None:
        return settings.batch_size
    first = next(iter(replace(source, batch_size=1)))
    size = sum(value.size for value in session.run(first.feeds, names).values())
    return max(1, min(LARGEST_BATCH, BATCH_VALUES // max(1, size)))


def _init(watch: Watch) -> Totals:
    return Totals(
        tensors={name: tensors.init() for name in (*watch.fetched, *watch.derived)},
        moments={
            k: moments.init(kind, *layer.geometry.patch_shape) for k, (layer, kind) in watch.keyed.items()
        },
        channels={
            layer.name: channels.init(layer.geometry.output_channels, shaped=layer.name in watch.shaped)
            for layer in watch.layers
        },
    )


def _measure(
    watch: Watch, totals: Totals, values: Mapping[str, np.ndarray], first_sample: int, batch: Batch
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the additions of one batch with the keys of their totals; they are made in the order of batches.

    Moments are many and large, so each is yielded before the next one is computed.
    """
    extent = next(iter(batch.feeds.values())).shape[0] if batch.feeds else 1
    real = real_positions(batch.feeds)
    parts: dict[str, tensors.TensorPart] = {}
    for name in watch.fetched:
        part = tensors.measure(values[name], extent, batch.count, real)
        if part is not None:
            _require_finite(name, part, batch)
            parts[name] = part
    for name, rule in watch.derived.items():
        if rule.source in parts:
            parts[name] = tensors.mapped_part(parts[rule.source], rule.function)
    outputs = {
        layer.name: channels.measure(
            values[layer.output], layer, extent, batch.count, shaped=layer.name in watch.shaped
        )
        for layer in watch.layers
    }

    def add() -> None:
        for name, part in parts.items():
            tensors.update(totals.tensors[name], part)
        for layer, sums in outputs.items():
            if sums is not None:
                channels.update(totals.channels[layer], sums)

    yield "tensors and channels", add
    for key, (layer, kind) in watch.keyed.items():
        follows = watch.derived.get(layer.input)
        x = values[layer.input if follows is None else follows.source]
        function = None if follows is None else follows.function
        moment = moments.measure(x, layer, kind, first_sample, extent, batch.count, function, real)
        yield key, _folder(totals.moments[key], moment)


def _folder(total: moments.MomentTotal, part: moments.MomentPart | None) -> Callable[[], None]:
    return lambda: None if part is None else moments.update(total, part)


def _require_finite(name: str, part: tensors.TensorPart, batch: Batch) -> None:
    """Refuse NaN: the extremes of a sample that holds any are NaN."""
    bad = np.isnan(part.minima)
    if bad.any():
        sample = batch.names[min(int(np.flatnonzero(bad)[0]), batch.count - 1)]
        raise DataError(
            f"tensor {name!r} holds NaN for the sample {sample}: the float32 model itself computes it; check "
            "the model and the transforms of the data"
        )


def _result(network: Network, totals: Totals, watch: Watch, samples: int) -> Statistics:
    for name, rule in watch.derived.items():
        total, before = totals.tensors[name], totals.tensors[rule.source]
        total.count = before.count
        total.histogram = tensors.mapped_histogram(before.histogram, rule.function)
    measured = {n: tensors.result(t) for n, t in totals.tensors.items() if t.samples}
    return Statistics(
        model_sha256=network.sha256,
        samples=samples,
        tensors=measured,
        moments={k: moments.result(t) for k, t in totals.moments.items() if t.rows},
        channels={n: channels.result(t) for n, t in totals.channels.items() if t.count},
    )
