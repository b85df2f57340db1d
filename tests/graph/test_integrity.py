"""Damaged files: whatever byte is wrong, the answer is one of our own errors or a working model."""

import contextlib
import random

import numpy as np
import onnx
import pytest

from dybitq.errors import DybitqError, ModelError
from dybitq.graph.export import to_bytes
from dybitq.graph.load import load
from dybitq.graph.read import read
from dybitq.graph.stored.quantized import stored_survey
from dybitq.graph.survey import survey
from tests.models import make_model


def network() -> onnx.ModelProto:
    """A model that goes through most passes."""
    body = """
      k = Constant <value = float[4] {1, 2, 3, 4}> ()
      i = Identity (x)
      c = Conv <pads = [1, 1, 1, 1], group = 2> (i, w, b)
      n = BatchNormalization (c, k, k, k, k)
      m = ReduceMean <axes = [2, 3], keepdims = 0> (n)
      d = Dropout (m)
      g = Gemm <alpha = 0.5, transB = 1> (d, v, e)
      y = Softmax <axis = 1> (g)
      z = If (t) <
        then_branch = p () => (float[N, 5] u) { u = Neg (g) },
        else_branch = q () => (float[N, 5] o) { o = Identity (g) }
      >
    """
    rng = np.random.default_rng(0)
    shapes = {"w": (4, 2, 3, 3), "b": (4,), "v": (5, 4), "e": (5,)}
    return make_model(
        body,
        inputs="float[N, 4, 6, 6] x, bool t",
        outputs="float[N, 5] y, float[N, 5] z",
        weights={name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()},
        opset=12,
    )


@pytest.mark.parametrize("seed", range(120))
def test_wrong_bytes(tmp_path, seed):
    """Bytes changed, cut out or put in anywhere: refused in our own words, or loaded."""
    rng = random.Random(seed)
    data = bytearray(network().SerializeToString())
    place = rng.randrange(len(data))
    if seed % 3 == 0:
        data[place] = rng.randrange(256)
    elif seed % 3 == 1:
        del data[place : place + rng.randrange(1, 30)]
    else:
        data[place:place] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 8)))
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with contextlib.suppress(DybitqError):
        loaded = load(path)
        survey(loaded)
        to_bytes(loaded.model)
        stored_survey(read(path)[0])
    assert path.read_bytes() == data


def test_tensor_of_the_wrong_size(tmp_path):
    """The message gives both sizes."""
    proto = network()
    proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-3]
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"'w' is damaged: FLOAT \[4, 2, 3, 3\] takes 288 bytes, but 285"):
        load(tmp_path / "m.onnx")


def test_unknown_attribute(tmp_path):
    """The message names node and attribute."""
    proto = network()
    proto.graph.node[2].attribute[0].name = "paths"
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="node 'Conv' is damaged: Unrecognized attribute: paths"):
        load(tmp_path / "m.onnx")


def test_two_sources(tmp_path):
    """A value that two nodes make."""
    proto = network()
    proto.graph.node[4].output[0] = "c"
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="the model is damaged: Output 'c' is redeclared"):
        load(tmp_path / "m.onnx")


def test_text_that_is_none(tmp_path):
    """A name with bytes that are no UTF-8."""
    data = network().SerializeToString().replace(b"else_branch", b"else\xff\xferanch")
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(ModelError, match="is not a UTF-8 text"):
        load(tmp_path / "m.onnx")
