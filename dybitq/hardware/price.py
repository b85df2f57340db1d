"""The price of a workload on a machine: fuse, choose widths, time, add energy, report."""

from typing import NamedTuple

import numpy as np

from dybitq.errors import UnsupportedError, counted
from dybitq.hardware.costs import BOUNDS, Array, Costs, Widths
from dybitq.hardware.energy import Energies, energies, energy_source, sram_bits
from dybitq.hardware.engine import Prepared, engines
from dybitq.hardware.launches import build
from dybitq.hardware.precision import Rates, mode_name, rates, takes_codes
from dybitq.hardware.residency import lifetimes, resident
from dybitq.hardware.tiling import grid
from dybitq.records.workload import EnergySplit, LayerCost, OpWork, PerOperand, SimulationReport, Workload
from dybitq.schema.machine import Fusion, Machine, SparqUnit


def prepare(workload: Workload, fusion: Fusion) -> Prepared:
    """Prepare what all machines with this fusion share; keep it when pricing one workload many times."""
    launches = build(workload, fusion)
    extras = [(place, index) for place, indices in enumerate(launches.extras) for index in indices]
    pairs = np.array(extras, dtype=np.int64).reshape(len(extras), 2)

    return Prepared(
        workload=workload,
        launches=launches,
        grid=grid(launches),
        lives=lifetimes(workload, launches),
        bits=np.array([tensor.bits for tensor in workload.tensors], dtype=np.int64)[:, None],
        extra_place=pairs[:, 0],
        extra_tensor=pairs[:, 1],
    )


def workload_widths(machine: Machine, prepared: Prepared) -> Widths:
    """Return the workload's own widths, ``[L, 1]``, as they reach this machine's multiplier."""
    heads = [prepared.workload.ops[index] for index in prepared.launches.heads]
    reach = [_reaching(machine, prepared.workload, op) for op in heads]
    w, a = np.array(reach, dtype=np.int64).reshape(len(heads), 2).T
    return stored_widths(machine, prepared, w[:, None], a[:, None], prepared.bits)


def _reaching(machine: Machine, workload: Workload, op: OpWork) -> tuple[int, int]:
    """Widths of an operator at the multiplier.

    Codes that it cannot decode come as integers, and SPARQ windows as the stored values unless the unit
    takes windows.
    """
    w, a = op.w_bits, op.a_bits
    if op.w_integer_bits and not takes_codes(machine, op.w_family):
        w = op.w_integer_bits
    if op.a_windowed and not isinstance(machine.precision, SparqUnit):
        a = workload.tensors[op.inputs[0]].bits
    elif op.a_integer_bits and not takes_codes(machine, op.a_family):
        a = op.a_integer_bits
    return w, a


def stored_widths(machine: Machine, prepared: Prepared, w: Array, a: Array, bits: Array) -> Widths:
    """Widths of all launches from those of multipliers ``[L, P]`` and of tensors ``[T, P]``.

    A tensor wider than the machine's multiplier is stored at the multiplier's width.
    """
    launches = prepared.launches
    bits = np.minimum(bits, machine.precision.max_bits)
    room = machine.buffers.resident_kb * 1024 if machine.buffers else 0.0
    moving = np.where(resident(prepared.lives, bits, room), 0, bits) if room else bits
    shape = np.broadcast_shapes(w.shape, a.shape, (len(launches.heads), bits.shape[1]))
    extra_bits, extra_words = np.zeros(shape), np.zeros(shape)
    read = moving[prepared.extra_tensor]
    elements = prepared.lives.elements[prepared.extra_tensor, None]
    np.add.at(extra_bits, prepared.extra_place, elements * read)
    np.add.at(extra_words, prepared.extra_place, elements * (read > 0))

    def of(tensors: Array, values: Array) -> Array:
        return np.broadcast_to(np.where(tensors[:, None] >= 0, values[tensors], 0), shape)

    return Widths(
        w=np.broadcast_to(w, shape),
        a=np.broadcast_to(a, shape),
        weight=of(launches.weight, moving),
        input=of(launches.input, moving),
        output=of(launches.output, moving),
        input_stored=np.maximum(of(launches.input, bits), 1),
        output_stored=np.maximum(of(launches.output, bits), 1),
        extra_bits=extra_bits,
        extra_words=extra_words,
    )


def peak_macs(machine: Machine) -> float:
    """MACs a cycle at 8 bits, 0 where the timing model has no such number."""
    if machine.array is not None:
        eight = np.array([[8]])
        peak = rates(machine, eight, eight, np.array([[False]])).peak[0, 0]
        return float(machine.array.rows * machine.array.cols * peak)
    if machine.dpu is not None:
        return float(machine.dpu.pixels * machine.dpu.in_channels * machine.dpu.out_channels)
    if machine.roofline is not None:
        wide = [point for point in machine.roofline.points if point.w_bits == point.a_bits == 8]
        return max((point.tera_macs_per_s for point in wide), default=0.0) * 1e6 / machine.clock_mhz
    return 0.0


def bandwidth(machine: Machine) -> float:
    """GB/s of the machine's memory, 0 where the timing model has none."""
    if machine.roofline is not None:
        return max(point.gb_per_s for point in machine.roofline.points)
    return machine.dram.gb_per_s if machine.dram is not None else 0.0


class Priced(NamedTuple):
    """Costs and energies of all launches, and the rates that they follow from."""

    costs: Costs
    energy: Energies
    rate: Rates
    widths: Widths


def price_arrays(machine: Machine, prepared: Prepared, widths: Widths) -> Priced:
    """Time and energy of all launches at all widths, as arrays ``[L, P]``."""
    costs = engines.get(machine.engine)(machine, prepared, widths)
    rate = rates(machine, widths.w, widths.a, (prepared.launches.m == 1)[:, None])
    macs = prepared.launches.macs[:, None].astype(np.float64)
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
        peak_macs=peak_macs(machine),
        gb_per_s=bandwidth(machine),
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
        notes.append(
            "the machine has no vector unit: operators that are no products cost memory traffic but no cycles"
        )
    return notes


def _width_notes(machine: Machine, prepared: Prepared, priced: Priced) -> list[str]:
    """One line for each pair of widths that runs as another pair."""
    asked: dict[tuple[int, int, int, int], int] = {}
    for place, index in enumerate(prepared.launches.heads):
        op = prepared.workload.ops[index]
        if op.macs:
            run = int(priced.costs.w_run[place, 0]), int(priced.costs.a_run[place, 0])
            asked[(op.w_bits, op.a_bits, *run)] = asked.get((op.w_bits, op.a_bits, *run), 0) + 1
    notes = []
    for (w, a, w_run, a_run), count in sorted(asked.items()):
        if (w, a) != (w_run, a_run):
            weights = "float" if w >= 16 else f"{w}-bit"
            activations = "float" if a >= 16 else f"{a}-bit"
            asked_for = f"{weights} weights and {activations} activations"
            notes.append(f"{counted(count, 'layer')} with {asked_for} run at {w_run}x{a_run}")
    return notes


def _shape(op: OpWork, elements: int) -> str:
    if not op.macs:
        return f"{elements}"
    groups = f"{op.groups} x " if op.groups > 1 else ""
    return f"{groups}[{op.m}, {op.k}] x [{op.k}, {op.n}]"


class _Rows:
    """Columns of arrays ``[L, 1]`` as Python numbers, converted once."""

    def __init__(self, machine: Machine, priced: Priced) -> None:
        costs = priced.costs
        bits = sram_bits(machine, costs, priced.widths)
        self._columns = {
            name: getattr(costs, name)[:, 0].tolist()
            for name in costs.__slots__
            if name not in ("extra", *_OPERANDS)
        }
        self._extra = {name: values[:, 0].tolist() for name, values in costs.extra.items()}
        self._energy = {name: getattr(priced.energy, name)[:, 0].tolist() for name in priced.energy.__slots__}
        self._operands = {
            name: [
                np.rint(getattr(getattr(costs, name), part)[:, 0]).astype(np.int64).tolist()
                for part in ("input", "weight", "output")
            ]
            for name in _OPERANDS
        }
        self._operands["sram_bytes"] = [
            np.ceil(getattr(bits, part)[:, 0] / 8).astype(np.int64).tolist()
            for part in ("input", "weight", "output")
        ]
        self.output_bits = priced.widths.output_stored[:, 0].tolist()

    def number(self, name: str, place: int) -> float:
        """One entry of a column of ``Costs``."""
        return float(self._columns[name][place])

    def operand(self, name: str, place: int) -> PerOperand:
        """One entry for each operand."""
        inputs, weights, outputs = self._operands[name]
        return PerOperand(input=inputs[place], weight=weights[place], output=outputs[place])

    def extra(self, place: int) -> dict[str, float]:
        """Numbers that only this timing model gives."""
        return {name: values[place] for name, values in self._extra.items()}

    def energy(self, place: int) -> EnergySplit:
        """Energy by where it goes."""
        return EnergySplit(**{name: values[place] for name, values in self._energy.items()})


_OPERANDS = ("sram_reads", "sram_writes", "dram", "distinct")


def _layers(machine: Machine, prepared: Prepared, priced: Priced) -> tuple[LayerCost, ...]:
    """One record for each operator, in the workload's order; riders name the launch that carries them."""
    workload, launches = prepared.workload, prepared.launches
    rows = _Rows(machine, priced)
    costs: dict[int, LayerCost] = {}
    for place, index in enumerate(launches.heads):
        head = workload.ops[index]
        costs[index] = _launch(machine, prepared, rows, place)
        for rider in launches.riders[place]:
            op = workload.ops[rider]
            output = workload.tensors[op.output]
            costs[rider] = LayerCost(
                name=op.name,
                op_type=op.op_type,
                fused_into=head.name,
                shape=_shape(op, output.elements),
                out_bits=output.bits,
                mode="fused",
            )
    return tuple(costs[index] for index in sorted(costs))


def _launch(machine: Machine, prepared: Prepared, rows: _Rows, place: int) -> LayerCost:
    workload, launches = prepared.workload, prepared.launches
    op = workload.ops[launches.heads[place]]
    gemm = op.macs > 0
    w_run, a_run = int(rows.number("w_run", place)), int(rows.number("a_run", place))
    return LayerCost(
        name=op.name,
        op_type=op.op_type,
        shape=_shape(op, workload.tensors[op.output].elements),
        macs=op.macs,
        w_bits=op.w_bits if gemm else 0,
        a_bits=op.a_bits,
        out_bits=rows.output_bits[place],
        w_run=w_run if gemm else 0,
        a_run=a_run,
        mode=mode_name(machine, w_run, a_run) if gemm else "vector",
        folds=round(rows.number("folds", place)),
        cycles=round(rows.number("cycles", place)),
        fill_cycles=round(rows.number("fill", place)),
        stall_cycles=round(rows.number("stall", place)),
        total_cycles=round(rows.number("total", place)),
        overhead_us=rows.number("overhead_us", place),
        utilisation=rows.number("utilisation", place),
        mapping_utilisation=rows.number("mapping", place),
        end_to_end_utilisation=rows.number("end_to_end", place),
        sram_reads=rows.operand("sram_reads", place),
        sram_writes=rows.operand("sram_writes", place),
        sram_bytes=rows.operand("sram_bytes", place),
        dram_bytes=rows.operand("dram", place),
        distinct_bytes=rows.operand("distinct", place),
        energy=rows.energy(place),
        bound=BOUNDS[int(rows.number("bound", place))],
        extra=rows.extra(place) if gemm else {},
    )
