"""Which tensors of a quantized model are codes, and of what."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from dybitq.graph import keys
from dybitq.graph.read import read
from dybitq.graph.stored.coded import DynamicCodes, FloatOutput, counterparts

HEAD = '<ir_version: 10, opset_import: ["" : 21]> g (float[N, 4] x) => (float[N, 4] y)'
SCALES = "<float s = {0.5}, uint8 z = {3}, int8[2] w = {1, 2}, float[4] v = {1, 2, 3, 4}, uint8 c = {9}>"


@pytest.fixture
def found(tmp_path: Path):
    """Coded tensors of a model in text, as (tensor, codes)."""

    def look(body: str, known: set[str], metadata: dict[str, str] | None = None):
        proto = onnx.parser.parse_model(f"{HEAD} {SCALES} {{ {body} }}")
        for node in proto.graph.node:
            for output, tensor in (metadata or {}).items():
                if output in node.output:
                    node.metadata_props.append(onnx.StringStringEntryProto(key=keys.TENSOR, value=tensor))
        onnx.save(proto, tmp_path / "m.onnx")
        model, _ = read(tmp_path / "m.onnx")
        return counterparts(model, known)

    return look


def pairs(entries) -> list[tuple[str, str]]:
    """Names only."""
    return [(entry.tensor, entry.outputs[0]) for entry in entries]


QDQ = "q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)  y = Relu (d)"


def test_by_the_quantized_input(found):
    """Other people's models keep the float tensor's name before the quantizer."""
    assert pairs(found(QDQ, {"x"})) == [("x", "q")]


def test_by_the_dequantized_output(found):
    """Ours keep it behind the dequantizer."""
    assert pairs(found(QDQ, {"d"})) == [("d", "q")]


def test_by_metadata(found):
    """What the node says comes first, on either node."""
    assert pairs(found(QDQ, {"x", "d", "m"}, {"d": "m"})) == [("m", "q")]
    assert pairs(found(QDQ, {"x", "m"}, {"q": "m"})) == [("m", "q")]


def test_through_a_clamp(found):
    """Codes narrower than 8 bits are clamped between the two."""
    body = QDQ.replace("d = DequantizeLinear (q,", "k = Clip (q, c)  d = DequantizeLinear (k,")
    assert pairs(found(body, {"x"})) == [("x", "k")]


def test_unknown_tensors_are_left_out(found):
    """A tensor that the float model does not have, and weights, are no pairs."""
    assert found(QDQ, {"other"}) == ()
    assert found("d = DequantizeLinear (w, s)  e = ReduceSum (d)  y = Add (x, e)", {"d", "w"}) == ()


def test_decoding(found):
    """Scalar and per-axis scales; without a zero point codes count from zero."""
    (entry,) = found(QDQ, {"x"})
    np.testing.assert_array_equal(entry.decode({"q": np.array([[3, 5]], np.uint8)}), [[0, 1]])
    body = "q = QuantizeLinear <axis = 1> (x, v)  y = DequantizeLinear <axis = 1> (q, v)"
    (entry,) = found(body, {"x"})
    np.testing.assert_array_equal(entry.decode({"q": np.full((2, 4), 2, np.uint8)}), [[2, 4, 6, 8]] * 2)


DYNAMIC = """
  q, t, o = DynamicQuantizeLinear (x)
  i = Cast <to = 1> (q)
  y = Mul (i, t)
"""


def test_dynamic_codes(found):
    """The float tensor before the quantizer; scale and zero point are those of the run."""
    (entry,) = found(DYNAMIC, {"x"})
    assert isinstance(entry, DynamicCodes) and entry.outputs == ("q", "t", "o")
    values = {"q": np.array([3, 5], np.uint8), "t": np.float32(0.5), "o": np.array(3, np.uint8)}
    np.testing.assert_array_equal(entry.decode(values), [0, 1])


def test_layers_with_float_activations(tmp_path):
    """Their output itself is compared, unless a quantizer reads it."""
    text = f"{HEAD} {SCALES} {{ r = Relu (x)  u = Relu (r)  {QDQ.replace('(x', '(u')} }}"
    proto = onnx.parser.parse_model(text)
    for node in proto.graph.node[:2]:
        node.metadata_props.append(onnx.StringStringEntryProto(key=keys.WEIGHTS, value="int4"))
    onnx.save(proto, tmp_path / "m.onnx")
    model, _ = read(tmp_path / "m.onnx")
    first, *rest = counterparts(model, {"r", "u"})
    assert isinstance(first, FloatOutput) and first.outputs == ("r",)
    assert pairs(rest) == [("u", "q")]


@pytest.mark.parametrize(
    ("body", "element"),
    [
        ("q = MatMulInteger (a, b)  d = DequantizeLinear (q, s)", onnx.TensorProto.INT32),
        ("i = MatMulInteger (a, b)  q = Add (i, k)  d = DequantizeLinear (q, s)", onnx.TensorProto.INT32),
        ("q = Identity (a)  d = DequantizeLinear (q, s)", onnx.TensorProto.UINT8),
    ],
)
def test_codes_without_a_zero_point(tmp_path, body, element):
    """The sums of an integer-only layer are int32, and can be fetched as such."""
    head = '<ir_version: 10, opset_import: ["" : 21]> g (uint8[N, 4] a) => (float[N, 2] y)'
    parameters = "<float s = {0.5}, int8[4, 2] b = {1, 2, 3, 4, 5, 6, 7, 8}, int32[2] k = {5, 6}>"
    onnx.save(onnx.parser.parse_model(f"{head} {parameters} {{ {body}  y = Relu (d) }}"), tmp_path / "m.onnx")
    model, _ = read(tmp_path / "m.onnx")
    for node in model.graph:
        for value in node.outputs:
            value.type = None
    (entry,) = counterparts(model, {"d"})
    (codes,) = (v for node in model.graph for v in node.outputs if v.name == entry.outputs[0])
    assert entry.outputs[0] == "q" and codes.dtype == element
