"""``dybitq calibrate`` from the command line: results, exit codes, files."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from dybitq.calibration import store
from dybitq.cli.main import group
from tests.calibrate.conftest import TEXT, weights


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, data and a data spec, as the current one."""
    monkeypatch.chdir(tmp_path)
    proto = onnx.parser.parse_model(TEXT)
    for name, array in weights().items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(proto, "m.onnx")
    x = np.random.default_rng(6).standard_normal((24, 3, 8, 6)).astype(np.float32)
    np.savez("d.npz", x=x)
    for part, half in (("a", x[:10]), ("b", x[10:])):
        np.savez(f"{part}.npz", x=half)
    return tmp_path


def run(*arguments: str) -> Result:
    """The command, stdout and stderr apart."""
    return CliRunner().invoke(group, ["calibrate", *arguments])


def test_the_result_says_what_was_found():
    """Samples, tensors, moments; and odd things as notes."""
    result = run("m.onnx", "--data", "d.npz", "-o", "s.stats")
    assert result.exit_code == 0 and result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == f"s.stats: {Path('s.stats').stat().st_size:,} B"
    assert lines[1].startswith("samples 24, in ")
    assert lines[2] == "tensors 8, layers 3, second moments 3 full"
    assert lines[3].startswith("note: output channels that never change: 1 of ")
    assert store.load(Path("s.stats")).samples == 24


def test_json():
    """One document with the same facts."""
    result = run("m.onnx", "--data", "d.npz", "-o", "s.stats", "--json", "--memory", "0", "--samples", "7")
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1
    assert (document["samples"], document["tensors"], document["moments"]) == (7, 8, {})
    assert set(document["reduced_moments"].values()) == {"none"} and len(document["reduced_moments"]) == 3


def test_same_command_same_bytes():
    """Twice the same, with any number of threads."""
    for name, threads in (("s.stats", "1"), ("t.stats", "2")):
        assert run("m.onnx", "--data", "d.npz", "-o", name, "--threads", threads).exit_code == 0
    assert Path("s.stats").read_bytes() == Path("t.stats").read_bytes()


def test_merge():
    """Shards add up to the whole, and the order of the arguments does not matter."""
    for part in ("a", "b", "d"):
        assert run("m.onnx", "--data", f"{part}.npz", "-o", f"{part}.stats").exit_code == 0
    assert run("--merge", "a.stats", "b.stats", "-o", "ab.stats").exit_code == 0
    result = run("--merge", "b.stats", "a.stats", "-o", "ba.stats")
    assert result.exit_code == 0 and "samples 24" in result.stdout
    assert Path("ab.stats").read_bytes() == Path("ba.stats").read_bytes()
    merged, whole = store.load(Path("ab.stats")), store.load(Path("d.stats"))
    for name in whole.tensors:
        np.testing.assert_array_equal(merged.tensors[name].histogram, whole.tensors[name].histogram)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["m.onnx", "-o", "s.stats"], 2, "Missing option '--data'"),
        (["m.onnx", "m.onnx", "--data", "d.npz", "-o", "s.stats"], 2, "takes one MODEL, found 2 files"),
        (["none.onnx", "--data", "d.npz", "-o", "s.stats"], 2, "does not exist"),
        (["d.npz", "--data", "d.npz", "-o", "s.stats"], 1, "is not an ONNX model"),
        (["m.onnx", "--data", "m.onnx", "-o", "s.stats"], 2, "expected a data spec"),
        (["m.onnx", "--data", "d.npz", "-o", "d.npz"], 1, "d.npz: is an input of this command"),
        (["m.onnx", "--data", "d.npz", "-o", "no/s.stats"], 1, "the folder no does not exist"),
        (
            ["m.onnx", "--data", "d.npz", "-o", "s.stats", "--samples", "25"],
            1,
            "24 samples, but 25 were asked",
        ),
        (["--merge", "m.onnx", "-o", "s.stats"], 2, "at least two statistics files, found 1"),
        (["--merge", "m.onnx", "d.npz", "-o", "s.stats"], 1, "is not a statistics file"),
        (
            ["--merge", "m.onnx", "d.npz", "-o", "s.stats", "--samples", "3"],
            2,
            "--samples has no effect with",
        ),
    ],
)
def test_mistakes(arguments, code, message, folder):
    """One message, the exit code of the contract, and no new file."""
    before = sorted(folder.iterdir())
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr and "Traceback" not in result.stderr
    assert sorted(folder.iterdir()) == before


def test_a_model_without_float_weights_gets_a_note():
    """Nothing can be quantized with such statistics, as those of a network that is quantized already."""
    head = '<ir_version: 8, opset_import: ["": 17]>'
    text = f"{head} g (float[N, 3, 8, 6] x) => (float[N, 3, 8, 6] y) {{ y = Relu (x) }}"
    onnx.save(onnx.parser.parse_model(text), "r.onnx")
    result = run("r.onnx", "--data", "d.npz", "-o", "s.stats")
    assert result.exit_code == 0 and "note: no layer has float32 weights" in result.stdout


def test_samples_are_not_overwritten():
    """The files that a data spec names are inputs as well, whatever --force says."""
    Path("d.yaml").write_text("reader: npz\nsplits:\n  calib: {path: d.npz}\n")
    for name in ("d.yaml", "d.npz"):
        before = Path(name).read_bytes()
        result = run("m.onnx", "--data", "d.yaml", "-o", name, "--force")
        assert result.exit_code == 1 and "is an input of this command" in result.stderr
        assert Path(name).read_bytes() == before


def test_an_existing_output_is_kept():
    """Unless --force says otherwise."""
    Path("s.stats").write_text("precious")
    result = run("m.onnx", "--data", "d.npz", "-o", "s.stats")
    assert result.exit_code == 1 and "use --force" in result.stderr
    assert Path("s.stats").read_text() == "precious"
    assert run("m.onnx", "--data", "d.npz", "-o", "s.stats", "--force").exit_code == 0


def test_merging_a_file_with_its_copy_is_refused():
    """It would count every sample twice."""
    assert run("m.onnx", "--data", "a.npz", "-o", "a.stats").exit_code == 0
    Path("copy.stats").write_bytes(Path("a.stats").read_bytes())
    result = run("--merge", "a.stats", "copy.stats", "-o", "c.stats")
    assert result.exit_code == 2 and "hold the same statistics" in result.stderr


def test_merging_statistics_of_two_models_is_refused():
    """Both files are named."""
    model = onnx.load("m.onnx")
    model.doc_string = "another file"
    onnx.save(model, "n.onnx")
    for name, data in (("m", "a"), ("n", "b")):
        assert run(f"{name}.onnx", "--data", f"{data}.npz", "-o", f"{name}.stats").exit_code == 0
    result = run("--merge", "m.stats", "n.stats", "-o", "c.stats")
    assert result.exit_code == 1 and "n.stats: statistics of another model" in result.stderr
    assert "than m.stats (" in result.stderr and not Path("c.stats").exists()


def test_the_model_is_not_touched():
    """Byte for byte."""
    before = Path("m.onnx").read_bytes()
    run("m.onnx", "--data", "d.npz", "-o", "s.stats")
    assert Path("m.onnx").read_bytes() == before
