"""``dybitq calibrate`` as a function: data to a statistics file, and statistics files to their sum."""

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dybitq.calibrate import store
from dybitq.calibrate.merge import merge_all
from dybitq.calibrate.run import CalibrationSettings, collect, model_inputs
from dybitq.data.spec import data_files, load_data
from dybitq.errors import ConfigError, StatisticsError, UnsupportedError
from dybitq.files import atomic_output, check_output
from dybitq.graph.load import load
from dybitq.graph.survey import survey
from dybitq.records.layers import LayerWork
from dybitq.records.progress import Progress
from dybitq.records.statistics import ChannelStatistics, MomentKind, Statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateResult:
    """What a statistics file holds.

    Attributes:
        output: the file written.
        file_bytes: its size.
        samples: samples seen, of all merged parts.
        seconds: wall time of the pass over the data.
        tensors: activation tensors with a histogram.
        layers: layers with weights.
        moments: number of second moments by kind.
        reduced: moments poorer than what was asked for, with their kind, because of the memory budget.
        constant_tensors: tensors that held one and the same value in all samples.
        constant_channels: by layer, how many of its output channels never changed.
    """

    output: Path
    file_bytes: int
    samples: int
    seconds: float
    tensors: int
    layers: int
    moments: Mapping[MomentKind, int]
    reduced: Mapping[str, MomentKind]
    constant_tensors: tuple[str, ...]
    constant_channels: Mapping[str, int]


def calibrate(
    model: Path,
    data: Path,
    output: Path,
    *,
    split: str = "calib",
    samples: int | None = None,
    batch_size: int | None = None,
    moments: MomentKind = MomentKind.FULL,
    memory_bytes: int = 1 << 30,
    threads: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> CalibrateResult:
    """Run ``data`` through the float32 ``model`` once and write what quantization needs to know of it.

    Args:
        model: float32 ONNX file; never written to.
        data: data spec, .npz or folder of images.
        output: statistics file to write.
        split: which split of the data spec to read.
        samples: how many samples to read, spread evenly over the split; None for all.
        batch_size: samples of one run; None chooses by the size of the activations.
        moments: the most that is kept of the second moments of layer inputs.
        memory_bytes: budget for all second moments together; the largest fall back first.
        threads: batches in flight at once; None for one on each core. Does not change the result.
        force: replace an existing output.
        progress: called with stage, done, total.

    Raises:
        ConfigError: a data spec that contradicts itself or the model.
        DataError: samples that are unreadable, do not fit the model, or are not finite.
        ModelError: the model cannot be read or run.
        OutputError: the output exists or cannot be written.
    """
    check_output(output, force=force, inputs=(model, data))
    if output.exists():
        check_output(output, force=force, inputs=data_files(data))
    network = load(model)
    layers = survey(network)
    source = load_data(
        data, inputs=model_inputs(network), split=split, batch_size=batch_size or 1, samples=samples
    )
    settings = CalibrationSettings(
        richest=moments, budget_bytes=memory_bytes, batch_size=batch_size, workers=threads, progress=progress
    )
    start = time.perf_counter()
    statistics = collect(network, layers, source, settings)
    seconds = time.perf_counter() - start
    if not statistics.tensors:
        raise UnsupportedError(f"{model}: has no float32 activations, so there is nothing to calibrate")
    _write(statistics, output, force=force)
    return _describe(statistics, output, seconds, _reduced(statistics, layers, moments))


def merge(parts: Sequence[Path], output: Path, *, force: bool = False) -> CalibrateResult:
    """Add up statistics files of one model and different data.

    The parts are added in the order of their hashes, so the order of ``parts`` does not change a bit.

    Raises:
        ConfigError: fewer than two parts, or two with the same contents.
        StatisticsError: a part is damaged or of another model.
        OutputError: the output exists or cannot be written.
    """
    if len(parts) < 2:
        raise ConfigError(f"merging takes at least two statistics files, found {len(parts)}")
    check_output(output, force=force, inputs=tuple(parts))
    start = time.perf_counter()
    loaded: dict[str, tuple[Path, Statistics]] = {}
    for path in parts:
        statistics = store.load(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
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
    _write(merged, output, force=force)
    return _describe(merged, output, time.perf_counter() - start, {})


def _write(statistics: Statistics, output: Path, *, force: bool) -> None:
    with atomic_output(output, force=force) as temporary:
        store.save(statistics, temporary)


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
    statistics: Statistics, output: Path, seconds: float, reduced: Mapping[str, MomentKind]
) -> CalibrateResult:
    stuck = {name: _constant_channels(sums) for name, sums in statistics.channels.items()}
    kinds = Counter(kind for _, kind in _kinds(statistics))
    return CalibrateResult(
        output=output,
        file_bytes=output.stat().st_size,
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
