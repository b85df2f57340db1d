"""``dybitq hardware`` from the command line."""

import json

import yaml
from click.testing import CliRunner

from dybitq.cli.main import group
from dybitq.hardware.machine import load_machine, preset_names


def hardware(*words, code=0):
    """Run the verb; the exit code has to be ``code``."""
    result = CliRunner().invoke(group, ["hardware", *words])
    assert result.exit_code == code, result.output
    return result


def test_list():
    """Every preset with its status."""
    text = hardware("list").stdout
    assert len(text.splitlines()) == len(preset_names()) + 1
    machines = json.loads(hardware("list", "--json").stdout)["machines"]
    assert [machine["name"] for machine in machines] == list(preset_names())
    assert {machine["status"] for machine in machines} <= {
        "exact",
        "calibrated",
        "published",
        "rule",
        "assumed",
    }


def test_show_can_be_edited_and_used(tmp_path):
    """What is shown is a machine file that means the same."""
    text = hardware("show", "loom_like", "--set", "array.rows=8").stdout
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert load_machine(str(path)) == load_machine("loom_like", {"array.rows": 8})
    assert json.loads(hardware("show", "loom_like", "--json").stdout)["machine"]["array"]["rows"] == 4
    assert "extends" not in yaml.safe_load(text)


def test_check(tmp_path):
    """Valid machines get a line; constants without a source are listed; mistakes end with 2."""
    assert hardware("check", "tpu_v1", "int8_sa").stdout == (
        "tpu_v1: valid; systolic, 700 MHz, published\nint8_sa: valid; systolic, 500 MHz, assumed\n"
    )
    path = tmp_path / "mine.yaml"
    path.write_text("extends: int8_sa\nname: mine\noverhead: {per_layer_us: 3}\n")
    assert "  no source stated: overhead.per_layer_us\n" in hardware("check", str(path)).stdout
    path.write_text("extends: int8_sa\narray: {rows: x}\n")
    result = hardware("check", str(path), code=2)
    assert "array.rows: input should be a valid integer" in result.stderr
    assert result.stdout == ""
