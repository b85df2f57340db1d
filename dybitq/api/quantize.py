"""``dybitq quantize`` as a function."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dybitq.calibrate.store import load as load_statistics
from dybitq.data.spec import load_data
from dybitq.emit.emit import emit
from dybitq.emit.metadata import stamp
from dybitq.emit.prefix import prefix
from dybitq.encodings import formats
from dybitq.errors import ModelError, OutputError, StatisticsError, UnsupportedError
from dybitq.files import atomic_output, check_output
from dybitq.fit.auto import is_auto, resolve_auto
from dybitq.fit.fit import fit
from dybitq.fit.on_data import fit_on_data
from dybitq.fit.ranges import range_methods
from dybitq.fit.recode import check_recoding
from dybitq.fit.rounding import roundings
from dybitq.fit.scales import scale_methods
from dybitq.graph.export import to_bytes
from dybitq.graph.load import Network, load
from dybitq.graph.survey import survey
from dybitq.plan.check import check_plan
from dybitq.plan.recipe import Recipe, make_plan
from dybitq.plan.store import plan_text
from dybitq.records import Fitted, FittedWeight, LayerWork, Plan, Statistics
from dybitq.runtime.session import Session
from dybitq.verify.probe import ProbeResult, probe

Progress = Callable[[str, int, int], None]

_BATCH = 16  # samples of one run while fitting on data


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthShare:
    """Weights and MACs of the layers that share one weight format."""

    format: str
    bits: int
    layers: int
    weights: int
    macs: int | None
    packed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of a network is quantized, and what the file stores.

    Attributes:
        layers, weights, macs: totals of the weighted layers (``macs`` None where shapes are unknown).
        shares: the quantized part by format, widest first.
        float_layers: names of the weighted layers left in float.
        file_bytes: size of the emitted file.
        source_bytes: size of the float file, external data not counted.
        weight_bytes: packed codes and scales in the emitted file.
    """

    layers: int
    weights: int
    macs: int | None
    shares: tuple[WidthShare, ...]
    float_layers: tuple[str, ...]
    file_bytes: int
    source_bytes: int
    weight_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeResult:
    """What ``quantize`` did.

    Attributes:
        output: the file written.
        plan: as it was carried out, ``auto`` formats resolved.
        fitted_errors: relative output error of each quantized layer's weights, as fitted.
        coverage: what is quantized and stored.
        check: the emitted file against the float model in onnxruntime.
        notes: what stayed in float and why.
    """

    output: Path
    plan: Plan
    fitted_errors: Mapping[str, float]
    coverage: Coverage
    check: ProbeResult
    notes: tuple[str, ...]


def quantize(
    model: Path,
    statistics: Path,
    output: Path,
    *,
    recipe: Recipe | None = None,
    plan: Plan | None = None,
    plan_output: Path | None = None,
    data: Path | None = None,
    samples: int | None = None,
    split: str = "calib",
    force: bool = False,
    progress: Progress | None = None,
) -> QuantizeResult:
    """Quantize ``model`` with the statistics of a calibration, and check the file that was written.

    Args:
        model: float32 ONNX file; never written to.
        statistics: file made by ``dybitq calibrate`` from the same model.
        output: ONNX file to write.
        recipe: how to make the plan; the default recipe if neither this nor ``plan`` is given.
        plan: decisions to carry out instead of a recipe.
        plan_output: YAML file for the plan that was carried out.
        data: data spec, npz or folder: fit every layer on what the quantized layers before it feed.
        samples: how many samples of ``data``, None for all.
        split: which split of ``data``.
        force: replace existing outputs.
        progress: called with stage, done, total.

    Raises:
        ConfigError: recipe or plan do not fit the model.
        StatisticsError: the statistics are of another model, or incomplete.
        UnsupportedError: nothing in the model can be quantized.
        OutputError: an output exists or cannot be written.
    """
    for path in filter(None, (output, plan_output)):
        check_output(path, force=force, inputs=(model, statistics))
    network = load(model)
    found = load_statistics(statistics)
    _check_statistics(network, found, statistics)
    layers = {layer.name: layer for layer in survey(network)}
    if plan is None:
        plan = make_plan(network, tuple(layers.values()), recipe or Recipe())
    check_plan(network, layers, plan)
    _check_methods(plan)
    plan = resolve_auto(network, layers, plan, found)
    _check_something(plan, network)
    if data is None:
        fitted = fit(network, layers, plan, found, progress)
    else:
        inputs = Session(to_bytes(network.model), name=str(model)).inputs
        source = load_data(data, inputs=inputs, split=split, batch_size=_BATCH, samples=samples)
        build = partial(prefix, network, layers, plan)
        fitted = fit_on_data(network, layers, plan, found, source, build, progress)
    emitted = emit(network, layers, plan, fitted)
    statistics_sha256 = hashlib.sha256(statistics.read_bytes()).hexdigest()
    stamp(emitted, plan, model_sha256=network.sha256, statistics_sha256=statistics_sha256)
    check = _write(to_bytes(emitted), output, network, found, force=force)
    if plan_output is not None:
        with atomic_output(plan_output, force=force) as temporary:
            temporary.write_text(plan_text(plan), encoding="utf-8")
    return QuantizeResult(
        output=output,
        plan=plan,
        fitted_errors={name: weight.error for name, weight in fitted.weights.items()},
        coverage=coverage_of(layers, fitted, output.stat().st_size, model.stat().st_size),
        check=check,
        notes=network.notes,
    )


def _check_statistics(network: Network, statistics: Statistics, path: Path) -> None:
    if statistics.model_sha256 != network.sha256:
        raise StatisticsError(
            f"{path}: made for another model (sha256 {statistics.model_sha256[:12]}...), but "
            f"{network.path} has {network.sha256[:12]}...; run dybitq calibrate on this model"
        )


def _check_methods(plan: Plan) -> None:
    """Every name in a plan is known before the work starts."""
    for layer in plan.layers:
        scale_methods.get(layer.scale)
        if layer.weights not in ("float", "activation") and not is_auto(layer.weights):
            formats.get(layer.weights)
        roundings.get(layer.rounding)
        check_recoding(layer.recode)
    for edge in plan.edges:
        range_methods.get(edge.range)


def _check_something(plan: Plan, network: Network) -> None:
    if all(layer.weights in ("float", "activation") for layer in plan.layers):
        why = (
            "; ".join(network.notes)
            or "it has no Conv, ConvTranspose, Gemm, MatMul or embedding with weights"
        )
        raise UnsupportedError(f"{network.path}: nothing would be quantized: {why}")


def _write(
    emitted: bytes, output: Path, network: Network, statistics: Statistics, *, force: bool
) -> ProbeResult:
    """Write the file under a temporary name, run it, and only then give it its own."""
    with atomic_output(output, force=force) as temporary:
        try:
            temporary.write_bytes(emitted)
        except OSError as error:
            raise OutputError(f"{output}: cannot be written: {error.strerror}") from error
        result = probe(temporary, network, statistics)
        if not result.finite:
            raise ModelError(
                f"{output}: not kept: the quantized model gives NaN or infinity where {network.path} does not"
            )
    return result


def coverage_of(
    layers: Mapping[str, LayerWork], fitted: Fitted, file_bytes: int, source_bytes: int
) -> Coverage:
    """Count what is quantized at which width."""
    shares: dict[str, list[FittedWeight]] = {}
    names: dict[str, list[str]] = {}
    for name, weight in fitted.weights.items():
        shares.setdefault(weight.format.name, []).append(weight)
        names.setdefault(weight.format.name, []).append(name)
    rows = [
        WidthShare(
            format=name,
            bits=found[0].format.bits,
            layers=len(found),
            weights=sum(w.codes.size for w in found),
            macs=_sum_macs([layers[n] for n in names[name]]),
            packed_bytes=sum(-(-w.codes.size * w.format.bits // 8) for w in found),
        )
        for name, found in shares.items()
    ]
    weighted = [layer for layer in layers.values() if layer.weight_count]
    scales = sum(w.scale.nbytes for w in fitted.weights.values())
    return Coverage(
        layers=len(weighted),
        weights=sum(layer.weight_count for layer in weighted),
        macs=_sum_macs(weighted),
        shares=tuple(sorted(rows, key=lambda row: (-row.bits, row.format))),
        float_layers=tuple(layer.name for layer in weighted if layer.name not in fitted.weights),
        file_bytes=file_bytes,
        source_bytes=source_bytes,
        weight_bytes=sum(row.packed_bytes for row in rows) + int(np.sum(scales)),
    )


def _sum_macs(layers: list[LayerWork]) -> int | None:
    known = [layer.macs for layer in layers if layer.macs is not None]
    return sum(known) if len(known) == len(layers) else None
