"""``dybitq inspect`` from the command line: text byte for byte, the document, and what can go wrong."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from dybitq.cli.main import group

TEXT = """\
m.onnx: {size} B, opset 17, IR version 8

layer   operator  weight   stored as   scale   activation  out  MACs  bytes
Conv_0  Conv      3x2x1x1  8 int8      tensor  32 float32   32    24     10  27.8%
Gemm_0  Gemm      3x2      32 float32          32 float32   32     6     24  66.7%

quantized: 6 of 12 weights in 1 of 2 layers; 10 of 34 stored bytes (22.67 bits a weight); 0.0% of 0.00 MMAC
tensors: 4 in 36 B, 1 of them in 2 B of no layer; everything else in the file: {rest} B

largest  type     shape    layer   bytes
v        float32  3x2      Gemm_0     24  66.7%
w        int8     3x2x1x1  Conv_0      6  16.7%
s        float32  scalar   Conv_0      4  11.1%
unused   int8     2                    2   5.6%
"""


@pytest.fixture
def model(tmp_path, monkeypatch) -> Path:
    """A Conv with int8 weights and a float Gemm."""
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[N, 2, 2, 2] x, float[N, 2] z) => (float[N, 3, 2, 2] y, float[N, 3] t) {
      d = DequantizeLinear (w, s)
      y = Conv (x, d)
      t = Gemm <transB = 1> (z, v)
    }
    """
    proto = onnx.parser.parse_model(text)
    for name, array in {
        "w": np.ones((3, 2, 1, 1), np.int8),
        "s": np.array(0.5, np.float32),
        "v": np.ones((3, 2), np.float32),
        "unused": np.ones(2, np.int8),
    }.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    monkeypatch.chdir(tmp_path)
    onnx.save(proto, "m.onnx")
    return tmp_path / "m.onnx"


def test_text(model):
    """The whole output."""
    result = CliRunner().invoke(group, ["inspect", "m.onnx"])
    size = model.stat().st_size
    assert result.exit_code == 0
    assert result.stdout == TEXT.format(size=size, rest=size - 36)


def test_metadata_of_several_lines(model):
    """Names on one line; of many the first ones and how many more there are."""
    proto = onnx.load(model)
    onnx.helper.set_model_props(proto, {"dybitq.rescaled": "a\nb", "dybitq.many": "\n".join("abcdefgh")})
    onnx.save(proto, model)
    lines = CliRunner().invoke(group, ["inspect", "m.onnx"]).stdout.splitlines()
    assert "dybitq.rescaled: a, b" in lines
    assert "dybitq.many: a, b, c, d, e, f and 2 more" in lines


def test_all_tensors(model):
    """In the order of the file."""
    result = CliRunner().invoke(group, ["inspect", "m.onnx", "--tensors"])
    lines = result.stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("all "))
    assert [line.split()[0] for line in lines[start + 1 :] if line] == ["w", "s", "v", "unused"]


def test_json(model):
    """One document."""
    result = CliRunner().invoke(group, ["inspect", "m.onnx", "--json"])
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1
    assert document["coverage"]["quantized_weights"] == 6
    assert document["coverage"]["macs"] == 30
    conv, gemm = document["layers"]
    assert (conv["weight"], conv["granularity"], conv["input_shape"]) == (
        "w",
        {"kind": "tensor"},
        [None, 2, 2, 2],
    )
    assert (gemm["quantized"], gemm["weight_bits"]) == (False, 32)
    assert [tensor["layer"] for tensor in document["tensors"]] == ["Conv_0", "Conv_0", "Gemm_0", None]


def test_bound_shapes(model):
    """Shapes are bound as in simulate; a wrong one is a configuration error."""
    result = CliRunner().invoke(group, ["inspect", "m.onnx", "--shape", "x=4,2,2,2", "--json"])
    assert json.loads(result.stdout)["layers"][0]["input_shape"] == [4, 2, 2, 2]
    result = CliRunner().invoke(group, ["inspect", "m.onnx", "--shape", "q=4,2,2,2"])
    assert result.exit_code == 2
    assert "inputs: x, z" in result.stderr


def test_no_model(tmp_path):
    """A file that is no model ends with one line and exit code 1."""
    path = tmp_path / "junk.onnx"
    path.write_bytes(b"junk")
    result = CliRunner().invoke(group, ["inspect", str(path)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is not an ONNX model" in result.stderr
