"""Sweeps: the grid's order, the same prices as one by one, refused points, processes."""

import pytest

from dybitq.errors import ConfigError
from dybitq.hardware.machine import load_machine
from dybitq.hardware.price import simulate
from dybitq.hardware.sweep import parse_sweep, sweep
from tests.hardware.reference import resnet18


def test_grid_syntax():
    """Lists, ranges with their end, words; several fields in one text."""
    grid = parse_sweep("array.rows=8,16,32,dram.gb_per_s=4:12:4,array.dataflow=os,ws")
    assert grid == {"array.rows": (8, 16, 32), "dram.gb_per_s": (4, 8, 12), "array.dataflow": ("os", "ws")}
    assert parse_sweep("dram.gb_per_s=0.5:1:0.25") == {"dram.gb_per_s": (0.5, 0.75, 1.0)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8,16", "expected FIELD=VALUES"),
        ("array.rows=8:4:1", "positive step"),
        ("array.rows=1:8:0", "positive step"),
        ("array.rows=", "empty value"),
        ("array.rows=4:32", "expected FIRST:LAST:STEP"),
        ("array.rows=1,array.rows=2", "given twice"),
        ("array.rows=1:2000:1,array.cols=1:2000:1", "at most 1000000"),
    ],
)
def test_grid_mistakes(text, message):
    """What cannot be a grid is refused."""
    with pytest.raises(ConfigError, match=message):
        parse_sweep(text)


def test_points_equal_single_runs():
    """Each point is what simulating that machine gives; the last field is the fastest."""
    work = resnet18()
    result = sweep(work, "int8_sa", {"array.rows": (16, 32), "array.dataflow": ("os", "ws")})
    assert [tuple(point.settings.values()) for point in result.points] == [
        (16, "os"), (16, "ws"), (32, "os"), (32, "ws"),
    ]  # fmt: skip
    for point in result.points:
        report = simulate(work, load_machine("int8_sa", dict(point.settings)))
        assert point.latency_us == report.latency_us
        assert point.energy_pj == pytest.approx(report.energy_pj)


def test_refused_points_carry_their_reason():
    """A machine that is wrong or too small does not end the sweep."""
    result = sweep(resnet18(), "int8_sa", {"array.rows": (0, 32), "buffers.out_kb": (0.001, 256)})
    assert [bool(point.error) for point in result.points] == [True, True, True, False]
    assert "cannot hold one tile" in result.points[2].error
    assert [point.pareto for point in result.points] == [False, False, False, True]


def test_processes_give_the_same_points():
    """Two workers, many points: order and numbers stay."""
    fields = {"array.rows": (16, 32), "dram.gb_per_s": tuple(range(1, 102))}
    work, seen = resnet18(), []
    alone = sweep(work, "zcu102_dpu_b4096", {"dram.gb_per_s": fields["dram.gb_per_s"] * 2})
    both = sweep(
        work,
        "zcu102_dpu_b4096",
        {"dram.gb_per_s": fields["dram.gb_per_s"] * 2},
        workers=2,
        progress=lambda stage, done, total: seen.append((done, total)),
    )
    assert alone == both
    assert seen[-1] == (202, 202)


def test_unknown_machine_is_an_error():
    """Only points are forgiven, not the machine they start from."""
    with pytest.raises(ConfigError, match="unknown machine"):
        sweep(resnet18(), "nothing", {"array.rows": (8,)})
