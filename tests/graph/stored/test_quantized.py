"""What a file stores, found in models of every style of quantization."""

import logging

import numpy as np
import onnx
import pytest

from dybitq.graph.read import read
from dybitq.graph.stored.quantized import quantized_survey, stored_survey
from dybitq.records.formats import PerBlock, PerChannel, PerTensor
from tests.models import make_model

MICROSOFT = ', "com.microsoft" : 1'


def array(*shape: int) -> np.ndarray:
    """A random float32 array."""
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


def codes(*shape: int, dtype: type = np.int8) -> np.ndarray:
    """Random 8-bit codes."""
    return np.random.default_rng(3).integers(0, 100, shape).astype(dtype)


@pytest.fixture
def survey(tmp_path):
    """Stored survey of a model."""

    def run(proto: onnx.ModelProto, **shapes: tuple[int, ...]):
        onnx.save(proto, tmp_path / "m.onnx")
        model, _ = read(tmp_path / "m.onnx")
        return stored_survey(model, shapes)

    return run


SCALES = {"s": np.array(0.1, np.float32), "z": np.array(128, np.uint8), "zi": np.array(0, np.int8)}


def test_float(survey):
    """A float model stores 32 bits and says so."""
    proto = make_model("y = Conv (x, w, b)", weights={"w": array(6, 4, 3, 3), "b": array(6)})
    (layer,) = survey(proto).layers
    assert (layer.weight_bits, layer.weight_format, layer.granularity) == (32, "float32", None)
    assert (layer.activation_bits, layer.output_bits, layer.stored_bytes) == (32, 32, 4 * 6 * 36)
    assert layer.layer.bias == "b"


def test_half_precision_storage(survey):
    """Weights in half precision behind a Cast store 16 bits, and are not quantized."""
    body = "v = Cast <to = 1> (w)\n t = Transpose <perm = [1, 0]> (v)\n y = MatMul (x, t)"
    weights = {"w": array(7, 5).astype(np.float16)}
    proto = make_model(body, inputs="float[N, 5] x", outputs="float[N, 7] y", weights=weights)
    (layer,) = survey(proto).layers
    assert (layer.weight_bits, layer.weight_format, layer.granularity) == (16, "float16", None)
    assert layer.layer.weight_shape == (5, 7)
    assert layer.stored_bytes == 70


@pytest.mark.parametrize("per_channel", [True, False])
def test_qdq_conv(survey, per_channel):
    """DequantizeLinear on weight, bias and activation; a Relu before the quantizer of the output."""
    body = f"""
      xq = QuantizeLinear (x, s, z)
      xd = DequantizeLinear (xq, s, z)
      wd = DequantizeLinear {"<axis = 0>" if per_channel else ""} (w, ws, wz)
      bd = DequantizeLinear <axis = 0> (b, bs)
      c = Conv (xd, wd, bd)
      r = Relu (c)
      rq = QuantizeLinear (r, s, z)
      y = DequantizeLinear (rq, s, z)
    """
    count = (6,) if per_channel else ()
    weights = {
        **SCALES,
        "w": codes(6, 4, 3, 3),
        "ws": np.full(count, 0.1, np.float32),
        "wz": np.zeros(count, np.int8),
        "b": codes(6).astype(np.int32),
        "bs": np.full(6, 0.01, np.float32),
    }
    found = survey(make_model(body, weights=weights))
    (layer,) = found.layers
    assert (layer.weight_bits, layer.weight_format) == (8, "int8")
    assert layer.granularity == (PerChannel(axis=0) if per_channel else PerTensor())
    assert (layer.activation_bits, layer.activation_format, layer.output_bits) == (8, "uint8", 8)
    assert (layer.layer.weight, layer.layer.bias) == ("w", "b")
    assert layer.stored_bytes == 216 + 5 * (6 if per_channel else 1)
    assert layer.layer.macs == 7 * 6 * 216
    users = {tensor.name: tensor.layer for tensor in found.tensors}
    assert users["w"] == users["ws"] == users["bs"] == "Conv_0"
    assert users["z"] is None


def test_int4_blocks(survey):
    """Blocked scales of opset 21, with codes of four bits."""
    body = "wd = DequantizeLinear <axis = 0, block_size = 4> (w, ws)\n y = MatMul (x, wd)"
    proto = make_model(
        body,
        inputs="float[N, 8] x",
        outputs="float[N, 3] y",
        weights={"ws": array(2, 3)},
        opset=21,
        ir_version=10,
    )
    packed = onnx.helper.make_tensor("w", onnx.TensorProto.INT4, [8, 3], np.zeros(24, np.int64))
    proto.graph.initializer.append(packed)
    (layer,) = survey(proto).layers
    assert (layer.weight_bits, layer.weight_format) == (4, "int4")
    assert layer.granularity == PerBlock(axis=0, size=4)
    assert layer.stored_bytes == 12 + 24
    assert layer.activation_bits == 32


def test_codes_from_a_table(survey):
    """A look-up in a constant table: bits follow from bytes and number of weights."""
    body = """
      i = Cast <to = 6> (w)
      rows = Gather (table, i)
      shaped = Reshape (rows, shape)
      wd = DequantizeLinear <axis = 0> (shaped, ws)
      y = Conv (x, wd)
    """
    weights = {
        "w": codes(108, dtype=np.uint8),
        "table": codes(256, 2),
        "shape": np.array([6, 4, 3, 3]),
        "ws": np.full(6, 0.1, np.float32),
    }
    (layer,) = survey(make_model(body, weights=weights)).layers
    assert (layer.weight_bits, layer.weight_format) == (4, "codes4")
    assert layer.granularity == PerChannel(axis=0)
    assert layer.layer.weight == "w"


def test_declared_format(survey):
    """What the model says about a layer wins over what can be guessed."""
    body = "wd = DequantizeLinear <axis = 0> (w, ws)\n y = Conv (x, wd)"
    proto = make_model(
        body, weights={"w": codes(6, 4, 3, 3), "ws": np.full(6, 0.1, np.float32)}, ir_version=10
    )
    for key, value in {"weights": "dybit4", "layer": "first", "reason": "too few samples"}.items():
        entry = proto.graph.node[1].metadata_props.add()
        entry.key, entry.value = f"dybitq.{key}", value
    (layer,) = survey(proto).layers
    assert (layer.weight_bits, layer.weight_format) == (4, "dybit4")
    assert (layer.layer.name, layer.reason) == ("first", "too few samples")


@pytest.mark.parametrize("name", ["sparq4-5opt", "dybit4"])
def test_recoded_activations(survey, name):
    """A layer that re-codes its input says so on its node."""
    body = "q = QuantizeLinear (x, s, z)\n d = DequantizeLinear (q, s, z)\n y = Conv (d, w)"
    proto = make_model(body, weights={**SCALES, "w": array(6, 4, 3, 3)}, ir_version=10)
    entry = proto.graph.node[2].metadata_props.add()
    entry.key, entry.value = "dybitq.recode", name
    (layer,) = survey(proto).layers
    assert (layer.activation_bits, layer.activation_format) == (4, name)


def test_mul_as_dequantizer(survey):
    """Cast and Mul, per channel: the axis is where the scale varies."""
    body = "f = Cast <to = 1> (w)\n d = Mul (f, s)\n y = MatMul (x, d)"
    proto = make_model(
        body,
        inputs="float[N, 5] x",
        outputs="float[N, 7] y",
        weights={"w": codes(5, 7), "s": array(1, 7)},
    )
    (layer,) = survey(proto).layers
    assert (layer.weight_bits, layer.granularity, layer.stored_bytes) == (8, PerChannel(axis=1), 35 + 28)


def test_narrow_activations_by_a_clip(survey):
    """A Clip on the codes right behind the quantizer narrows them, and pooling keeps them narrow."""
    body = """
      xq = QuantizeLinear (x, s, zero)
      xc = Clip (xq, zero, fifteen)
      p = MaxPool <kernel_shape = [2, 2]> (xc)
      xd = DequantizeLinear (p, s, zero)
      y = Conv (xd, w)
    """
    weights = {
        "s": np.array(0.1, np.float32),
        "zero": np.array(0, np.uint8),
        "fifteen": np.array(15, np.uint8),
        "w": array(6, 4, 3, 3),
    }
    (layer,) = survey(make_model(body, weights=weights)).layers
    assert (layer.activation_bits, layer.activation_format) == (4, "uint4")


def test_integer_operators(survey):
    """QLinearConv and MatMulInteger: scales beside and behind the product."""
    body = """
      xq = QuantizeLinear (x, s, z)
      c = QLinearConv (xq, s, z, w, ws, wz, s, z, b)
      d = DequantizeLinear (c, s, z)
      f = Flatten (d)
      q, qs, qz = DynamicQuantizeLinear (f)
      m = MatMulInteger (q, v, qz)
      mf = Cast <to = 1> (m)
      scale = Mul (qs, vs)
      y = Mul (mf, scale)
    """
    weights = {
        **SCALES,
        "w": codes(6, 4, 3, 3),
        "ws": np.full(6, 0.1, np.float32),
        "wz": np.zeros(6, np.int8),
        "b": codes(6).astype(np.int32),
        "v": codes(252, 5),
        "vs": np.full(5, 0.1, np.float32),
    }
    conv, product = survey(make_model(body, outputs="float[N, 5] y", weights=weights)).layers
    assert (conv.layer.op_type, conv.layer.geometry.kind) == ("QLinearConv", "conv")
    assert (conv.weight_bits, conv.activation_bits, conv.output_bits) == (8, 8, 8)
    assert (conv.granularity, conv.stored_bytes) == (PerChannel(axis=0), 216 + 24 + 6)
    assert (conv.layer.geometry.window.kernel, conv.layer.bias) == ((3, 3), "b")
    assert product.layer.op_type == "MatMulInteger"
    assert (product.activation_format, product.output_bits) == ("dynamic uint8", 32)
    assert (product.granularity, product.stored_bytes) == (PerChannel(axis=1), 1260 + 20)
    assert product.layer.macs == 1260


def test_products_of_activations(survey):
    """Both operands of an attention product have widths, and store nothing."""
    body = """
      q = QuantizeLinear (x, s, z)
      d = DequantizeLinear (q, s, z)
      t = Transpose <perm = [0, 2, 1]> (d)
      y = MatMul (d, t)
    """
    proto = make_model(body, inputs="float[N, 3, 4] x", outputs="float[N, 3, 3] y", weights=SCALES)
    (layer,) = survey(proto).layers
    assert layer.layer.geometry.kind == "matmul_dynamic"
    assert (layer.weight_bits, layer.activation_bits, layer.stored_bytes) == (8, 8, 0)


def test_embedding_in_codes(survey):
    """A table of codes whose rows are scaled behind the look-up."""
    body = "r = Gather (w, i)\n f = Cast <to = 1> (r)\n k = Gather (s, i)\n y = Mul (f, k)"
    proto = make_model(
        body,
        inputs="int64[N] i",
        outputs="float[N, 4] y",
        weights={"w": codes(9, 4), "s": array(9, 1)},
    )
    (layer,) = survey(proto).layers
    assert (layer.layer.geometry.kind, layer.weight_bits) == ("gather", 8)
    assert (layer.granularity, layer.stored_bytes) == (PerChannel(axis=0), 36 + 36)


def test_matmul_nbits(survey):
    """Onnxruntime's own packed MatMul: bits and blocks are attributes."""
    body = "y = com.microsoft.MatMulNBits <K = 64, N = 8, bits = 4, block_size = 32> (x, w, s)"
    proto = make_model(
        body,
        inputs="float[N, 64] x",
        outputs="float[N, 8] y",
        domains=MICROSOFT,
        weights={"w": codes(8, 2, 16, dtype=np.uint8), "s": array(16)},
    )
    (layer,) = survey(proto).layers
    assert (layer.weight_bits, layer.weight_format) == (4, "int4")
    assert layer.granularity == PerBlock(axis=0, size=32)
    assert (layer.layer.weight_shape, layer.layer.macs) == ((64, 8), 512)
    assert layer.stored_bytes == 256 + 64


def test_shared_weight_counts_once(survey):
    """Bytes belong to the first layer that uses them."""
    proto = make_model(
        "a = Conv (x, w)\n b = Conv (r, w)\n r = Relu (x)\n y = Add (a, b)",
        weights={"w": array(6, 4, 3, 3)},
    )
    first, second = survey(proto).layers
    assert (first.stored_bytes, second.stored_bytes) == (864, 0)


def test_function_bodies_belong_to_no_layer(survey):
    """Constants inside a function are stored once, however often it is called."""
    functions = """
    <domain: "local", opset_import: ["" : 17]>
    decode (a) => (b) { f = Cast <to = 1> (a)  k = Constant <value = float {0.5}> ()  b = Mul (f, k) }
    """
    body = "d = local.decode (w)\n e = local.decode (v)\n m = Conv (x, d)\n y = Conv (m, e)"
    proto = make_model(
        body,
        domains=', "local" : 1',
        functions=functions,
        weights={"w": codes(4, 4, 3, 3), "v": codes(4, 4, 3, 3)},
    )
    found = survey(proto)
    assert [layer.stored_bytes for layer in found.layers] == [144, 144]
    assert [layer.weight_bits for layer in found.layers] == [8, 8]
    assert [tensor.name for tensor in found.tensors] == ["w", "v", "decode/k"]


def test_float_parts_are_named(survey):
    """Notes name what is no layer."""
    proto = make_model("y = Conv (x, w)", inputs="float[N, 4, 9, 8] x, float[6, 4, 3, 3] w")
    found = survey(proto)
    assert found.layers == ()
    assert any("its weight is computed at run time" in note for note in found.notes)


# ------------------------------------------------------------------ onnxruntime's own quantizers


@pytest.fixture
def float_model(tmp_path):
    """A Conv, a residual Add, pooling and a Gemm, on disk."""
    body = """
      a = Conv <pads = [1, 1, 1, 1]> (x, w, b)
      r = Relu (a)
      s = Add (r, x)
      p = GlobalAveragePool (s)
      f = Flatten (p)
      y = Gemm <transB = 1> (f, v, c)
    """
    weights = {"w": array(4, 4, 3, 3), "b": array(4), "v": array(5, 4), "c": array(5)}
    path = tmp_path / "float.onnx"
    onnx.save(make_model(body, outputs="float[N, 5] y", weights=weights), path)
    return path


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("style", ["QDQ", "QOperator"])
def test_static_quantizer(float_model, tmp_path, monkeypatch, style, per_channel):
    """Both file formats of quantize_static, with shapes beyond onnxruntime's own operators."""
    tools = pytest.importorskip("onnxruntime.quantization")
    monkeypatch.setattr(logging.root, "disabled", True)  # it warns of preprocessing
    feeds = iter([{"x": array(1, 4, 9, 8)}])
    reader = type("Reader", (tools.CalibrationDataReader,), {"get_next": lambda self: next(feeds, None)})()
    tools.quantize_static(
        float_model,
        tmp_path / "q.onnx",
        reader,
        quant_format=tools.QuantFormat[style],
        per_channel=per_channel,
        weight_type=tools.QuantType.QInt8,
    )
    conv, gemm = quantized_survey(read(tmp_path / "q.onnx")[0])
    for layer in (conv, gemm):
        assert (layer.weight_bits, layer.weight_format, layer.activation_bits) == (8, "int8", 8)
        assert layer.granularity == (PerChannel(axis=0) if per_channel else PerTensor())
    assert (conv.output_bits, conv.layer.macs, gemm.layer.macs) == (8, 144 * 72, 20)
    assert gemm.output_bits == 8


def test_dynamic_quantizer(float_model, tmp_path, monkeypatch):
    """quantize_dynamic: integer products with the range of the run."""
    tools = pytest.importorskip("onnxruntime.quantization")
    monkeypatch.setattr(logging.root, "disabled", True)
    tools.quantize_dynamic(float_model, tmp_path / "q.onnx", weight_type=tools.QuantType.QInt8)
    conv, gemm = quantized_survey(read(tmp_path / "q.onnx")[0])
    assert (conv.layer.op_type, gemm.layer.op_type) == ("ConvInteger", "MatMulInteger")
    for layer in (conv, gemm):
        assert (layer.weight_bits, layer.activation_format, layer.output_bits) == (8, "dynamic uint8", 32)
    assert gemm.layer.macs == 20
