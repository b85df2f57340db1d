"""``dybitq calibrate`` as a function: data to a statistics file, and statistics files to their sum."""

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from dybitq.calibration import store
from dybitq.calibration.merge import merge_all
from dybitq.calibration.run import CalibrationSettings, collect, model_inputs
from dybitq.data.memory import Data, DataLike, data_of
from dybitq.data.spec import data_files, load_data
from dybitq.errors import ConfigError, StatisticsError, UnsupportedError
from dybitq.files import atomic_output, check_output, path_of
from dybitq.graph.load import load
from dybitq.graph.source import ModelLike, model_source
from dybitq.graph.survey import survey
from dybitq.records.layers import LayerWork
from dybitq.records.models import ModelSource, file_of
from dybitq.records.progress import Progress
from dybitq.records.statistics import ChannelStatistics, MomentKind, Statistics
from dybitq.report.calibrate import CalibrateResult


def calibrate(
    model: ModelLike,
    data: DataLike,
    output: str | os.PathLike[str] | None = None,
    *,
    split: str = "calib",
    samples: int | None = None,
    batch_size: int | None = None,
    moments: Literal["full", "block", "diagonal", "none"] = "full",
    memory: int = 1024,
    threads: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> CalibrateResult:
    """Run ``data`` through the float32 ``model`` once and collect the statistics that quantization needs.

    Args:
        model: float32 network; never changed.
        data: data spec, .npz or folder of images; or samples in memory.
        output: statistics file to write; None keeps the statistics in memory.
        split: split of the data spec to read.
        samples: how many samples to read, spread evenly over the split; None for all.
        batch_size: samples of one run; None chooses by the size of the activations.
        moments: the most that is kept of the second moments of layer inputs.
        memory: budget for all second moments together, in MiB; the largest fall back first.
        threads: batches in flight at once; None for one on each core. Does not change the result.
        force: replace an existing output.
        progress: called with stage, done, total.

    Raises:
        ConfigError: a data spec that contradicts itself or the model.
        DataError: samples that are unreadable, do not fit the model, or are not finite.
        ModelError: the model cannot be read or run.
        OutputError: the output exists or cannot be written.
    """
    source, given, path = model_source(model), data_of(data), path_of(output)
    if path is not None:
        _check_output(path, source, given, force=force)
    network = load(source)
    layers, inputs = survey(network), model_inputs(network)
    batches = load_data(given, inputs=inputs, split=split, batch_size=batch_size or 1, samples=samples)
    settings = CalibrationSettings(
        richest=_moment_kind(moments),
        budget_bytes=memory << 20,
        batch_size=batch_size,
        workers=threads,
        progress=progress,
    )
    start = time.perf_counter()
    statistics = collect(network, layers, batches, settings)
    seconds = time.perf_counter() - start
    if not statistics.tensors:
        raise UnsupportedError(f"{source}: has no float32 activations, so there is nothing to calibrate")
    reduced = _reduced(statistics, layers, settings.richest)
    return _result(statistics, path, seconds, reduced, force=force)


def _moment_kind(name: str) -> MomentKind:
    if name not in set(MomentKind):
        raise ConfigError(f"moments is {name!r}; expected {', '.join(MomentKind)}")
    return MomentKind(name)


def _check_output(path: Path, model: ModelSource, data: Data, *, force: bool) -> None:
    given = (data,) if isinstance(data, Path) else ()
    check_output(path, force=force, inputs=(*file_of(model), *given))
    if path.exists():
        check_output(path, force=force, inputs=data_files(data))


def merge(
    parts: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
) -> CalibrateResult:
    """Add up statistics files of one model and different data.

    The parts are added in the order of their hashes, so the order of ``parts`` does not change a bit.

    Raises:
        ConfigError: fewer than two parts, or two with the same contents.
        StatisticsError: a part is damaged or of another model.
        OutputError: the output exists or cannot be written.
    """
    if len(parts) < 2:
        raise ConfigError(f"merging takes at least two statistics files, found {len(parts)}")
    paths, target = [Path(part) for part in parts], path_of(output)
    if target is not None:
        check_output(target, force=force, inputs=tuple(paths))
    start = time.perf_counter()
    loaded: dict[str, tuple[Path, Statistics]] = {}
    for path in paths:
        statistics = store.load(path)
        digest = store.sha256_of(statistics)
        if digest in loaded:
            raise ConfigError(
                f"{path} and {loaded[digest][0]} hold the same statistics; merging them would count every "
                "sample twice"
            )
        first, known = next(iter(loaded.values()), (path, statistics))
        if known.model_sha256 != statistics.model_sha256:
            raise StatisticsError(
                f"{path}: statistics of another model (sha256 {statistics.model_sha256[:12]}...) than "
                f"{first} ({known.model_sha256[:12]}...); calibrate the same file on every machine"
            )
        loaded[digest] = (path, statistics)
    merged = merge_all([loaded[digest][1] for digest in sorted(loaded)])
    return _result(merged, target, time.perf_counter() - start, {}, force=force)


def _result(
    statistics: Statistics,
    output: Path | None,
    seconds: float,
    reduced: Mapping[str, MomentKind],
    *,
    force: bool,
) -> CalibrateResult:
    """Write the statistics, or keep them as the file would give them back."""
    if output is None:
        kept = store.stored(statistics)
        return _describe(kept, None, store.size_bytes(kept), seconds, reduced)
    with atomic_output(output, force=force) as temporary:
        store.save(statistics, temporary)
    kept = store.load(output)
    return _describe(kept, output, store.size_bytes(kept), seconds, reduced)


def _reduced(statistics: Statistics, layers: Sequence[LayerWork], asked: MomentKind) -> dict[str, MomentKind]:
    """Layers whose moment is poorer than ``asked`` (a block moment of one block counts as full)."""
    if asked is MomentKind.NONE:
        return {}
    ladder = (MomentKind.FULL, MomentKind.BLOCK, MomentKind.DIAGONAL, MomentKind.NONE)
    found = {}
    for layer in layers:
        if layer.name in statistics.channels and layer.input in statistics.tensors:
            moment = statistics.moments.get(layer.moment_key)
            kind = moment.kind if moment is not None else MomentKind.NONE
            if ladder.index(kind) > ladder.index(asked):
                found[layer.name] = kind
    return found


def _describe(
    statistics: Statistics,
    output: Path | None,
    file_bytes: int,
    seconds: float,
    reduced: Mapping[str, MomentKind],
) -> CalibrateResult:
    stuck = {name: _constant_channels(sums) for name, sums in statistics.channels.items()}
    kinds = Counter(kind for _, kind in _kinds(statistics))
    return CalibrateResult(
        statistics=statistics,
        output=output,
        file_bytes=file_bytes,
        samples=statistics.samples,
        seconds=seconds,
        tensors=len(statistics.tensors),
        layers=len(statistics.channels),
        moments={kind: kinds[kind] for kind in MomentKind if kinds[kind]},
        reduced=dict(reduced),
        constant_tensors=tuple(n for n, t in statistics.tensors.items() if t.minimum == t.maximum),
        constant_channels={name: count for name, count in stuck.items() if count},
    )


def _kinds(statistics: Statistics) -> list[tuple[str, MomentKind]]:
    if isinstance(statistics.moments, store.StoredMoments):
        return [(key, statistics.moments.kind(key)) for key in statistics.moments]
    return [(key, moment.kind) for key, moment in statistics.moments.items()]


def _constant_channels(sums: ChannelStatistics) -> int:
    """Channels whose variance is nil, up to the rounding of the sums."""
    if sums.count < 2:
        return 0
    mean_square = sums.squares / sums.count
    variance = mean_square - (sums.total / sums.count) ** 2
    return int(np.count_nonzero(variance <= 1e-12 * mean_square))
