"""What must hold on any machine for any layer."""

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from dybitq.errors import ConfigError
from dybitq.hardware.machine import load_machine
from dybitq.hardware.price import simulate
from dybitq.records.workload import LayerCost, OpWork, SimulationReport, Workload
from tests.hardware.reference import Layers

PRECISION: list[dict[str, Any]] = [
    {"mode": "fixed", "max_bits": 8},
    {"mode": "fused", "max_bits": 8, "min_bits": 2, "axis": "reduction"},
    {"mode": "fused", "max_bits": 8, "min_bits": 2, "axis": "rows_cols", "decoder_latency_cycles": 2},
    {"mode": "sparq"},
    {"mode": "bit_serial_a", "max_bits": 8, "lanes": 8},
    {"mode": "bit_serial_wa", "max_bits": 8, "lanes": 8},
    {"mode": "planes", "word_bits": 16},
    {"mode": "lut", "lookups": 8},
]
bits = st.integers(1, 8)
extent = st.integers(1, 300)
powers = st.sampled_from([1, 2, 4, 8, 16, 32])


@st.composite
def works(draw: Any) -> dict[str, Any]:
    """Parameters of one layer: a product or a convolution, possibly grouped or depthwise."""
    kind = draw(st.sampled_from(["gemm", "conv", "depthwise"]))
    if kind == "gemm":
        return {
            "kind": kind,
            "shape": draw(st.tuples(extent, extent, extent)),
            "groups": draw(st.integers(1, 4)),
        }
    return {
        "kind": kind,
        "channels": draw(st.integers(1, 40)),
        "filters": draw(st.integers(1, 40)),
        "kernel": draw(st.sampled_from([1, 3, 5])),
        "out": draw(st.integers(1, 20)),
        "stride": draw(st.integers(1, 2)),
        "batch": draw(st.integers(1, 3)),
    }


def layer(work: dict[str, Any], w: int, a: int) -> Workload:
    """The layer at these widths, stored and multiplied."""
    layers = Layers(work.get("batch", 1))
    if work["kind"] == "gemm":
        m, k, n = work["shape"]
        layers.gemm("x", m, k, n, groups=work["groups"], w=w, a=a)
    else:
        depthwise = work["kind"] == "depthwise"
        layers.conv(
            "x",
            work["channels"],
            work["channels"] if depthwise else work["filters"],
            work["kernel"],
            work["out"],
            stride=work["stride"],
            w=w,
            a=a,
            group=work["channels"] if depthwise else 1,
        )
    return layers.workload()


@st.composite
def machines(draw: Any) -> dict[str, Any]:
    """Settings of a systolic machine that can hold a tile of anything above."""
    return {
        "array.rows": draw(powers),
        "array.cols": draw(powers),
        "array.dataflow": draw(st.sampled_from(["os", "ws", "is"])),
        "array.overlap_folds": draw(st.booleans()),
        "array.pack_groups": draw(st.booleans()),
        "precision": draw(st.sampled_from(PRECISION)),
        "buffers.act_kb": draw(st.sampled_from([1, 4, 32, 256])),
        "buffers.wgt_kb": draw(st.sampled_from([1, 4, 32, 256])),
        "buffers.out_kb": draw(st.sampled_from([1, 4, 32, 256])),
        "buffers.double_buffer": draw(st.booleans()),
        "buffers.packing": draw(st.sampled_from(["dense", "word32", "pow2"])),
        "dram.gb_per_s": draw(st.sampled_from([0.1, 1, 16, 500])),
        "dram.burst_bytes": draw(st.sampled_from([1, 32, 64])),
    }


def price(machine: dict[str, Any], work: dict[str, Any], w: int, a: int) -> LayerCost:
    """Cost of the layer; hypothesis tries another one where the machine cannot hold a tile."""
    settings_ = dict(machine)
    precision = settings_.pop("precision")
    settings_ |= {f"precision.{name}": value for name, value in precision.items()}
    machine_ = load_machine("int8_sa", settings_)
    try:
        return simulate(layer(work, w, a), machine_).layers[0]
    except ConfigError:
        assume(False)
        raise


COMMON = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])


@COMMON
@given(machine=machines(), work=works(), w=bits, a=bits)
def test_traffic_and_time_are_consistent(machine, work, w, a):
    """Distinct data <= DRAM <= buffer accesses, utilisation <= 1, total >= computing and >= moving."""
    cost = price(machine, work, w, a)
    for operand in ("input", "weight", "output"):
        distinct, moved = getattr(cost.distinct_bytes, operand), getattr(cost.dram_bytes, operand)
        assert distinct <= moved
        words = getattr(cost.sram_reads, operand) + getattr(cost.sram_writes, operand)
        width = {"input": a, "weight": w, "output": a}[operand]
        if machine["dram.burst_bytes"] == 1 and machine["buffers.packing"] == "dense":
            assert moved * 8 <= words * width + 7 * cost.extra["tiles_m"] * cost.extra["tiles_n"] * 8
    assert cost.sram_reads.input >= cost.sram_writes.input
    assert cost.sram_reads.weight >= cost.sram_writes.weight
    assert 0 < cost.end_to_end_utilisation <= cost.utilisation <= cost.mapping_utilisation + 1e-12
    assert cost.mapping_utilisation <= 1 + 1e-12
    assert cost.total_cycles == cost.cycles + cost.fill_cycles + cost.stall_cycles
    per_cycle = machine["dram.gb_per_s"] * 1e3 / 500
    assert cost.total_cycles >= max(cost.cycles, cost.dram_bytes.total / per_cycle - 1e-6)


SLOW_MEMORY: dict[str, Any] = {
    "array.rows": 8,
    "array.cols": 2,
    "array.dataflow": "ws",
    "array.overlap_folds": False,
    "array.pack_groups": True,
    "precision": {"mode": "fused", "max_bits": 8, "min_bits": 2, "axis": "reduction"},
    "buffers.act_kb": 1,
    "buffers.wgt_kb": 1,
    "buffers.out_kb": 1,
    "buffers.double_buffer": False,
    "buffers.packing": "dense",
    "dram.gb_per_s": 0.1,
    "dram.burst_bytes": 1,
}
THREE_GROUPS: dict[str, Any] = {"kind": "depthwise", "channels": 3, "filters": 1, "kernel": 5, "stride": 1}


# At two bits two groups share the array: that must not force their loads to wait for each other.
@COMMON
@example(machine=SLOW_MEMORY, work={**THREE_GROUPS, "out": 2, "batch": 2}, w=3, a=3)
@example(machine=SLOW_MEMORY, work={**THREE_GROUPS, "out": 1, "batch": 1}, w=3, a=3)
@given(machine=machines(), work=works(), w=bits, a=bits)
def test_fewer_bits_are_never_slower(machine, work, w, a):
    """One bit less on either side costs no cycle."""
    assume(w > 1 and a > 1)
    here = price(machine, work, w, a).total_cycles
    assert price(machine, work, w - 1, a).total_cycles <= here
    assert price(machine, work, w, a - 1).total_cycles <= here


@COMMON
@given(
    machine=machines(),
    work=works(),
    w=bits,
    a=bits,
    field=st.sampled_from(["dram.gb_per_s", "buffers.act_kb", "buffers.wgt_kb", "buffers.out_kb"]),
)
def test_more_memory_is_never_slower(machine, work, w, a, field):
    """More bandwidth or a larger buffer costs no cycle."""
    more = {**machine, field: machine[field] * 2}
    assert price(more, work, w, a).total_cycles <= price(machine, work, w, a).total_cycles


@COMMON
@given(machine=machines(), work=works(), w=bits, a=bits, field=st.sampled_from(["array.rows", "array.cols"]))
def test_twice_the_array_is_at_most_twice_as_fast(machine, work, w, a, field):
    """Doubling rows or columns at most halves the time."""
    more = {**machine, field: machine[field] * 2}
    assert 2 * price(more, work, w, a).total_cycles >= price(machine, work, w, a).total_cycles


@pytest.mark.parametrize("preset", ["bitfusion_45nm", "ant_28nm", "zcu102_dpu_b4096", "t4_hawq_calibrated"])
@settings(max_examples=25, deadline=None)
@given(work=works(), w=bits, a=bits)
def test_other_timing_models(preset, work, w, a):
    """The same bounds hold for the models of published simulators and chips."""
    machine = load_machine(preset)
    cost = simulate(layer(work, w, a), machine).layers[0]
    assert cost.distinct_bytes.total <= cost.dram_bytes.total
    assert 0 < cost.end_to_end_utilisation <= cost.utilisation <= 1
    assert cost.total_cycles >= cost.cycles


def chain(widths: list[int], w: int, a: int) -> Workload:
    """Convolutions in a row with additions and pools between them, everything stored at ``a``."""
    layers = Layers()
    x = layers.tensor(8 * 16 * 16, a)
    channels = 8
    for index, filters in enumerate(widths):
        y = layers.conv(f"conv{index}", channels, filters, 3, 16, w=w, a=a, source=x)
        if filters == channels:
            total = layers.tensor(filters * 256, a)
            add = OpWork(
                name=f"add{index}", op_type="Add", inputs=(y, x), output=total, vector_ops=256, in_place=True
            )
            layers.ops.append(add)
            y = total
        x, channels = y, filters
    return layers.workload(x)


@COMMON
@given(
    widths=st.lists(st.sampled_from([8, 16, 32]), min_size=2, max_size=5),
    room=st.sampled_from([0, 2, 4, 8, 16]),
    w=st.integers(2, 8),
    a=st.integers(2, 8),
    bandwidth=st.sampled_from([0.5, 8]),
)
def test_networks_with_resident_tensors(widths, room, w, a, bandwidth):
    """Fewer bits or more room on chip never slow a network down."""

    def price_chain(room_: float, w_: int, a_: int) -> SimulationReport:
        changes = {"buffers.resident_kb": room_, "dram.gb_per_s": bandwidth, "precision.mode": "fused"}
        return simulate(chain(widths, w_, a_), load_machine("int8_sa", changes))

    here = price_chain(room, w, a)
    assert price_chain(room, w - 1, a).total_cycles <= here.total_cycles
    assert price_chain(room, w, a - 1).total_cycles <= here.total_cycles
    assert price_chain(2 * room, w, a).total_cycles <= here.total_cycles
