"""``dybitq simulate`` as a function."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dybitq.api.opened import opened_float
from dybitq.api.recipe import PlanLike, load_plan
from dybitq.encodings.widths import widths
from dybitq.errors import ConfigError
from dybitq.graph.source import ModelLike, model_source
from dybitq.graph.work.workload import read_workload
from dybitq.hardware.machine import load_machine, preset_names
from dybitq.hardware.price import simulate as price
from dybitq.hardware.sweep import parse_sweep
from dybitq.hardware.sweep import sweep as price_grid
from dybitq.hardware.topology import read_topology
from dybitq.hardware.widths import int8, requantized
from dybitq.plan.check import check_plan
from dybitq.plan.priced import PlanPricing
from dybitq.records.models import ModelSource
from dybitq.records.plan import Plan
from dybitq.records.progress import Progress
from dybitq.records.workload import SimulationReport, Workload
from dybitq.report.simulate import PriceComparison, SimulateResult, SweepResult

TOPOLOGY_SUFFIXES = (".csv",)


def workload_of(
    model: ModelLike,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    weights: str | None = None,
    activations: str | None = None,
    plan: PlanLike | None = None,
) -> Workload:
    """Read a model or a SCALE-Sim topology as a workload.

    Args:
        model: any ONNX model, or the path of a topology with the suffix ``.csv``.
        shapes: of graph inputs whose extents the model leaves open.
        weights, activations: formats to price instead of the model's own.
        plan: price a float model as this plan would have it quantized.

    Raises:
        ModelError: the file cannot be read, or a shape stays unknown.
        ConfigError: a shape, format or plan that does not fit.
    """
    if plan is not None and (weights or activations):
        raise ConfigError("a plan says what each layer runs at; it cannot be combined with formats for all")
    source = model_source(model)
    if isinstance(source, Path) and source.suffix.lower() in TOPOLOGY_SUFFIXES:
        workload = read_topology(source)
    else:
        workload = read_workload(source, shapes)
    if plan is not None:
        return _as_planned(workload, source, load_plan(plan))
    return requantized(
        workload,
        weights=None if weights is None else widths(weights),
        activations=None if activations is None else widths(activations),
    )


def _as_planned(workload: Workload, model: ModelSource, wanted: Plan) -> Workload:
    network, layers = opened_float(model)
    check_plan(network, layers, wanted)
    return PlanPricing(workload, network, layers).workload_of(wanted)


def simulate(
    model: ModelLike,
    hardware: str | os.PathLike[str],
    *,
    settings: Mapping[str, Any] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    weights: str | None = None,
    activations: str | None = None,
    plan: PlanLike | None = None,
    strict: bool = False,
    compare: Sequence[str] = (),
) -> SimulateResult:
    """Price a model on a machine, and beside it the same work at int8 and whatever else is asked for.

    Args:
        model: any ONNX model, or the path of a SCALE-Sim topology (``.csv``).
        hardware: preset or machine file.
        settings: dotted machine fields to change, such as ``{"array.rows": 16}``.
        shapes, weights, activations, plan: as :func:`workload_of`.
        strict: refuse widths that the machine runs as others.
        compare: presets, machine files or models.

    Raises:
        ModelError: as :func:`workload_of`.
        ConfigError: an unknown machine, or one that cannot hold a layer.
        UnsupportedError: ``strict`` and a width does not run as asked.
    """
    machine = load_machine(str(hardware), settings)
    workload = workload_of(model, shapes=shapes, weights=weights, activations=activations, plan=plan)
    report = price(workload, machine, strict=strict)
    others = [("int8", price(int8(workload), machine))]
    for name in compare:
        if name not in preset_names() and _is_model(Path(name)):
            others.append((name, price(workload_of(name, shapes=shapes), machine)))
        else:
            others.append((name, price(workload, load_machine(name))))
    return SimulateResult(
        report=report, comparisons=tuple(_compared(report, label, other) for label, other in others)
    )


def _is_model(path: Path) -> bool:
    """Tell whether a name to compare with is a model; else it is a machine, or the misspelt name of one."""
    return path.suffix in (".onnx", ".csv") or (path.is_file() and path.suffix not in (".yaml", ".yml"))


def _microseconds(report: SimulationReport) -> dict[str, float]:
    return {layer.name: layer.total_cycles / report.clock_mhz + layer.overhead_us for layer in report.layers}


def _compared(report: SimulationReport, label: str, other: SimulationReport) -> PriceComparison:
    mine, theirs = _microseconds(report), _microseconds(other)
    layers = {name: theirs[name] / time for name, time in mine.items() if time > 0 and theirs.get(name)}
    return PriceComparison(
        label=label,
        report=other,
        speedup=other.latency_us / report.latency_us if report.latency_us > 0 else 1.0,
        layer_speedups=layers,
    )


def sweep(
    model: ModelLike,
    hardware: str | os.PathLike[str],
    grid: str,
    *,
    settings: Mapping[str, Any] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    weights: str | None = None,
    activations: str | None = None,
    plan: PlanLike | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SweepResult:
    """Price a model on every machine of a grid such as ``array.rows=8,16,32,dram.gb_per_s=4:32:4``.

    Args:
        model, hardware, settings, shapes, weights, activations, plan: as for :func:`simulate`.
        grid: fields and values.
        workers: processes; None for one per processor.
        progress: called with stage, points done and points in all.

    Raises:
        ModelError, ConfigError: as :func:`simulate`; points whose machine is refused carry the reason.
    """
    fields = parse_sweep(grid)
    workload = workload_of(model, shapes=shapes, weights=weights, activations=activations, plan=plan)
    priced = price_grid(
        workload,
        str(hardware),
        fields,
        settings=settings,
        workers=workers or os.cpu_count() or 1,
        progress=progress,
    )
    return SweepResult(workload=priced.workload, machine=priced.machine, points=priced.points)
