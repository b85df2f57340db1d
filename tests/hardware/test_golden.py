"""The closed forms against the register-level array and the cycle-by-cycle pipeline."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dybitq.errors import ConfigError
from dybitq.hardware.array_core import array_cycles, layout
from dybitq.hardware.machine import load_machine
from dybitq.hardware.price import simulate
from dybitq.hardware.tiling import M_OUTER, M_OUTER_HOLD, N_OUTER, N_OUTER_HOLD, pipeline, transfers
from tests.hardware.golden.array import Unit, multiply
from tests.hardware.golden.pipeline import Cycles, Nest, run
from tests.hardware.reference import Layers

ORDERS = {
    N_OUTER: ("n,m,k", ""),
    N_OUTER_HOLD: ("n,m,k", "weights"),
    M_OUTER: ("m,n,k", ""),
    M_OUTER_HOLD: ("m,n,k", "inputs"),
}
small = st.integers(1, 5)


def closed_form(
    shape: tuple[int, int, int], rows: int, cols: int, flow: str, *, overlap: bool, unit: Unit
) -> int:
    """Array cycles of ``[m, k] x [k, n]`` with units of these blocks."""
    m, k, n = (-(-extent // block) for extent, block in zip(shape, (unit.m, unit.k, unit.n)))
    spread = layout(flow, np.int64(m), np.int64(k), np.int64(n))
    folds = -(-spread.rows // rows) * -(-spread.cols // cols)
    return int(array_cycles(flow, folds, spread.time * unit.serial, rows, cols, overlap=overlap))


def check(shape: tuple[int, int, int], rows: int, cols: int, flow: str, *, overlap: bool, unit: Unit) -> None:
    """Values and cycles of one product."""
    m, k, n = shape
    rng = np.random.default_rng(m * 10000 + k * 100 + n)
    a, b = rng.integers(0, 16, (m, k)), rng.integers(0, 16, (k, n))
    result, cycles = multiply(a, b, rows, cols, flow, overlap=overlap, unit=unit)
    np.testing.assert_array_equal(result, a @ b)
    assert cycles == closed_form(shape, rows, cols, flow, overlap=overlap, unit=unit)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("flow", ["os", "ws", "is"])
@settings(max_examples=25, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 14)] * 3), rows=small, cols=small)
def test_array(flow, overlap, shape, rows, cols):
    """Plain units in every dataflow, with and without overlapping folds."""
    check(shape, rows, cols, flow, overlap=overlap, unit=Unit())


@pytest.mark.parametrize("shape", [(64, 64, 64), (37, 29, 53), (1, 60, 40), (60, 3, 5)])
@pytest.mark.parametrize("flow", ["os", "ws", "is"])
def test_larger_products(flow, shape):
    """Products of up to 64 on a 16x16 array, folds overlapping."""
    check(shape, 16, 16, flow, overlap=True, unit=Unit())


BITS4 = tuple((bit, 1) for bit in range(4))
UNITS = {
    "fused along the reduction, four products": Unit(k=4),
    "fused rows by columns, 2 x 4": Unit(m=2, n=4),
    "bit-serial activations, two lanes": Unit(m=2, a_planes=BITS4),
    "bit-serial both": Unit(m=2, n=2, a_planes=BITS4, w_planes=BITS4),
    "planes on words of eight": Unit(k=8, a_planes=BITS4, w_planes=BITS4),
    "tables of two-bit slices": Unit(k=2, a_planes=((0, 2), (2, 2)), w_planes=((0, 2), (2, 2))),
}


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("flow", ["os", "ws", "is"])
@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS.keys())
def test_units(unit, flow, overlap):
    """Every kind of multiplier: values recombine exactly, cycles follow."""
    for shape in ((9, 11, 7), (3, 17, 10)):
        check(shape, 3, 2, flow, overlap=overlap, unit=unit)


def test_results_would_collide_if_folds_came_faster():
    """A fold shorter than the column of units cannot be followed at once: the reason for max(time, rows)."""
    rows, length = 4, 2
    finished = [start + length - 1 + row for start in (0, length) for row in range(rows)]
    assert len(set(finished)) < len(finished)
    spaced = [start + length - 1 + row for start in (0, rows) for row in range(rows)]
    assert len(set(spaced)) == len(spaced)


def closed_pipeline(nest: Nest, cycles: Cycles) -> tuple[int, int]:
    """Total and stall cycles by the closed form."""
    order = next(code for code, (name, held) in ORDERS.items() if (name, held) == (nest.order, nest.held))

    def one(value: int) -> np.ndarray:
        return np.array([float(value)])

    moves = transfers(
        np.array([order]),
        (one(nest.m), one(nest.n), one(nest.k)),
        *(one(value) for value in (cycles.inputs, cycles.weights, cycles.outputs, cycles.extra)),
    )
    inner, outer = (nest.m, nest.n) if nest.order == "n,m,k" else (nest.n, nest.m)
    total, stall = pipeline(
        one(cycles.compute), moves, (one(nest.k), one(inner), one(outer), one(nest.groups))
    )
    return int(total[0]), int(stall[0])


@settings(max_examples=300, deadline=None)
@given(
    order=st.sampled_from(sorted(ORDERS)),
    trips=st.tuples(*[st.integers(1, 4)] * 4),
    ports=st.tuples(*[st.integers(0, 9)] * 4),
    compute=st.integers(1, 20),
)
def test_pipeline(order, trips, ports, compute):
    """Two buffers, one port: total cycles of every loop order and tile count."""
    name, held = ORDERS[order]
    nest = Nest(*trips, name, held)
    cycles = Cycles(*ports, compute)
    total, stall = closed_pipeline(nest, cycles)
    assert total == run(nest, cycles)
    assert stall >= 0


@pytest.mark.parametrize("flow", ["os", "ws", "is"])
def test_groups_that_share_the_array(flow):
    """Two groups along the diagonal: one fold computes both, the rest of the array multiplies zeros."""
    rng = np.random.default_rng(0)
    a = [rng.integers(0, 16, (3, 2)) for _ in range(2)]
    b = [rng.integers(0, 16, (2, 3)) for _ in range(2)]
    if flow == "os":  # rows and columns of different groups meet too; their sums are not used
        result, cycles = multiply(np.vstack(a), np.hstack(b), 6, 6, flow, overlap=False, unit=Unit())
        parts = result[:3, :3], result[3:, 3:]
        assert cycles == closed_form((3, 2, 3), 6, 6, flow, overlap=False, unit=Unit())
    else:
        left, right = (a, b) if flow == "ws" else ([m.T for m in b], [m.T for m in a])
        block = np.zeros((4, 6), dtype=int)
        block[:2, :3], block[2:, 3:] = right
        result, cycles = multiply(np.hstack(left), block, 4, 6, "ws", overlap=False, unit=Unit())
        parts = result[:, :3], result[:, 3:]
        parts = parts if flow == "ws" else tuple(part.T for part in parts)
        assert cycles == closed_form((3, 2, 3), 4, 6, flow, overlap=False, unit=Unit())
    for index in range(2):
        np.testing.assert_array_equal(parts[index], a[index] @ b[index])


@pytest.mark.parametrize(("share", "folds"), [(False, 12), (True, 6)])
def test_layer_whose_groups_share_the_array(share, folds):
    """Twelve depthwise channels of nine taps: 32 rows hold two of them (a power of two), so six folds."""
    machine = load_machine("int8_sa", {"array.dataflow": "ws", "array.pack_groups": share})
    assert machine.array is not None
    layers = Layers()
    layers.conv("x", 12, 12, 3, 1, group=12)
    cost = simulate(layers.workload(), machine).layers[0]
    assert cost.folds == folds
    groups = int(cost.extra["tiles_group"])
    rows, cols = machine.array.rows, machine.array.cols
    assert (rows, cols) == (32, 32)
    flow, overlap = machine.array.dataflow, machine.array.overlap_folds
    per_tile, one = np.int64(folds // groups), np.int64(1)
    assert cost.cycles == groups * array_cycles(flow, per_tile, one, rows, cols, overlap=overlap)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 24)] * 3),
    flow=st.sampled_from(["os", "ws", "is"]),
    overlap=st.booleans(),
    size=st.sampled_from([2, 4]),
    kilobytes=st.sampled_from([0.0625, 0.25, 1.0]),
    bandwidth=st.sampled_from([0.1, 0.5, 4.0]),
)
def test_whole_layer(shape, flow, overlap, size, kilobytes, bandwidth):
    """The simulator's cycles of a layer, from the register-level array inside the event-driven pipeline."""
    changes = {
        "array.rows": size, "array.cols": size, "array.dataflow": flow, "array.overlap_folds": overlap,
        "buffers.act_kb": kilobytes, "buffers.wgt_kb": kilobytes, "buffers.out_kb": 2 * kilobytes,
        "dram.gb_per_s": bandwidth, "dram.burst_bytes": 1,
    }  # fmt: skip
    machine = load_machine("int8_sa", changes)
    layers = Layers()
    layers.gemm("x", *shape)
    try:
        cost = simulate(layers.workload(), machine).layers[0]
    except ConfigError:
        assume(False)
    trips = {name: int(cost.extra[f"tiles_{name}"]) for name in "mnk"}
    tile = {name: -(-extent // trips[name]) for name, extent in zip("mkn", shape)}
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (tile["m"], tile["k"])), rng.integers(0, 256, (tile["k"], tile["n"]))
    result, cycles = multiply(a, b, size, size, flow, overlap=overlap, unit=Unit())
    np.testing.assert_array_equal(result, a @ b)
    per_cycle = bandwidth * 1e3 / machine.clock_mhz
    sizes = tile["m"] * tile["k"], tile["k"] * tile["n"], tile["m"] * tile["n"]
    port = [-(-size_ // per_cycle) for size_ in sizes]
    name, held = ORDERS[int(cost.extra["loop_order"])]
    nest = Nest(1, trips["m"], trips["n"], trips["k"], name, held)
    assert cost.total_cycles == run(nest, Cycles(int(port[0]), int(port[1]), int(port[2]), 0, cycles))
