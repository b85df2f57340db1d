"""The price of a workload on a machine: fuse, choose widths, time, add energy, report."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dybitq.errors import UnsupportedError
from dybitq.hardware.costs import BOUNDS, Array, Costs, Operands, Widths
from dybitq.hardware.energy import Energies, energies, energy_source
from dybitq.hardware.engine import Prepared, engines
from dybitq.hardware.kernels import build, resident
from dybitq.hardware.precision import Rates, mode_name, rates
from dybitq.hardware.tiling import grid
from dybitq.schema_machine import Fusion, Machine
from dybitq.workload import EnergySplit, LayerCost, OpWork, PerOperand, SimulationReport, Workload


def prepare(workload: Workload, fusion: Fusion) -> Prepared:
    """Everything that all machines with this fusion share; keep it when pricing one workload many times."""
    kernels = build(workload, fusion)
    return Prepared(workload=workload, kernels=kernels, grid=grid(kernels))


def workload_widths(machine: Machine, prepared: Prepared) -> Widths:
    """The widths that the workload itself asks for, ``[L, 1]``."""
    workload, kernels = prepared.workload, prepared.kernels
    heads = [workload.ops[index] for index in kernels.heads]
    bits = np.array([tensor.bits for tensor in workload.tensors], dtype=np.int64)
    w = np.array([op.w_bits for op in heads], dtype=np.int64)[:, None]
    a = np.array([op.a_bits for op in heads], dtype=np.int64)[:, None]
    return stored_widths(machine, prepared, w, a, bits[:, None])


def storable(machine: Machine, bits: Array) -> Array:
    """Stored widths on this machine: a tensor wider than its multiplier is kept at the multiplier's width."""
    return np.minimum(bits, machine.precision.max_bits)


def stored_widths(machine: Machine, prepared: Prepared, w: Array, a: Array, bits: Array) -> Widths:
    """Widths of all launches from those of multipliers ``[L, P]`` and of tensors ``[T, P]``."""
    workload, kernels = prepared.workload, prepared.kernels
    bits = storable(machine, bits)
    room = machine.buffers.resident_kb * 1024 if machine.buffers else 0.0
    moving = np.where(resident(workload, kernels, bits, room), 0, bits)
    elements = np.array([tensor.elements for tensor in workload.tensors], dtype=np.float64)[:, None]
    shape = np.broadcast_shapes(w.shape, a.shape, (len(kernels.heads), bits.shape[1]))
    extra_bits, extra_words = np.zeros(shape), np.zeros(shape)
    for place, indices in enumerate(kernels.extras):
        for index in indices:
            extra_bits[place] += elements[index] * moving[index]
            extra_words[place] += elements[index] * (moving[index] > 0)

    def of(tensors: Array, values: Array) -> Array:
        return np.broadcast_to(np.where(tensors[:, None] >= 0, values[tensors], 0), shape)

    return Widths(
        w=np.broadcast_to(w, shape),
        a=np.broadcast_to(a, shape),
        weight=of(kernels.weight, moving),
        input=of(kernels.input, moving),
        output=of(kernels.output, moving),
        input_stored=np.maximum(of(kernels.input, bits), 1),
        output_stored=np.maximum(of(kernels.output, bits), 1),
        extra_bits=extra_bits,
        extra_words=extra_words,
    )


class Priced(NamedTuple):
    """Costs and energies of all launches, and the rates behind them."""

    costs: Costs
    energy: Energies
    rate: Rates
    widths: Widths


def price_arrays(machine: Machine, prepared: Prepared, widths: Widths) -> Priced:
    """Time and energy of all launches at all widths, as arrays ``[L, P]``."""
    costs = engines.get(machine.engine)(machine, prepared, widths)
    rate = rates(machine, widths.w, widths.a, (prepared.kernels.m == 1)[:, None])
    macs = prepared.kernels.macs[:, None].astype(np.float64)
    return Priced(costs, energies(machine, costs, widths, macs, rate), rate, widths)


def simulate(
    workload: Workload, machine: Machine, *, strict: bool = False, prepared: Prepared | None = None
) -> SimulationReport:
    """Price a workload.

    Args:
        workload: operators, tensors and their widths.
        machine: where it runs.
        strict: refuse widths that the machine runs as others.
        prepared: from :func:`prepare` with the machine's fusion, to save time.

    Raises:
        ConfigError: the machine cannot hold a layer.
        UnsupportedError: ``strict``, and the machine does not run a layer's widths.
    """
    ready = prepared or prepare(workload, machine.fusion)
    priced = price_arrays(machine, ready, workload_widths(machine, ready))
    notes = _width_notes(machine, ready, priced)
    if strict and notes:
        raise UnsupportedError(
            f"machine {machine.name!r} does not run these widths as asked:\n"
            + "\n".join(f"  {note}" for note in notes)
            + "\nleave --strict out to price what it runs instead"
        )
    layers = _layers(machine, ready, priced)
    cycles = float(priced.costs.total.sum())
    overhead = float(priced.costs.overhead_us.sum()) + machine.overhead.fixed_ms * 1e3
    return SimulationReport(
        workload=workload.name,
        machine=machine.name,
        status=machine.status,
        engine=machine.engine,
        clock_mhz=machine.clock_mhz,
        layers=layers,
        total_cycles=round(cycles),
        latency_us=cycles / machine.clock_mhz + overhead,
        energy_pj=sum(layer.energy.total for layer in layers),
        notes=(*workload.notes, *notes, *_machine_notes(machine, workload)),
        skipped=workload.skipped,
    )


def _machine_notes(machine: Machine, workload: Workload) -> list[str]:
    notes = [f"energy: {energy_source(machine)}"]
    if machine.vector is None and any(op.vector_ops for op in workload.ops) and machine.engine == "systolic":
        notes.append("the machine names no vector unit: work beside the products costs traffic but no cycles")
    return notes


def _width_notes(machine: Machine, prepared: Prepared, priced: Priced) -> list[str]:
    """One line for each pair of widths that runs as another pair."""
    asked: dict[tuple[int, int, int, int], int] = {}
    for place, index in enumerate(prepared.kernels.heads):
        op = prepared.workload.ops[index]
        if op.macs:
            run = int(priced.costs.w_run[place, 0]), int(priced.costs.a_run[place, 0])
            asked[(op.w_bits, op.a_bits, *run)] = asked.get((op.w_bits, op.a_bits, *run), 0) + 1
    notes = []
    for (w, a, w_run, a_run), count in sorted(asked.items()):
        if (w, a) != (w_run, a_run):
            plural = "s" if count > 1 else ""
            notes.append(
                f"{count} layer{plural} with {w}-bit weights and {a}-bit activations run at {w_run}x{a_run}"
            )
    return notes


def _shape(op: OpWork, elements: int) -> str:
    if not op.macs:
        return f"{elements}"
    groups = f"{op.groups} x " if op.groups > 1 else ""
    return f"{groups}[{op.m}, {op.k}] x [{op.k}, {op.n}]"


def _operand(counts: Operands, place: int) -> PerOperand:
    return PerOperand(
        input=round(float(counts.input[place, 0])),
        weight=round(float(counts.weight[place, 0])),
        output=round(float(counts.output[place, 0])),
    )


def _layers(machine: Machine, prepared: Prepared, priced: Priced) -> tuple[LayerCost, ...]:
    """One record for each operator, in the workload's order; riders name the launch that carries them."""
    workload, kernels = prepared.workload, prepared.kernels
    found: dict[int, LayerCost] = {}
    for place, index in enumerate(kernels.heads):
        head = workload.ops[index]
        found[index] = _launch(machine, prepared, priced, place)
        for rider in kernels.riders[place]:
            op = workload.ops[rider]
            found[rider] = LayerCost(
                name=op.name,
                op_type=op.op_type,
                fused_into=head.name,
                shape=_shape(op, workload.tensors[op.output].elements),
                out_bits=workload.tensors[op.output].bits,
                mode="fused",
                bound="compute",
            )
    return tuple(found[index] for index in sorted(found))


def _launch(machine: Machine, prepared: Prepared, priced: Priced, place: int) -> LayerCost:
    workload, kernels, costs = prepared.workload, prepared.kernels, priced.costs
    op = workload.ops[kernels.heads[place]]
    gemm = op.macs > 0

    def at(values: Array) -> float:
        return float(values[place, 0])

    w_run, a_run = int(at(costs.w_run)), int(at(costs.a_run))
    extra: Mapping[str, float] = {name: at(values) for name, values in costs.extra.items()} if gemm else {}
    return LayerCost(
        name=op.name,
        op_type=op.op_type,
        shape=_shape(op, workload.tensors[op.output].elements),
        macs=op.macs,
        w_bits=op.w_bits if gemm else 0,
        a_bits=op.a_bits,
        out_bits=int(priced.widths.output_stored[place, 0]),
        w_run=w_run if gemm else 0,
        a_run=a_run,
        mode=mode_name(machine, w_run, a_run) if gemm else "vector",
        folds=round(at(costs.folds)),
        cycles=round(at(costs.cycles)),
        fill_cycles=round(at(costs.fill)),
        stall_cycles=round(at(costs.stall)),
        total_cycles=round(at(costs.total)),
        overhead_us=at(costs.overhead_us),
        utilisation=at(costs.utilisation),
        mapping_utilisation=at(costs.mapping),
        end_to_end_utilisation=at(costs.end_to_end),
        sram_reads=_operand(costs.sram_reads, place),
        sram_writes=_operand(costs.sram_writes, place),
        dram_bytes=_operand(costs.dram, place),
        distinct_bytes=_operand(costs.distinct, place),
        energy=EnergySplit(
            mac=at(priced.energy.mac),
            buffer=at(priced.energy.buffer),
            dram=at(priced.energy.dram),
            leakage=at(priced.energy.leakage),
        ),
        bound=BOUNDS[int(at(costs.bound))],
        extra=extra,
    )
