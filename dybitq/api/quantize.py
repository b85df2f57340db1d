"""``dybitq quantize`` as a function."""

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dybitq.api.inspect import inspect
from dybitq.api.integer import FloatOperator, plan_of, quantize_to_integers
from dybitq.api.opened import opened
from dybitq.data.source import DataSource
from dybitq.data.spec import data_files, load_data
from dybitq.emit.emit import emit
from dybitq.emit.metadata import reasons, stamp
from dybitq.emit.prefix import prefix
from dybitq.emit.target import check_target, target_of
from dybitq.emit.validity import check_valid
from dybitq.errors import ConfigError, ModelError, OutputError, UnsupportedError, counted, first_of
from dybitq.files import atomic_output, check_output
from dybitq.fit.auto import resolve_auto
from dybitq.fit.fit import fit
from dybitq.fit.magnitudes import check_magnitudes
from dybitq.fit.notes import fit_notes
from dybitq.fit.on_data import fit_on_data
from dybitq.fit.rebalance.balance import balance
from dybitq.graph.export import to_bytes
from dybitq.graph.load import Network
from dybitq.graph.read import external_files, read
from dybitq.plan.check import check_plan
from dybitq.plan.recipe import Recipe
from dybitq.plan.store import plan_text
from dybitq.records.arithmetic import FLOAT_RESCALE
from dybitq.records.fitted import Fitted, FittedWeight
from dybitq.records.layers import LayerWork
from dybitq.records.plan import Plan
from dybitq.records.progress import Progress
from dybitq.records.statistics import Statistics
from dybitq.runtime.session import Session
from dybitq.verify.probe import ProbeResult, probe

_NO_LAYERS = "it has no Conv, ConvTranspose, Gemm, MatMul or embedding with weights"
_NAMES_SHOWN = 4  # layers named in a note
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
        weight_bytes: codes, scales and tables as the emitted file stores them.
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
        notes: what stayed in float and why, and where there was too little data to do as asked.
        float_operators: in integer-only arithmetic, everything that is none.
    """

    output: Path
    plan: Plan
    fitted_errors: Mapping[str, float]
    coverage: Coverage
    check: ProbeResult
    notes: tuple[str, ...]
    float_operators: tuple[FloatOperator, ...] = ()


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
    _check_outputs(model, statistics, output, plan_output, data, force=force)
    network, layers, found = opened(model, statistics)
    if plan is None:
        plan = plan_of(network, tuple(layers.values()), recipe or Recipe())
    _check_decisions(network, layers, plan)
    check_magnitudes(network, layers, plan, found)
    reader = partial(_source, network, data, samples, split) if data is not None else None
    made = _carry_out(network, layers, plan, found, reader, progress)
    hashes = network.sha256, _sha256(statistics)
    stamp(made.model, made.plan, hashes=hashes, rescaled=made.rescaled, fitted_on=made.fitted_on)
    written = _written(made, network, found, output, plan_output, force=force)
    return QuantizeResult(
        output=output,
        plan=made.plan,
        fitted_errors={name: weight.error for name, weight in made.fitted.weights.items()},
        coverage=coverage_of(
            layers, made.fitted, (written.file_bytes, model.stat().st_size), written.weight_bytes
        ),
        check=written.check,
        notes=(*_notes(network, layers, made, found), *_invalid(written.problem)),
        float_operators=made.float_operators,
    )


def _invalid(problem: str | None) -> tuple[str, ...]:
    """Note that the ONNX checker rejects the float network as well, if it does."""
    if problem is None:
        return ()
    return (
        f"the float network does not pass the ONNX checker, and neither does the quantized one: {problem}",
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _source(network: Network, data: Path, samples: int | None, split: str) -> DataSource:
    inputs = Session(to_bytes(network.model), name=str(network.path)).inputs
    return load_data(data, inputs=inputs, split=split, batch_size=_BATCH, samples=samples)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Made:
    model: Any
    plan: Plan
    fitted: Fitted
    rescaled: tuple[str, ...]
    float_operators: tuple[FloatOperator, ...] = ()
    fitted_on: str = ""


def _carry_out(
    network: Network,
    layers: Mapping[str, LayerWork],
    plan: Plan,
    statistics: Statistics,
    source: Callable[[], DataSource] | None,
    progress: Progress | None,
) -> _Made:
    """Fit and build in the arithmetic of the plan, from the statistics alone or layer by layer on data."""
    if plan.arithmetic != FLOAT_RESCALE and source is not None:
        raise ConfigError("--data is not combined with --integer-only; leave one of the two out")
    even = balance(network, layers, plan, statistics)
    if plan.arithmetic != FLOAT_RESCALE:
        integer = quantize_to_integers(even.network, layers, plan, even.statistics, progress)
        return _Made(
            model=integer.model,
            plan=integer.plan,
            fitted=replace(integer.fitted, notes=(*integer.fitted.notes, *even.notes)),
            rescaled=even.rescaled,
            float_operators=integer.float_operators,
        )
    network, layers, statistics = even.network, even.layers, even.statistics
    plan = resolve_auto(network, layers, even.plan, statistics, target_of(plan).carries)
    fitted_on = ""
    if source is None:
        fitted = fit(network, layers, plan, statistics, progress)
    else:
        samples = source()
        fitted_on = f"{samples.samples or 'all'} samples of {samples.where}"
        build = partial(prefix, network, layers, plan)
        fitted = fit_on_data(network, layers, plan, statistics, samples, build, progress)
        fitted = replace(fitted, notes=(f"fitted layer by layer on {fitted_on}", *fitted.notes))
    fitted = replace(fitted, notes=(*fitted.notes, *even.notes))
    model = emit(network, layers, plan, fitted)
    return _Made(model=model, plan=plan, fitted=fitted, rescaled=even.rescaled, fitted_on=fitted_on)


def _check_outputs(
    model: Path, statistics: Path, output: Path, plan_output: Path | None, data: Path | None, *, force: bool
) -> None:
    inputs: tuple[Path, ...] = (model, statistics)
    if output.exists() or (plan_output is not None and plan_output.exists()):
        inputs += external_files(read(model)[0], model)
        inputs += data_files(data) if data is not None else ()
    for path in filter(None, (output, plan_output)):
        check_output(path, force=force, inputs=inputs)
    if plan_output is not None and plan_output.resolve() == output.resolve():
        raise ConfigError(f"{output}: model and plan cannot be written to the same file; choose another name")


def _notes(
    network: Network, layers: Mapping[str, LayerWork], made: "_Made", statistics: Statistics
) -> tuple[str, ...]:
    """Everything that was not done as asked, or on too little data."""
    return (
        *network.notes,
        *_float_notes(reasons(made.model)),
        *made.fitted.notes,
        *fit_notes(layers, made.plan, statistics, made.fitted),
    )


def _float_notes(found: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """One sentence for each reason why layers were planned for int8 kernels but compute in float."""
    notes = []
    for reason, names in found.items():
        count, shown = counted(len(names), "layer"), first_of(names, _NAMES_SHOWN)
        notes.append(f"{count} computed in float32 with packed weights ({shown}): {reason}")
    return tuple(notes)


def _check_decisions(network: Network, layers: Mapping[str, LayerWork], plan: Plan) -> None:
    """Refuse a plan that does not fit the model or its target, or that leaves nothing to do."""
    check_plan(network, layers, plan)
    check_target(plan, layers)
    _check_something(plan, network)


def _check_something(plan: Plan, network: Network) -> None:
    if not any(layer.has_coded_weights for layer in plan.layers):
        left = next((layer for layer in plan.layers if layer.in_float), None)
        if left is not None:
            raise UnsupportedError(
                f"{network.path}: nothing would be quantized: layer {left.layer!r} ({left.reason}) and all "
                "others stay in float; choose formats with --weights and --activations, a recipe or the plan"
            )
        why = "; ".join(network.notes) or _NO_LAYERS
        raise UnsupportedError(f"{network.path}: nothing would be quantized: {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    check: ProbeResult
    problem: str | None
    file_bytes: int
    weight_bytes: int


def _written(
    made: _Made,
    network: Network,
    statistics: Statistics,
    output: Path,
    plan_output: Path | None,
    *,
    force: bool,
) -> _Written:
    """Write and check; both files get their names at the very end, or neither does."""
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(atomic_output(output, force=force))
        emitted = to_bytes(made.model)
        problem = check_valid(emitted, lambda: to_bytes(network.model))
        check = _write(emitted, temporary, output, network, statistics)
        stored = inspect(temporary).coverage.quantized_bytes
        if plan_output is not None:
            text = stack.enter_context(atomic_output(plan_output, force=force))
            text.write_text(plan_text(made.plan), encoding="utf-8")
        size = temporary.stat().st_size
    return _Written(check=check, problem=problem, file_bytes=size, weight_bytes=stored)


def _write(
    emitted: bytes, temporary: Path, output: Path, network: Network, statistics: Statistics
) -> ProbeResult:
    """Write the file under its temporary name and run it."""
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
    layers: Mapping[str, LayerWork], fitted: Fitted, sizes: tuple[int, int], stored_bytes: int
) -> Coverage:
    """Count what is quantized at which width; ``sizes`` of emitted and float file."""
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
            weights=sum(layers[n].weight_count for n in names[name]),  # features may be split: more codes
            macs=_sum_macs([layers[n] for n in names[name]]),
            packed_bytes=sum(-(-w.codes.size * w.format.bits // 8) for w in found),
        )
        for name, found in shares.items()
    ]
    weighted = [layer for layer in layers.values() if layer.weight_count]
    return Coverage(
        layers=len(weighted),
        weights=sum(layer.weight_count for layer in weighted),
        macs=_sum_macs(weighted),
        shares=tuple(sorted(rows, key=lambda row: (-row.bits, row.format))),
        float_layers=tuple(layer.name for layer in weighted if layer.name not in fitted.weights),
        file_bytes=sizes[0],
        source_bytes=sizes[1],
        weight_bytes=stored_bytes,
    )


def _sum_macs(layers: list[LayerWork]) -> int | None:
    known = [layer.macs for layer in layers if layer.macs is not None]
    return sum(known) if len(known) == len(layers) else None
