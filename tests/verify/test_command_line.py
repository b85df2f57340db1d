"""``quantize --integer-only`` and ``verify`` as people run them, and how every contradiction ends."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from click.testing import CliRunner, Result

import dybitq.verification.compare
from dybitq.cli.main import group
from tests.verify.kit import Net
from tests.verify.networks import NETWORKS

SOFTMAX = Net(
    body="c = Conv (x, w)\n s = Softmax <axis = 1> (c)\n y = Conv (s, v)",
    weights={"w": (6, 4, 3, 3), "v": (3, 6, 1, 1)},
)

CHAIN = Net(body="c = Conv (x, w)\n r = Relu (c)\n y = Conv (r, v)", weights=SOFTMAX.weights)


def dybitq_run(*arguments: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(group, [str(a) for a in arguments])


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working folder with calibrated networks: a residual one, one with a Softmax, a plain chain."""
    monkeypatch.chdir(tmp_path)
    for name, net in (("net", NETWORKS["residual"]), ("soft", SOFTMAX), ("chain", CHAIN)):
        onnx.save(net.proto(), tmp_path / f"{name}.onnx")
        np.savez(tmp_path / f"{name}.npz", **net.data(1, 16))
        made = dybitq_run("calibrate", f"{name}.onnx", "--data", f"{name}.npz", "-o", f"{name}.stats")
        assert made.exit_code == 0, made.output
    return tmp_path


def quantize(name: str, *options: object, output: str = "q.onnx") -> Result:
    """Quantize one of the networks of the folder."""
    return dybitq_run(
        "quantize", f"{name}.onnx", "--statistics", f"{name}.stats", "-o", output, "--integer-only", *options
    )


def test_quantize_then_verify(folder):
    """The whole proof in text: counts, one line an operation, four sentences, the verdict."""
    assert quantize("net").exit_code == 0
    made = dybitq_run("verify", "q.onnx", "--data", "net.npz")
    assert made.exit_code == 0
    lines = made.stdout.splitlines()
    assert lines[0] == "q.onnx (integer-fast): 1 quantize, 5 integer, 1 dequantize; 0 in float"
    assert lines[1].split() == ["operation", "kind", "b", "c", "bits", "x", "b"]
    assert len(lines) == 2 + 5 + 5
    assert lines[-5].startswith("static: every tensor in between is an integer")
    assert lines[-2].startswith("reference: 16 samples, 6 integer tensors, ")
    assert lines[-2].endswith("values compared; 0 differ, 0 in the outputs")
    assert lines[-1] == "integer-only: proven"
    assert made.stderr == ""


def test_verify_as_json(folder):
    """One document with everything that the text has."""
    assert quantize("net", "--flavour", "explicit").exit_code == 0
    document = json.loads(dybitq_run("verify", "q.onnx", "--data", "net.npz", "--json").stdout)
    assert document["schema_version"] == 1 and document["passed"]
    assert document["arithmetic"] == "integer-explicit"
    assert document["comparison"]["mismatches"] == [] and document["comparison"]["samples"] == 16
    first = document["operations"][0]
    assert first["operation"] == "convolution" and first["bound"]["bits"] == first["bound"]["bits"]


def test_without_data_only_the_file_is_examined(folder):
    """The static proof and the bounds need nothing but the file."""
    assert quantize("net").exit_code == 0
    made = dybitq_run("verify", "q.onnx")
    assert made.exit_code == 0 and "reference: not run (give --data)" in made.stdout


def test_a_difference_is_exit_code_3(folder, monkeypatch):
    """One wrong integer anywhere: the tensor, the operator and the place are named."""
    assert quantize("net").exit_code == 0
    real = dybitq.verification.compare.interpret

    def wrong(*arguments, **options):
        for computed in real(*arguments, **options):
            if computed.node.op_type == "QLinearAdd":
                next(iter(computed.outputs.values()))[0, 0, 0, 0] ^= 1
            yield computed

    monkeypatch.setattr(dybitq.verification.compare, "interpret", wrong)
    made = dybitq_run("verify", "q.onnx", "--data", "net.npz", "--samples", "2")
    assert made.exit_code == 3
    assert "integer-only: NOT proven" in made.stdout
    assert "of QLinearAdd Add_0: 1 of " in made.stdout and "at [0, 0, 0, 0] the reference has" in made.stdout
    assert re.match(r"Error: q\.onnx: \d tensors differ from the reference; the first is g_q of", made.stderr)


def test_a_float_model_is_exit_code_3(folder):
    """What computes in float is named."""
    made = dybitq_run("verify", "net.onnx")
    assert made.exit_code == 3
    assert made.stderr == ("Error: net.onnx: not integer-only: Conv Conv_0: computes in float (and 6 more)\n")


def test_strict_names_what_cannot_be_integer(folder):
    """Nothing is written, and the way out is said."""
    made = quantize("soft")
    assert made.exit_code == 1
    assert made.stderr == (
        "Error: 1 operators have no integer form: Softmax 'Softmax_0': Softmax has no integer form here. "
        "--integer-only=report leaves them in float and lists them\n"
    )
    assert not Path("q.onnx").exists()


@pytest.mark.parametrize("model", ["net.onnx", "q.onnx"])
def test_report_on_a_model_without_integers(folder, model):
    """A float model, and one whose rescaling is in float, have nothing that could be proven."""
    made = dybitq_run("quantize", "net.onnx", "--statistics", "net.stats", "-o", "q.onnx")
    assert made.exit_code == 0, made.output
    report = dybitq_run("verify", model, "--integer-only", "report")
    assert report.exit_code == 3
    assert report.stdout.endswith("integer-only: NOT proven: nothing computes in integers\n")
    reason = {"net.onnx": "nothing in it computes in integers", "q.onnx": "not integer-only: QuantizeLinear"}
    assert f"{model}: {reason[model]}" in report.stderr


def test_report_lists_what_stays_in_float(folder):
    """The file is written, the operators listed, in text and JSON; verify lists them as well."""
    made = quantize("soft", "--integer-only=report")
    assert made.exit_code == 0, made.output
    assert "1 operator is not integer arithmetic:\n  Softmax Softmax_0: Softmax has no integer" in made.stdout
    strict = dybitq_run("verify", "q.onnx", "--data", "soft.npz")
    assert strict.exit_code == 3
    report = dybitq_run("verify", "q.onnx", "--data", "soft.npz", "--integer-only", "report")
    assert report.exit_code == 0, report.output
    assert "Softmax Softmax_0: computes in float" in report.stdout
    assert report.stdout.endswith("integer-only: proven around 2 float operators\n")
    document = quantize("soft", "--integer-only=report", "--json", output="r.onnx")
    assert json.loads(document.stdout)["float_operators"] == [
        {"name": "Softmax_0", "op_type": "Softmax", "reason": "Softmax has no integer form here"}
    ]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--rounding-rule", "half-up"], 2, "rounding half-up is for the explicit flavour"),
        (["--multiplier-bits", "20"], 2, "multiplier_bits is for the explicit flavour"),
        (["--residual-bits", "16"], 2, "residual_bits 16 is for the explicit flavour"),
        (["--residual-rounding", "branch"], 2, "residual_rounding branch is for the explicit flavour"),
        (
            ["--flavour", "explicit", "--multiplier-bits", "20", "--scales", "pow2"],
            2,
            "every multiplier is 1",
        ),
        (["--weights", "float"], 2, "weights float contradicts --integer-only"),
        (["--activations", "float"], 2, "activations float contradicts --integer-only"),
        (["--activations", "dynamic8"], 2, "activations 'dynamic8' contradict integer-only arithmetic"),
        (["--activations", "sparq4-5opt"], 2, "activations 'sparq4-5opt' contradict integer-only"),
        (
            ["--weights", "dybit8", "--first-last", "same"],
            2,
            "do not fit the int8 kernels of the fast flavour",
        ),
        (["--data", "net.npz"], 2, "--data is not combined with --integer-only"),
        (["--flavour", "quick"], 2, "'quick' is not one of"),
    ],
)
def test_contradictions(folder, options, code, message):
    """Recipes and options that exclude each other: one message, the exit code, and no file."""
    made = quantize("net", *options)
    assert made.exit_code == code, made.output
    assert message in made.stderr
    assert not Path("q.onnx").exists()


def test_one_scale_for_a_tensor(folder):
    """Weights with one scale for a tensor are equalized across layers first, and proven like others."""
    made = quantize("chain", "--granularity", "tensor")
    assert made.exit_code == 0, made.output
    assert "cross-layer equalization: 1 pair of layers found" in made.output
    assert dybitq_run("verify", "q.onnx", "--data", "chain.npz").exit_code == 0


def test_options_of_integer_only_need_it(folder):
    """--flavour alone says what is missing."""
    made = dybitq_run(
        "quantize", "net.onnx", "--statistics", "net.stats", "-o", "q.onnx", "--flavour", "explicit"
    )
    assert made.exit_code == 2
    assert made.stderr == "Error: --flavour changes integer-only arithmetic; add --integer-only\n"


def test_recipes_and_plans_carry_the_arithmetic(folder):
    """A recipe asks for it, the plan records it with every snap, and the plan gives the same bytes again."""
    recipe = {
        "defaults": {"weights": "dybit4"},
        "arithmetic": "integer-explicit",
        "integer": {"rounding": "half-up", "scales": "pow2"},
    }
    Path("r.yaml").write_text(yaml.safe_dump(recipe))
    arguments = ["quantize", "net.onnx", "--statistics", "net.stats"]
    made = dybitq_run(*arguments, "--recipe", "r.yaml", "-o", "a.onnx", "--save-plan", "p.yaml")
    assert made.exit_code == 0, made.output
    plan = yaml.safe_load(Path("p.yaml").read_text())
    assert plan["arithmetic"] == "integer-explicit"
    assert plan["integer"] == {"rounding": "half-up", "scales": "pow2"}
    assert all(layer.get("snap", 0) >= 0 for layer in plan["layers"])
    assert any(layer.get("snap", 0) > 0.01 for layer in plan["layers"])  # powers of two are coarse
    again = dybitq_run(*arguments, "--plan", "p.yaml", "-o", "b.onnx")
    assert again.exit_code == 0, again.output
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()
    verified = dybitq_run("verify", "b.onnx", "--data", "net.npz")
    assert verified.exit_code == 0, verified.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arithmetic": "integer-quick"}, "arithmetic"),
        ({"integer": {"rounding": "away"}}, "integer.rounding"),
        (
            {"integer": {"multiplier_bits": 40}, "arithmetic": "integer-explicit"},
            "out of range; expected 8 to 31",
        ),
        ({"edges": []}, "is coded but not in it; make a new plan"),
    ],
)
def test_plans_that_contradict_themselves(folder, change, message):
    """Hand-edited plans are refused with the place."""
    arguments = ["quantize", "net.onnx", "--statistics", "net.stats"]
    dybitq_run(*arguments, "-o", "a.onnx", "--integer-only", "--save-plan", "p.yaml")
    plan = yaml.safe_load(Path("p.yaml").read_text()) | change
    Path("p.yaml").write_text(yaml.safe_dump(plan))
    made = dybitq_run(*arguments, "--plan", "p.yaml", "-o", "b.onnx")
    assert made.exit_code == 2, made.output
    assert message in made.stderr and not Path("b.onnx").exists()


def test_factors_beyond_the_range_name_their_layer(tmp_path, monkeypatch):
    """An output that is clipped to almost nothing needs a factor that no multiplier holds."""
    monkeypatch.chdir(tmp_path)
    net = Net(
        body="c = Conv (x, w)\n y = Clip (c, lo, hi)",
        weights={"w": (6, 4, 3, 3), "lo": np.float32(0), "hi": np.float32(1e-12)},
    )
    onnx.save(net.proto(), "net.onnx")
    np.savez("net.npz", **net.data(1, 4))
    dybitq_run("calibrate", "net.onnx", "--data", "net.npz", "-o", "net.stats")
    made = quantize("net")
    assert made.exit_code == 1, made.output
    assert "layer Conv_0: requantization factor" in made.stderr and "does not fit a multiplier" in made.stderr
    assert not Path("q.onnx").exists()


def test_the_same_command_twice_gives_the_same_bytes(folder):
    """Both flavours are deterministic."""
    for flavour in ("fast", "explicit"):
        for output in ("a.onnx", "b.onnx"):
            assert quantize("net", "--flavour", flavour, "--force", output=output).exit_code == 0
        assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()


def test_a_transposed_convolution_needs_a_zero(tmp_path, monkeypatch):
    """Formats without a zero are refused with the layer's name and what to do."""
    monkeypatch.chdir(tmp_path)
    net = NETWORKS["grouped transposed convolution"]
    onnx.save(net.proto(), "net.onnx")
    np.savez("net.npz", **net.data(1, 8))
    assert dybitq_run("calibrate", "net.onnx", "--data", "net.npz", "-o", "net.stats").exit_code == 0
    made = quantize("net", "--weights", "odd4", "--first-last", "same")
    assert made.exit_code == 1 and not Path("q.onnx").exists()
    assert "which odd4 does not have; give this layer another format, such as int4" in made.stderr
