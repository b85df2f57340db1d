"""Records that the simulator reads (the work of a network) and writes (its costs).

A :class:`Workload` is independent of ONNX: ``graph.work.workload`` makes it from a model,
``hardware.topology`` from a SCALE-Sim topology file, tests and benchmarks by hand. All counts are for the
whole workload's batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorWork:
    """A tensor in memory.

    Attributes:
        name: name in the model.
        elements: number of elements.
        bits: width of one stored element, in bits (codes, not the float they stand for).
        format: name of the number format the codes are in (``int8``, ``dybit4``, ``float32``).
        constant: True for weights, which are in memory before the first operator runs.
    """

    name: str
    elements: int
    bits: int
    format: str = "int8"
    constant: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvWork:
    """Geometry of a two-dimensional convolution (one-dimensional ones have height 1)."""

    batch: int
    in_h: int
    in_w: int
    in_c: int
    out_h: int
    out_w: int
    out_c: int
    kernel_h: int
    kernel_w: int
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    pad_top: int = 0
    pad_left: int = 0
    group: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OpWork:
    """One operator: matrix products, or elementwise work for the vector unit.

    Attributes:
        name: node name, unique in the workload.
        op_type: ONNX operator type.
        groups, m, k, n: ``groups`` independent products ``[m, k] x [k, n]``; ``m`` holds the batch. All 0
            for a vector operator.
        conv: geometry when the products come from a convolution.
        inputs: indices of the tensors read. For a product the first is the streamed activation and the
            second the weight (which may be another activation).
        output: index of the tensor written.
        w_bits, a_bits: widths that reach the multiplier (a SPARQ window is 4 though 8 bits are stored).
        w_family, a_family: families of the number formats, for which a multiplier may have a decoder.
        w_integer_bits, a_integer_bits: width of the integers that the codes stand for, where a multiplier
            without a decoder gets those instead (DyBit's 4-bit codes are 6-bit integers); 0 where the codes
            are the integers.
        a_windowed: the activations are windows on the stored codes, which a multiplier without windows
            takes as they are stored.
        vector_ops: elementary operations of a vector operator (elements times passes).
        in_place: moves or computes element by element, so that it can ride on its producer's output.
        view: True where it costs nothing; its tensors are parts of one storage (concatenation, slices).
    """

    name: str
    op_type: str
    groups: int = 0
    m: int = 0
    k: int = 0
    n: int = 0
    conv: ConvWork | None = None
    inputs: tuple[int, ...]
    output: int
    w_bits: int = 8
    a_bits: int = 8
    w_family: str = "int"
    a_family: str = "int"
    w_integer_bits: int = 0
    a_integer_bits: int = 0
    a_windowed: bool = False
    vector_ops: int = 0
    in_place: bool = False
    view: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.groups * self.m * self.k * self.n


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """An operator that is left out of the price, with the reason."""

    name: str
    op_type: str
    reason: str
    macs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Operators in execution order and the tensors between them.

    Attributes:
        name: of the model or file.
        tensors, ops: see above; indices in ``ops`` point into ``tensors``.
        outputs: indices of the tensors that leave the network.
        skipped: operators that could not be priced.
        notes: assumptions and exceptions (assumed batch, float layers, ...).
        convention: ``onnx``, or ``scalesim`` when sizes follow that tool's rules (no padding, ceiling).
    """

    name: str
    tensors: tuple[TensorWork, ...]
    ops: tuple[OpWork, ...]
    outputs: tuple[int, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    convention: str = "onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class PerOperand:
    """One count for each of the three operands of a product."""

    input: int = 0
    weight: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        """Sum over the operands."""
        return self.input + self.weight + self.output


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergySplit:
    """Energy of one layer in pJ."""

    mac: float = 0.0
    buffer: float = 0.0
    dram: float = 0.0
    leakage: float = 0.0

    @property
    def total(self) -> float:
        """Sum of the parts, pJ."""
        return self.mac + self.buffer + self.dram + self.leakage


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """Cost of one operator on one machine.

    Attributes:
        name, op_type: of the operator; ``fused_into`` names the operator whose tiles carry it ("" if none).
        shape: ``groups x [m, k] x [k, n]`` of a product, or the element count of a vector operator.
        macs: multiply-accumulates.
        w_bits, a_bits, out_bits: widths asked for; ``w_run``, ``a_run``: widths the hardware runs.
        mode: mode of the multiplier (``4x8 fused``).
        folds: times the array is reloaded.
        cycles: cycles in which the array (or vector unit) is occupied, edges and skew included.
        fill_cycles: memory cycles before the first and after the last computation of the layer.
        stall_cycles: cycles in which the array waits for memory in between.
        total_cycles: from the first load to the last store.
        overhead_us: fixed time per layer that the machine adds, in microseconds.
        utilisation: MACs over the most that the array can do in ``cycles`` at these widths, 0 to 1.
        mapping_utilisation: share of the array that useful work is mapped to, 0 to 1.
        end_to_end_utilisation: as ``utilisation``, over ``total_cycles``.
        sram_reads, sram_writes: on-chip buffer accesses in words of the operand's own width.
        sram_bytes: the same accesses, reads and writes together, in bytes at the width each word has on chip.
        dram_bytes: bytes moved between DRAM and chip; ``distinct_bytes``: the least that has to be moved.
        energy: in pJ.
        bound: the limit that sets the time: ``compute``, ``dram``, ``fill``, ``vector``, ``overhead`` or
            ``table``.
        extra: numbers that only one timing model has, under its own names.
    """

    name: str
    op_type: str
    fused_into: str = ""
    shape: str = ""
    macs: int = 0
    w_bits: int = 8
    a_bits: int = 8
    out_bits: int = 8
    w_run: int = 8
    a_run: int = 8
    mode: str = ""
    folds: int = 0
    cycles: int = 0
    fill_cycles: int = 0
    stall_cycles: int = 0
    total_cycles: int = 0
    overhead_us: float = 0.0
    utilisation: float = 0.0
    mapping_utilisation: float = 0.0
    end_to_end_utilisation: float = 0.0
    sram_reads: PerOperand = PerOperand()
    sram_writes: PerOperand = PerOperand()
    sram_bytes: PerOperand = PerOperand()
    dram_bytes: PerOperand = PerOperand()
    distinct_bytes: PerOperand = PerOperand()
    energy: EnergySplit = EnergySplit()
    bound: str = "compute"
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationReport:
    """The price of a workload on a machine.

    Attributes:
        workload, machine: names; ``status`` and ``engine`` of the machine, ``clock_mhz`` of its array,
            ``peak_macs`` a cycle at 8 bits and ``gb_per_s`` of its memory (0 where the model has none).
        layers: one cost per operator, in execution order.
        total_cycles: sum over layers, without fixed overheads.
        latency_us: total time, overheads included.
        energy_pj: sum over layers.
        notes: widths that ran as others, layers left out, assumptions.
        skipped: operators without a price.
    """

    workload: str
    machine: str
    status: str
    engine: str
    clock_mhz: float
    peak_macs: float
    gb_per_s: float
    layers: tuple[LayerCost, ...]
    total_cycles: int
    latency_us: float
    energy_pj: float
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPoint:
    """One machine of a sweep.

    ``settings``: fields that were set, in the order of the sweep. ``error``: reason for a missing price (""
    if it has one). ``pareto``: no other point is at least as fast and takes at least as little energy.
    """

    settings: Mapping[str, object]
    total_cycles: int = 0
    latency_us: float = 0.0
    energy_pj: float = 0.0
    dram_bytes: int = 0
    error: str = ""
    pareto: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A workload priced on a grid of machines."""

    workload: str
    machine: str
    points: tuple[SweepPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSummary:
    """A machine in one line; ``peak_macs`` is MACs a cycle at 8 bits, 0 where the timing model has none."""

    name: str
    status: str
    engine: str
    clock_mhz: float
    peak_macs: float
    description: str
