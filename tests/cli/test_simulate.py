"""``dybitq simulate`` from the command line: text, documents, exit codes."""

import csv
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from dybitq.cli.main import group

TOPOLOGY = "Layer,M,N,K,\na,64,64,64,\nb,100,40,30,\n"
TEXT = """\
net on scalesim_default (exact; scalesim, 1000 MHz)

layer  operator  shape                 bits  MMAC  cycles  fill  stall  total   util  DRAM KiB    uJ  x int8    bound
a      MatMul    [64, 64] x [64, 64]    8x8  0.26     632     0      0    631  40.5%      16.0  2.84    1.00  compute
b      MatMul    [100, 30] x [30, 40]   8x8  0.12     388     0      0    387  30.2%       8.0  1.43    1.00  compute

0.38 MMAC in 1020 array cycles, 1018 in all: 1.0 us; 24.0 KiB of DRAM traffic
energy 4.27 uJ: mac 3%, buffer 3%, dram 94%, leakage 1%
1.00 x the speed of int8 (1.0 us, 4.27 uJ)
note: energy: Horowitz, ISSCC 2014, 45 nm, as fitted in QKeras qtools; leakage 15 % of dynamic assumed
"""  # noqa: E501


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A topology ``net.csv`` and a float model ``net.onnx`` with one convolution and a pool."""
    (tmp_path / "net.csv").write_text(TOPOLOGY)
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[N, 4, 12, 12] image) => (float[N, 8, 6, 6] y) {
      c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, w)
      r = Relu (c)
      y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
    }
    """
    model = onnx.parser.parse_model(text)
    weights = np.ones((8, 4, 3, 3), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def simulate(*words, code=0):
    """Run the verb; the exit code has to be ``code``."""
    result = CliRunner().invoke(group, ["simulate", *words])
    assert result.exit_code == code, result.output
    return result


def test_text(folder):
    """The table, byte for byte, on stdout alone."""
    result = simulate("net.csv", "--hardware", "scalesim_default")
    assert result.stdout == TEXT
    assert result.stderr == ""


def test_json_rows(folder):
    """One document; rows carry what the contract names, for each operand."""
    document = json.loads(simulate("net.csv", "--hardware", "scalesim_default", "--json").stdout)
    assert document["schema_version"] == 1
    assert document["machine"] == {
        "name": "scalesim_default", "status": "exact", "engine": "scalesim", "clock_mhz": 1000.0,
    }  # fmt: skip
    row = document["layers"][0]
    assert (row["name"], row["cycles"], row["total_cycles"], row["macs"]) == ("a", 632, 631, 64**3)
    assert row["sram_reads"] == {"input": 8192, "weight": 4096, "output": 0}
    assert row["sram_writes"] == {"input": 0, "weight": 0, "output": 8192}
    assert set(row["dram_bytes"]) == {"input", "weight", "output"}
    assert 0 < row["utilisation"] <= 1 and row["energy_pj"] > 0
    assert row["speedup"] == {"int8": 1.0}
    assert document["totals"]["cycles"] == 1020


def test_csv(folder):
    """One row per layer, nested values with dotted names."""
    output = simulate("net.csv", "--hardware", "scalesim_default", "--csv").stdout
    rows = list(csv.DictReader(io.StringIO(output)))
    assert [row["name"] for row in rows] == ["a", "b"]
    assert rows[0]["sram_reads.input"] == "8192"


def test_array_from_the_command_line(folder):
    """Fields of the machine can be set."""
    words = ("net.csv", "--hardware", "scalesim_default", "--set", "array.rows=8", "--set", "array.cols=8")
    document = json.loads(simulate(*words, "--set", "array.dataflow=is", "--json").stdout)
    assert document["layers"][0]["cycles"] == 5504


def test_same_bytes_twice(folder):
    """The same command prints the same bytes."""
    words = ("net.onnx", "--hardware", "dybit_zcu102_like", "--json")
    assert simulate(*words).stdout == simulate(*words).stdout


def test_model_with_what_if_widths(folder):
    """A float model at 4-bit weights is faster than at int8, and Relu and MaxPool ride on the convolution."""
    words = ("net.onnx", "--hardware", "int8_sa", "--set", "precision.mode=fused", "--json")
    document = json.loads(simulate(*words, "--weights", "dybit4", "--activations", "int4").stdout)
    conv, relu, pool = document["layers"]
    assert conv["bits"] == {"weight": 4, "activation": 4, "output": 4}
    assert relu["fused_into"] == pool["fused_into"] == conv["name"]
    assert document["comparisons"][0]["label"] == "int8"
    assert document["comparisons"][0]["speedup"] > 1


def test_strict_refuses_other_widths(folder):
    """Three bits run as four: a note, or with --strict exit code 1."""
    words = ("net.onnx", "--hardware", "dybit_zcu102_like", "--weights", "int3", "--activations", "int8")
    assert "1 layer with 3-bit weights and 8-bit activations run at 4x8" in simulate(*words).stdout
    result = simulate(*words, "--strict", code=1)
    assert "3-bit weights" in result.stderr and result.stdout == ""


def test_compare(folder):
    """Columns against another machine, another model, and a file that is neither."""
    words = ("net.onnx", "--hardware", "int8_sa", "--compare", "tpu_v1", "--compare", "net.onnx", "--json")
    document = json.loads(simulate(*words).stdout)
    assert [item["label"] for item in document["comparisons"]] == ["int8", "tpu_v1", "net.onnx"]
    assert document["comparisons"][2]["speedup"] == 1.0
    assert "tpu_v1" in document["layers"][0]["speedup"]
    result = simulate("net.onnx", "--hardware", "int8_sa", "--compare", "nothing.onnx", code=1)
    assert "nothing.onnx" in result.stderr
    result = simulate("net.onnx", "--hardware", "int8_sa", "--compare", "tpu_v2", code=2)
    assert "unknown machine 'tpu_v2'. Did you mean 'tpu_v1'?" in result.stderr


def test_sweep(folder):
    """A grid as text, JSON and CSV."""
    words = ("net.onnx", "--hardware", "int8_sa", "--sweep", "array.rows=8,16,dram.gb_per_s=4:8:4")
    assert "net on 4 machines around int8_sa" in simulate(*words).stdout
    points = json.loads(simulate(*words, "--json").stdout)["points"]
    assert [point["settings"] for point in points][:2] == [
        {"array.rows": 8, "dram.gb_per_s": 4}, {"array.rows": 8, "dram.gb_per_s": 8},
    ]  # fmt: skip
    assert len(simulate(*words, "--csv").stdout.splitlines()) == 5
    simulate(*words, "--strict", code=2)


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_plot(folder, suffix):
    """The same picture has the same bytes; an existing file is kept without --force."""
    pytest.importorskip("matplotlib")
    words = ("net.onnx", "--hardware", "int8_sa", "--plot", f"out.{suffix}")
    simulate(*words)
    first = (folder / f"out.{suffix}").read_bytes()
    assert len(first) > 1000
    assert "exists already" in simulate(*words, code=1).stderr
    simulate(*words, "--force")
    assert (folder / f"out.{suffix}").read_bytes() == first


def test_gate(folder):
    """A latency above the gate prints the result and exits with 3."""
    result = simulate("net.onnx", "--hardware", "int8_sa", "--max-latency", "0.000001", code=3)
    assert "MMAC" in result.stdout and "is above --max-latency" in result.stderr
    simulate("net.onnx", "--hardware", "int8_sa", "--max-latency", "1000")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("net.csv", "--hardware", "scalesim_defalt"), 2, "Did you mean 'scalesim_default'"),
        (("net.csv", "--hardware", "scalesim_default", "--set", "array.rows=0"), 2, "greater than 0"),
        (("net.csv", "--hardware", "scalesim_default", "--set", "array.rowz=4"), 2, "did you mean 'rows'"),
        (("net.csv", "--hardware", "scalesim_default", "--set", "rows"), 2, "expected FIELD=VALUE"),
        (("net.csv", "--hardware", "scalesim_default", "--json", "--csv"), 2, "cannot be combined"),
        (("net.onnx", "--hardware", "int8_sa", "--shape", "image"), 2, "expected NAME=D,D"),
        (("net.onnx", "--hardware", "int8_sa", "--shape", "x=1,4,12,12"), 2, "no such input"),
        (("net.onnx", "--hardware", "int8_sa", "--weights", "dybit"), 2, "Did you mean 'dybit8'"),
        (("net.onnx", "--hardware", "int8_sa", "--plot", "out.gif"), 2, ".svg"),
        (("net.onnx", "--hardware", "int8_sa", "--sweep", "8,16"), 2, "expected FIELD=VALUES"),
        (("net.onnx", "--hardware", "int8_sa", "--set", "buffers.act_kb=0.001"), 2, "cannot hold one tile"),
        (("missing.onnx", "--hardware", "int8_sa"), 2, "missing.onnx"),
    ],
)
def test_mistakes(folder, words, code, message):
    """Each mistake gets one message, the exit code of the contract, and nothing on stdout."""
    result = simulate(*words, code=code)
    assert message in result.stderr
    assert result.stdout == ""
    assert sorted(path.name for path in folder.iterdir()) == ["net.csv", "net.onnx"]


def test_damaged_model(folder):
    """A file that is no ONNX ends with exit code 1."""
    (folder / "bad.onnx").write_bytes(b"\x08\x07garbage")
    simulate("bad.onnx", "--hardware", "int8_sa", code=1)


PLAN = """\
schema_version: 1
model_sha256: {sha}
layers:
- {{layer: {layer}, weights: dybit4{recode}}}
edges:
- {{tensor: image, format: {format}}}
"""


def test_plan(folder):
    """A float model is priced as a plan would have it; what quantize refuses of a plan is refused."""
    words = ("net.onnx", "--hardware", "dybit_zcu102_like", "--plan", "p.yaml", "--json")
    sha = hashlib.sha256((folder / "net.onnx").read_bytes()).hexdigest()

    def write(**changes: str) -> None:
        text = PLAN.format(**{"sha": sha, "layer": "Conv_0", "recode": "", "format": "int4"} | changes)
        (folder / "p.yaml").write_text(text)

    write()
    conv = json.loads(simulate(*words).stdout)["layers"][0]
    assert conv["bits"]["weight"] == conv["bits"]["activation"] == 4
    write(recode=", recode: sparq3-6opt", format="int8")
    assert json.loads(simulate(*words).stdout)["layers"][0]["runs_at"]["activation"] == 8
    for changes, message in (
        ({"layer": "Conv_1"}, "p.yaml: no layer 'Conv_1'. Did you mean 'Conv_0'?"),
        ({"sha": "ab" * 32}, "p.yaml: made for another model"),
        ({"recode": ", recode: sparq3-6opt"}, "tensor 'image' has format 'int4'; only int8 is re-coded"),
        (
            {"recode": ", recode: sparq4-6opt"},
            "layer 'Conv_0': unknown re-coding 'sparq4-6opt'. Did you",
        ),
        ({"recode": ", scale: mx"}, "layer 'Conv_0': unknown scale method 'mx'. Did you mean 'max'?"),
        ({"recode": ", activations: dynamic"}, "layer 'Conv_0' is a Conv; only a MatMul"),
        ({"format": "dybit4"}, "tensor 'image' has format 'dybit4'; activations take int2 to int8"),
        ({"format": "int8, range: mx"}, "tensor 'image': unknown range method 'mx'"),
    ):
        write(**changes)
        assert message in simulate(*words, code=2).stderr
    assert "cannot be combined" in simulate(*words, "--weights", "int4", code=2).stderr
