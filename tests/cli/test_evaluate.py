"""``dybitq evaluate`` from the command line: metrics, drops, errors, gates."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from dybitq.cli.main import group

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 8] x) => (float[N, 8] y)'
REFERENCE = f"{HEAD} {{ h = Relu (x)  y = Identity (h) }}"
QUANTIZED = f"""{HEAD} <float s = {{0.25}}, uint8 z = {{0}}> {{
  h = Relu (x)
  q = QuantizeLinear (h, s, z)
  y = DequantizeLinear (q, s, z)
}}"""
SPEC = """
reader: npz
splits:
  val: {path: d.npz, arrays: {x: x}, labels: y}
  bare: {path: d.npz, arrays: {x: x}}
  far: {path: d.npz, arrays: {x: x}, labels: far}
task: classification
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A float and a quantized model that round to quarters, and scores with labels."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("f.onnx", REFERENCE), ("q.onnx", QUANTIZED)):
        onnx.save(onnx.parser.parse_model(text), name)
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 2, (50, 8)).astype(np.float32)
    y = np.where(rng.random(50) < 0.9, x.argmax(1), 0)
    np.savez("d.npz", x=x, y=y, far=np.full(50, 99))
    Path("spec.yaml").write_text(SPEC)
    return tmp_path


def run(*arguments: str) -> Result:
    """The command on the data spec."""
    return CliRunner().invoke(group, ["evaluate", *arguments, "--data", "spec.yaml"])


def expected() -> dict[str, np.ndarray]:
    """The scores of both models, rounded half to even as QuantizeLinear does."""
    with np.load("d.npz") as data:
        x, y = data["x"], data["y"]
    return {"x": x, "y": y, "q": np.round(x / 0.25) * 0.25}


def test_a_model_alone():
    """Top-1 and top-5 without anything to compare with."""
    result = run("f.onnx")
    assert result.exit_code == 0 and result.stderr == ""
    e = expected()
    top_1 = 100 * (e["x"].argmax(1) == e["y"]).mean()
    lines = result.stdout.splitlines()
    assert lines[0].startswith("f.onnx: 50 samples in ")
    assert lines[1] == f"top-1 {top_1:.2f} %" and lines[2].startswith("top-5 ")
    assert len(lines) == 3


def test_against_a_reference():
    """Drop with its paired standard error, agreement, and SQNR, against numpy."""
    document = json.loads(run("q.onnx", "--reference", "f.onnx", "--json", "--batch-size", "7").stdout)
    e = expected()
    lost = (e["x"].argmax(1) == e["y"]).astype(float) - (e["q"].argmax(1) == e["y"])
    top_1 = document["metrics"]["top-1"]
    assert top_1["drop"] == pytest.approx(100 * lost.mean())
    assert top_1["drop_error"] == pytest.approx(100 * lost.std(ddof=1) / np.sqrt(50))
    assert top_1["reference"] - top_1["value"] == pytest.approx(top_1["drop"])
    assert document["agreement"] == pytest.approx(100 * (e["x"].argmax(1) == e["q"].argmax(1)).mean())
    noise = ((e["x"] - e["q"]).astype(np.float64) ** 2).sum()
    sqnr = 10 * np.log10((e["x"].astype(np.float64) ** 2).sum() / noise)
    (output,) = document["outputs"]
    assert output["tensor"] == "y" and output["sqnr_db"] == pytest.approx(sqnr, abs=1e-3)
    assert output["largest_difference"] == pytest.approx(np.abs(e["x"] - e["q"]).max(), rel=1e-5)
    assert document["schema_version"] == 1 and document["edges"] is None


def test_per_layer():
    """Every quantized activation with a counterpart, in a table."""
    result = run("q.onnx", "--reference", "f.onnx", "--per-layer")
    assert result.exit_code == 0
    table = result.stdout.splitlines()[-2:]
    assert table[0].split() == ["quantized", "activation", "SQNR", "dB", "largest", "difference"]
    assert table[1].split()[0] in ("h", "y")


def test_a_reference_that_the_model_was_not_made_from():
    """The hash in a file tells; figures against another network are given, but doubtful."""
    model = onnx.load("q.onnx")
    for origin, doubtful in (
        (hashlib.sha256(Path("f.onnx").read_bytes()).hexdigest(), False),
        ("ab" * 32, True),
    ):
        onnx.helper.set_model_props(model, {"dybitq.model_sha256": origin})
        onnx.save(model, "q.onnx")
        result = run("q.onnx", "--reference", "f.onnx")
        assert result.exit_code == 0
        assert (
            "note: q.onnx was made from another file than f.onnx (sha256 abab" in result.stdout
        ) is doubtful
        notes = json.loads(run("q.onnx", "--reference", "f.onnx", "--json").stdout)["notes"]
        assert len(notes) == doubtful
    onnx.save(model, "other.onnx")  # made from the same
    assert "note:" not in run("q.onnx", "--reference", "other.onnx").stdout


def test_layers_against_a_quantized_reference():
    """It is the reference that is named, not the model."""
    result = run("q.onnx", "--reference", "q.onnx", "--per-layer")
    assert result.exit_code == 2
    assert (
        "q.onnx: this model is quantized itself; --per-layer compares with the float32 network"
        in result.stderr
    )


def test_gates_kept_and_missed():
    """Exit code 3 if one is missed, after the result has been printed."""
    kept = run("q.onnx", "--reference", "f.onnx", "--min-sqnr", "10", "--max-drop", "50")
    assert kept.exit_code == 0 and kept.stderr == ""
    assert "gate --max-drop 50: kept" in kept.stdout and "gate --min-sqnr 10: kept" in kept.stdout
    missed = run("q.onnx", "--reference", "f.onnx", "--min-sqnr", "90")
    assert missed.exit_code == 3
    assert "gate --min-sqnr 90: MISSED, found " in missed.stdout
    assert missed.stderr.startswith("Error: q.onnx: gate missed: --min-sqnr 90 (found ")


def test_a_model_against_itself_is_exact():
    """No drop, no noise; JSON says so beside the null."""
    result = run("f.onnx", "--reference", "f.onnx", "--min-sqnr", "200", "--max-drop", "0")
    assert result.exit_code == 0
    assert "output y: SQNR exact, largest difference 0" in result.stdout
    document = json.loads(run("f.onnx", "--reference", "f.onnx", "--json").stdout)
    (output,) = document["outputs"]
    assert output["sqnr_db"] is None and output["exact"] is True and document["agreement"] == 100


def test_unlabelled_data_are_compared():
    """Without labels there is agreement and SQNR, but no metric."""
    document = json.loads(run("q.onnx", "--reference", "f.onnx", "--split", "bare", "--json").stdout)
    assert document["metrics"] == {} and document["agreement"] > 50


def test_a_fixed_batch(folder):
    """A model for batches of 16 gives the same figures; what fills the last one is discarded."""
    text = QUANTIZED.replace("float[N, 8] x", "float[16, 8] x").replace("float[N, 8] y", "float[16, 8] y")
    onnx.save(onnx.parser.parse_model(text), "fixed.onnx")
    free, fixed = (
        json.loads(run(name, "--reference", "f.onnx", "--per-layer", "--json").stdout)
        for name in ("q.onnx", "fixed.onnx")
    )
    assert fixed["metrics"] == free["metrics"] and fixed["samples"] == 50
    assert fixed["outputs"][0]["sqnr_db"] == pytest.approx(free["outputs"][0]["sqnr_db"], abs=1e-3)
    assert fixed["edges"][0]["sqnr_db"] == pytest.approx(free["edges"][0]["sqnr_db"], abs=1e-3)


MASKED = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 4, 2] x, int64[N, 4] mask) => (float[N, 4, 2] y) <float c = {FACTOR}> {
  i = Cast <to = 1> (mask)
  j = Unsqueeze (i, axis)
  k = Mul (j, c)
  y = Add (x, k)
}"""


def test_padded_positions_are_not_compared():
    """A difference where the mask is zero does not show; where it is one it does."""
    inverted = MASKED.replace("i = Cast <to = 1> (mask)", "h = Not (b)  i = Cast <to = 1> (h)").replace(
        "> {\n", "> {\n  b = Cast <to = 9> (mask)\n"
    )
    for name, text, factor in (("a", MASKED, "0"), ("b", inverted, "5"), ("c", MASKED, "5")):
        proto = onnx.parser.parse_model(text.replace("FACTOR", factor))
        axis = onnx.numpy_helper.from_array(np.array([2]), "axis")
        proto.graph.initializer.append(axis)
        onnx.save(proto, f"{name}.onnx")
    np.savez("m.npz", x=np.ones((3, 4, 2), np.float32), mask=np.tril(np.ones((3, 4), np.int64)))
    found = {}
    for name in ("b", "c"):
        arguments = ["evaluate", f"{name}.onnx", "--reference", "a.onnx", "--data", "m.npz", "--json"]
        found[name] = json.loads(CliRunner().invoke(group, arguments).stdout)["outputs"][0]["exact"]
    assert found == {"b": True, "c": False}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["q.onnx", "--max-drop", "1"],
            2,
            "--max-drop compares with the float32 network; name it with",
        ),
        (["q.onnx", "--min-sqnr", "1"], 2, "--min-sqnr compares with"),
        (["q.onnx", "--per-layer"], 2, "--per-layer compares with"),
        (["q.onnx", "--split", "bare"], 2, "nothing to measure: give a --reference, or 'task:' and labels"),
        (
            ["q.onnx", "--split", "bare", "--reference", "f.onnx", "--max-drop", "1"],
            2,
            "--max-drop needs 'task:'",
        ),
        (["q.onnx", "--split", "test"], 2, "no split 'test'; it has val, bare, far"),
        (["q.onnx", "--split", "far"], 1, "spec.yaml, split 'far': label 99 is not one of the 8 classes"),
        (["spec.yaml"], 1, "onnxruntime cannot load it"),
        (["q.onnx", "--reference", "spec.yaml"], 1, "onnxruntime cannot load it"),
    ],
)
def test_mistakes(arguments, code, message):
    """One message and the exit code of the contract."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (REFERENCE.replace("] x", "] z").replace("(x)", "(z)"), "q.onnx takes x, other.onnx takes z"),
        (
            REFERENCE.replace("[N, 8] x", "[N, 9] x"),
            "float32 [any, 8] in q.onnx and float32 [any, 9]",
        ),
        (REFERENCE.replace("=> (", "=> (float[N, 8] h, "), "q.onnx has the outputs y, other.onnx has h, y"),
    ],
)
def test_a_reference_of_another_network(text, message):
    """Inputs and outputs have to correspond."""
    onnx.save(onnx.parser.parse_model(text), "other.onnx")
    result = run("q.onnx", "--reference", "other.onnx")
    assert result.exit_code == 2 and message in result.stderr


FLOAT_TOP_1 = {
    "mnist_cnn": 98.94,
    "kws_dscnn": 92.00,
    "resnet8_cifar10": 87.40,
    "resnet20_cifar10": 92.35,
    "mobilenet_v2_cifar10lp": 84.03,
    "mobilenet_v1_075_224": 78.46,
    "squeezenet1_1": 70.00,
}
"""Top-1 of the float networks as the zoo's README has them."""


@pytest.mark.parametrize("network", ["mnist_cnn", "kws_dscnn", "resnet8_cifar10"])
def test_float_networks_of_the_zoo(network, zoo):
    """The specs reproduce the published top-1 (the larger networks take too long for a unit test)."""
    arguments = [str(zoo / f"models/{network}.onnx"), "--data", str(zoo / f"specs/{network}.yaml")]
    result = CliRunner().invoke(group, ["evaluate", *arguments, "--json", "--batch-size", "50"])
    found = json.loads(result.stdout)["metrics"]["top-1"]["value"]
    assert found == pytest.approx(FLOAT_TOP_1[network], abs=0.006)


@pytest.mark.parametrize("gate", ["--max-drop", "--min-sqnr"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_gates_are_finite(gate, value):
    """A gate that nothing could miss, or keep, is refused."""
    result = run("f.onnx", gate, value)
    assert result.exit_code == 2 and gate in result.stderr
