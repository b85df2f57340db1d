"""``dybitq quantize`` as a function."""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Unpack

from dybitq.api.inspect import inspect
from dybitq.api.integer import plan_of, quantize_to_integers
from dybitq.api.opened import StatisticsLike, opened, statistics_file
from dybitq.api.recipe import PlanLike, RecipeLike, RecipeOptions, files_of, plan_of_request, recipe_of
from dybitq.calibration import store
from dybitq.data.memory import Data, DataLike, data_of
from dybitq.data.source import DataSource
from dybitq.data.spec import data_files, load_data
from dybitq.emit.emit import emit
from dybitq.emit.metadata import reasons, stamp
from dybitq.emit.prefix import prefix
from dybitq.emit.target import check_target, target_of
from dybitq.emit.validity import check_valid
from dybitq.errors import ConfigError, ModelError, UnsupportedError, counted, first_of
from dybitq.files import atomic_output, check_output, path_of
from dybitq.fit.auto import resolve_auto
from dybitq.fit.fit import fit
from dybitq.fit.magnitudes import check_magnitudes
from dybitq.fit.notes import fit_notes
from dybitq.fit.on_data import fit_on_data
from dybitq.fit.rebalance.balance import balance
from dybitq.graph.export import to_bytes
from dybitq.graph.load import Network
from dybitq.graph.read import external_files, read
from dybitq.graph.source import Graph, ModelLike, model_source
from dybitq.plan.check import check_plan
from dybitq.plan.recipe import Recipe
from dybitq.plan.store import plan_text
from dybitq.records.arithmetic import FLOAT_RESCALE
from dybitq.records.fitted import Fitted, FittedWeight
from dybitq.records.layers import LayerWork
from dybitq.records.models import ModelInMemory, ModelSource, file_of, size_bytes
from dybitq.records.plan import Plan
from dybitq.records.progress import Progress
from dybitq.records.statistics import Statistics
from dybitq.report.quantize import Coverage, FloatOperator, QuantizeResult, WidthShare
from dybitq.runtime.session import Session
from dybitq.verification.probe import ProbeResult, probe

_NO_LAYERS = "it has no Conv, ConvTranspose, Gemm, MatMul or embedding with weights"
_NAMES_SHOWN = 4  # layers named in a note
_BATCH = 16  # samples of one run while fitting on data


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Files to write, as far as any were asked for."""

    model: Path | None
    plan: Path | None
    force: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        """Those that were asked for."""
        return tuple(path for path in (self.model, self.plan) if path is not None)


def quantize(
    model: ModelLike,
    statistics: StatisticsLike,
    output: str | os.PathLike[str] | None = None,
    *,
    recipe: RecipeLike | None = None,
    plan: PlanLike | None = None,
    save_plan: str | os.PathLike[str] | None = None,
    data: DataLike | None = None,
    samples: int | None = None,
    split: str = "calib",
    force: bool = False,
    progress: Progress | None = None,
    **settings: Unpack[RecipeOptions],
) -> QuantizeResult:
    """Quantize ``model`` with the statistics of a calibration, and check the result in onnxruntime.

    Args:
        model: float32 network; never changed.
        statistics: of the same network, as ``calibrate`` returns or writes them.
        output: ONNX file to write; None keeps the quantized model in memory.
        recipe: how to make the plan; the default recipe if neither this nor ``plan`` is given.
        plan: decisions to carry out as they stand instead of a recipe.
        save_plan: YAML file for the plan that was carried out.
        data: data spec, .npz, folder of images or samples in memory: fit every layer on what the quantized
            layers before it feed.
        samples: how many samples of ``data``, None for all.
        split: split of the data spec to read.
        force: replace existing outputs.
        progress: called with stage, done, total.
        **settings: in place of those of the recipe, see :class:`dybitq.api.recipe.RecipeOptions`.

    Raises:
        ConfigError: recipe or plan do not fit the model.
        StatisticsError: the statistics are of another model, or incomplete.
        UnsupportedError: nothing in the model can be quantized.
        OutputError: an output exists or cannot be written.
    """
    source, given = model_source(model), None if data is None else data_of(data)
    outputs = Outputs(model=path_of(output), plan=path_of(save_plan), force=force)
    files = (*statistics_file(statistics), *files_of(recipe, plan))
    _check_outputs(outputs, source, files, given)
    asked = plan_of_request(plan, recipe, settings)
    wanted = recipe_of(recipe, settings) if asked is None else Recipe()
    network, layers, found = opened(source, statistics)
    if asked is None:
        asked = plan_of(network, tuple(layers.values()), wanted)
    _check_decisions(network, layers, asked)
    check_magnitudes(network, layers, asked, found)
    reader = partial(_source, network, given, samples, split) if given is not None else None
    made = _carry_out(network, layers, asked, found, reader, progress)
    hashes = network.sha256, store.sha256_of(found)
    stamp(made.model, made.plan, hashes=hashes, rescaled=made.rescaled, fitted_on=made.fitted_on)
    return _result(network, layers, found, made, outputs)


def _result(
    network: Network, layers: Mapping[str, LayerWork], statistics: Statistics, made: "_Made", outputs: Outputs
) -> QuantizeResult:
    built = _built(made, network, statistics, outputs)
    sizes = len(built.content), size_bytes(network.source)
    return QuantizeResult(
        content=built.content,
        output=outputs.model,
        plan=made.plan,
        fitted_errors={name: weight.error for name, weight in made.fitted.weights.items()},
        coverage=coverage_of(layers, made.fitted, sizes, built.weight_bytes),
        check=built.check,
        notes=(*_notes(network, layers, made, statistics), *_invalid(built.problem)),
        float_operators=made.float_operators,
    )


def _invalid(problem: str | None) -> tuple[str, ...]:
    """Note that the ONNX checker rejects the float network as well, if it does."""
    if problem is None:
        return ()
    return (
        f"the float network does not pass the ONNX checker, and neither does the quantized one: {problem}",
    )


def _source(network: Network, data: Data, samples: int | None, split: str) -> DataSource:
    inputs = Session(to_bytes(network.model), name=str(network.source)).inputs
    return load_data(data, inputs=inputs, split=split, batch_size=_BATCH, samples=samples)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Made:
    model: Graph
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


def _check_outputs(outputs: Outputs, model: ModelSource, files: tuple[Path, ...], data: Data | None) -> None:
    """Refuse early outputs that could not be written at the end, or that would replace an input."""
    inputs = (*file_of(model), *files, *((data,) if isinstance(data, Path) else ()))
    if any(path.exists() for path in outputs.paths):
        inputs += external_files(read(model)[0], model)
        inputs += data_files(data) if data is not None else ()
    for path in outputs.paths:
        check_output(path, force=outputs.force, inputs=inputs)
    if len({path.resolve() for path in outputs.paths}) < len(outputs.paths):
        raise ConfigError(
            f"{outputs.model}: model and plan cannot be written to the same file; choose another name"
        )


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
                f"{network.source}: nothing would be quantized: layer {left.layer!r} ({left.reason}) and all "
                "others stay in float; choose formats with --weights and --activations, a recipe or the plan"
            )
        why = "; ".join(network.notes) or _NO_LAYERS
        raise UnsupportedError(f"{network.source}: nothing would be quantized: {why}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Built:
    content: bytes
    check: ProbeResult
    problem: str | None
    weight_bytes: int


def _built(made: _Made, network: Network, statistics: Statistics, outputs: Outputs) -> _Built:
    """Serialise, check and run the model; then its file and that of the plan get their names, or neither."""
    content = to_bytes(made.model)
    problem = check_valid(content, lambda: to_bytes(network.model))
    check = probe(content, network, statistics)
    if not check.finite:
        raise ModelError(
            f"{outputs.model or 'the quantized model'}: not kept: the quantized model gives NaN or infinity "
            f"where {network.source} does not"
        )
    stored = inspect(ModelInMemory(content=content)).coverage.quantized_bytes
    with contextlib.ExitStack() as stack:
        if outputs.model is not None:
            stack.enter_context(atomic_output(outputs.model, force=outputs.force)).write_bytes(content)
        if outputs.plan is not None:
            text = stack.enter_context(atomic_output(outputs.plan, force=outputs.force))
            text.write_text(plan_text(made.plan), encoding="utf-8")
    return _Built(content=content, check=check, problem=problem, weight_bytes=stored)


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
