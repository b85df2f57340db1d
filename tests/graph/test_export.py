"""Bytes that repeat, extra outputs, parts of a network, files beyond 2 GiB."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from dybitq.errors import UnsupportedError
from dybitq.graph import export
from dybitq.graph.load import load
from tests.models import make_model, run

BODY = """
  c = Conv (x, w)
  r = Relu (c)
  s = Shape (r)
  f = Flatten (r)
  y = MatMul (f, v)
"""


@pytest.fixture
def network(tmp_path):
    """A small network with float and integer intermediates."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((6, 4, 3, 3)).astype(np.float32),
        "v": rng.standard_normal((252, 5)).astype(np.float32),
    }
    onnx.save(make_model(BODY, outputs="float[N, 5] y, int64[4] s", weights=weights), tmp_path / "m.onnx")
    return load(tmp_path / "m.onnx")


def test_same_bytes(network):
    """Loading and serialising twice gives the same bytes."""
    assert export.to_bytes(network.model) == export.to_bytes(load(network.source).model)


def test_additional_outputs(network):
    """Intermediate tensors come behind the outputs; inputs and outputs are not repeated."""
    data = export.with_outputs(network, ["x", "c", "f", "y", "c"])
    proto = onnx.load_model_from_string(data)
    assert [value.name for value in proto.graph.output] == ["y", "s", "c", "f"]
    y, _, c, f = run(data)
    assert c.shape == (2, 6, 7, 6) and f.shape == (2, 252) and y.shape == (2, 5)
    assert [v.name for v in network.model.graph.outputs] == ["y", "s"]
    with pytest.raises(KeyError):
        export.with_outputs(network, ["nowhere"])


def test_float_tensors(network):
    """Inputs first, then float results in order; integers are none."""
    assert export.float_tensors(network.model) == ("x", "c", "r", "f", "y")


def test_extract(network):
    """A part between two tensors computes what the whole computes."""
    data = export.with_outputs(network, ["c"])
    x = np.random.default_rng(1).standard_normal((2, 4, 9, 8)).astype(np.float32)
    y, _, c = run(data, {"x": x})
    part = export.extract(network, ["c"], ["y"])
    proto = onnx.load_model_from_string(part)
    assert [node.op_type for node in proto.graph.node] == ["Relu", "Flatten", "MatMul"]
    np.testing.assert_array_equal(run(part, {"c": c})[0], y)
    with pytest.raises(ValueError, match="x"):
        export.extract(network, ["r"], ["c"])


def test_save_above_the_limit_uses_external_data(network, tmp_path, monkeypatch):
    """A model that does not fit one message is written with its tensors beside it."""
    path = tmp_path / "out.onnx"
    export.save(network.model, path)
    assert not (tmp_path / "out.onnx.data").exists()
    small = path.read_bytes()
    monkeypatch.setattr(export, "MESSAGE_LIMIT_BYTES", 100)
    with pytest.raises(UnsupportedError, match="external data"):
        export.to_bytes(network.model)
    export.save(network.model, path)
    assert (tmp_path / "out.onnx.data").exists()
    options_x = np.ones((1, 4, 9, 8), np.float32)
    monkeypatch.undo()
    again = export.to_bytes(ir.load(path))
    np.testing.assert_array_equal(run(again, {"x": options_x})[0], run(small, {"x": options_x})[0])
