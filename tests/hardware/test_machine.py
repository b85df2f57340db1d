"""Machines: presets are complete and say where their numbers are from; mistakes are named all at once."""

import pytest

from dybitq.api.hardware import check_machine, list_machines
from dybitq.errors import ConfigError
from dybitq.hardware.machine import load_machine, parse_settings, preset_names
from dybitq.hardware.price import simulate
from tests.hardware.reference import Layers

GOOD = """
name: mine
clock_mhz: 500
array: {rows: 8, cols: 8}
buffers: {act_kb: 32, wgt_kb: 32, out_kb: 32}
dram: {gb_per_s: 4}
"""


def write(tmp_path, text, name="mine.yaml"):
    """A machine file."""
    path = tmp_path / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", preset_names())
def test_presets_state_a_source_for_every_constant(name):
    """Each preset is valid, is called like its file, and every constant has its origin."""
    machine, silent = check_machine(name)
    assert machine.name == name
    assert machine.description
    assert silent == ()


def test_assumed_presets_say_so():
    """A machine whose array is assumed is not passed off as anything better."""
    statuses = {machine.name: machine.status for machine in list_machines()}
    assert statuses["dybit_zcu102_like"] == "assumed"
    assert statuses["zcu102_dpu_b4096"] == statuses["t4_hawq_calibrated"] == "calibrated"
    assert {statuses[name] for name in ("scalesim_default", "bitfusion_45nm", "ant_28nm")} == {"exact"}


@pytest.mark.parametrize("name", [name for name in preset_names() if name != "t4_hawq_table"])
def test_every_preset_prices_a_layer(name):
    """A small layer gets a time, an energy and a bound on every machine."""
    layers = Layers()
    layers.conv("x", 16, 32, 3, 14)
    report = simulate(layers.workload(), load_machine(name))
    assert report.latency_us > 0 and report.energy_pj > 0
    assert report.layers[0].bound in ("compute", "dram", "fill", "vector")


def test_a_file_of_ones_own(tmp_path):
    """A file needs only what its timing model needs; the rest has defaults."""
    machine = load_machine(write(tmp_path, GOOD))
    assert (machine.name, machine.engine, machine.array.dataflow) == ("mine", "systolic", "ws")


def test_extends_a_preset_and_a_file(tmp_path):
    """Fields are merged section by section, through presets and files beside the file."""
    write(tmp_path, "extends: sparq_sa\narray: {rows: 8}\n", "base.yaml")
    machine = load_machine(write(tmp_path, "extends: base.yaml\ndram: {gb_per_s: 1}\n", "top.yaml"))
    assert (machine.array.rows, machine.array.cols, machine.dram.gb_per_s) == (8, 32, 1)
    assert machine.name == "top"


def test_another_precision_mode_replaces_the_unit(tmp_path):
    """Fields of the old unit do not linger."""
    path = write(tmp_path, "extends: sparq_sa\nname: x\nprecision: {mode: fixed}\n")
    assert load_machine(path).precision.mode == "fixed"


def test_extends_in_a_circle(tmp_path):
    """A circle is named, not followed."""
    write(tmp_path, "extends: b.yaml\n", "a.yaml")
    path = write(tmp_path, "extends: a.yaml\n", "b.yaml")
    with pytest.raises(ConfigError, match="extends itself"):
        load_machine(path)


def test_all_mistakes_at_once(tmp_path):
    """Unknown fields with suggestions, wrong types, zero and missing values, all in one message."""
    text = """
name: x
clock_mhz: 0
array: {rows: -1, colls: 3, dataflow: sideways}
precision: {mode: fused, axes: reduction}
dram: {gb_per_s: .inf}
enrgy: {}
"""
    with pytest.raises(ConfigError) as caught:
        load_machine(write(tmp_path, text))
    message = str(caught.value)
    for part in (
        "clock_mhz: input should be greater than 0 (found 0)",
        "array.rows: input should be greater than 0 (found -1)",
        "array.cols: missing",
        "array.colls: unknown field; did you mean 'cols'?",
        "array.dataflow: input should be 'os', 'ws' or 'is' (found 'sideways')",
        "precision.fused.axes: unknown field; did you mean 'axis'?",
        "dram.gb_per_s: input should be a finite number (found inf)",
        "enrgy: unknown field; did you mean 'energy'?",
        "buffers: missing; the timing model 'systolic' needs it",
        "9 mistakes",
    ):
        assert part in message, part


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "line 1: not valid YAML|line 2: not valid YAML"),
        ("- 1\n- 2\n", "a machine is a mapping of fields, found list"),
        ("extends: 3\n", "extends: expected the name of a preset"),
        ("extends: nowhere\n", "unknown machine 'nowhere'"),
        (GOOD + "engine: systolc\n", "unknown timing model 'systolc'; did you mean 'systolic'"),
        (GOOD + "energy: {table: horowits}\n", "unknown energy.table 'horowits'"),
        (GOOD + "energy: {mac_pj: {eight: 1}}\n", "expected keys like 4x8"),
    ],
)
def test_other_mistakes(tmp_path, text, message):
    """Broken files and names are refused with what was found."""
    layers = Layers()
    layers.gemm("x", 4, 4, 4)
    with pytest.raises(ConfigError, match=message):
        simulate(layers.workload(), load_machine(write(tmp_path, text)))


def test_unknown_preset_is_suggested():
    """A misspelt preset names the nearest."""
    with pytest.raises(ConfigError, match="Did you mean 'sparq_sa'"):
        load_machine("sparq-sa")


def test_missing_and_unreadable_files(tmp_path):
    """Files that are not there or are no text are refused."""
    with pytest.raises(ConfigError, match="cannot read the machine"):
        load_machine(str(tmp_path / "no.yaml"))
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file"):
        load_machine(str(tmp_path / "b.yaml"))


def test_settings():
    """Numbers, booleans and text are told apart; a line without = is refused."""
    settings = parse_settings(["array.rows=16", "array.overlap_folds=true", "array.dataflow=os", "name=x"])
    assert settings == {"array.rows": 16, "array.overlap_folds": True, "array.dataflow": "os", "name": "x"}
    assert load_machine("int8_sa", settings).array.rows == 16
    with pytest.raises(ConfigError, match="expected FIELD=VALUE"):
        parse_settings(["array.rows"])
    with pytest.raises(ConfigError, match=r"array\.rows: input should be a valid integer \(found 'x'\)"):
        load_machine("int8_sa", parse_settings(["array.rows=x"]))


def test_machine_that_cannot_hold_a_tile():
    """The layer and what it needs are named."""
    layers = Layers()
    layers.gemm("big", 64, 64, 64)
    tiny = load_machine("int8_sa", {"buffers.out_kb": 0.001})
    with pytest.raises(
        ConfigError, match=r"cannot hold one tile of layer 'big'.*accumulators in half of each"
    ):
        simulate(layers.workload(), tiny)


def test_colons_make_no_numbers(tmp_path):
    """``4:1`` is a mistake, in a file and as a setting, not 241."""
    assert parse_settings(["array.rows=4:1", "array.cols=4:1.5"]) == {
        "array.rows": "4:1",
        "array.cols": "4:1.5",
    }
    with pytest.raises(ConfigError, match=r"array.rows: .*found '4:1'"):
        load_machine(write(tmp_path, "extends: sparq_sa\narray: {rows: 4:1}\n"))
