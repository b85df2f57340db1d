"""``dybitq demo``: the whole road, once for all tests of this file."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

import dybitq.api.demo
from dybitq.cli.main import group

FILES = {
    "LICENSE-digits.txt",
    "digits.npz",
    "digits.onnx",
    "digits.stats",
    "digits.yaml",
    "dybit4.onnx",
    "int8.onnx",
}


def run(*args: str) -> Result:
    """Outcome of ``dybitq demo ARGS``."""
    return CliRunner().invoke(group, ["demo", *args])


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The demo's folder, and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "play"
    return folder, run("-o", str(folder))


def test_demo_leaves_its_files_and_nothing_else(first):
    """With ``-o`` the folder holds model, data, statistics and both results, and no temporary file stays."""
    folder, result = first
    assert (result.exit_code, result.stderr) == (0, "")
    assert {path.name for path in folder.iterdir()} == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["play"]


def test_demo_prints_every_step(first):
    """What is printed shows the command of each step and ends in a table with a row for every file."""
    _, result = first
    shown = [line for line in result.stdout.splitlines() if line.startswith("> dybitq ")]
    verbs = [line.split()[2] for line in shown]
    assert verbs == ["calibrate", *["quantize", "evaluate", "simulate"] * 2]
    table = result.stdout.split("\n\n")[-2].splitlines()
    assert [row.split()[0] for row in table] == ["file", "digits.onnx", "int8.onnx", "dybit4.onnx"]


def test_demo_commands_do_what_they_say(first, monkeypatch):
    """The commands that the demo prints run in its folder and write the very same files."""
    folder, result = first
    monkeypatch.chdir(folder)
    before = {name: Path(name).read_bytes() for name in ("digits.stats", "int8.onnx", "dybit4.onnx")}
    for line in result.stdout.splitlines():
        if line.startswith("> dybitq "):
            words = line.split()[2:]
            force = ["--force"] if "-o" in words else []
            again = CliRunner().invoke(group, [*words, *force])
            assert again.exit_code == 0, again.output
    assert {name: Path(name).read_bytes() for name in before} == before


def test_demo_figures(tmp_path):
    """Accuracy, size and price are what this network should give: int8 for free, dybit4 nearly so."""
    result = run("--json")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1
    int8, dybit4 = document["models"]
    drops = [model["evaluate"]["metrics"]["top-1"]["drop"] for model in (int8, dybit4)]
    assert drops[0] <= 0.5
    assert drops[1] <= 1.5
    sizes = [model["quantize"]["coverage"]["file_bytes"] for model in (int8, dybit4)]
    assert sizes[1] < sizes[0] < 60_000
    cycles = [model["simulate"]["totals"]["total_cycles"] for model in (int8, dybit4)]
    assert cycles[1] < cycles[0]


def test_demo_keeps_what_is_there(first):
    """A second run into the same folder is refused without ``--force`` and changes nothing."""
    folder, _ = first
    (folder / "int8.onnx").touch()
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    result = run("-o", str(folder))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {folder / 'digits.onnx'}: exists already; use --force to replace it\n"
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_demo_into_a_missing_place(tmp_path):
    """A folder whose parent does not exist is refused before any work is done."""
    result = run("-o", str(tmp_path / "no" / "play"))
    assert result.exit_code == 1
    assert "does not exist; create it first" in result.stderr


def test_interrupted_demo_leaves_nothing(tmp_path, monkeypatch):
    """Ctrl-C in the middle ends with 130 and leaves neither folder nor temporary files."""

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(dybitq.api.demo, "evaluate", interrupt)
    result = run("-o", str(tmp_path / "play"))
    assert result.exit_code == 130
    assert list(tmp_path.iterdir()) == []


def test_demo_data_is_what_its_licence_says(first):
    """The archive holds 256, 944 and 597 samples of 8 by 8 pixels from 0 to 16."""
    folder, _ = first
    with np.load(folder / "digits.npz") as arrays:
        for split, samples in (("calib", 256), ("train", 944), ("val", 597)):
            assert arrays[f"x_{split}"].shape == (samples, 8, 8, 1)
            assert arrays[f"x_{split}"].max() == 16
            assert set(arrays[f"y_{split}"]) == set(range(10))


def test_demo_network_has_batch_normalization_to_fold(first):
    """The float32 network still has its BatchNormalization nodes; the quantized ones have none."""
    folder, _ = first
    kinds = {
        name: [node.op_type for node in onnx.load(folder / name).graph.node]
        for name in FILES
        if name.endswith(".onnx")
    }
    assert kinds["digits.onnx"].count("BatchNormalization") == 6
    assert "BatchNormalization" not in kinds["int8.onnx"] + kinds["dybit4.onnx"]
