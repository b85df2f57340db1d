"""The door to onnxruntime: what goes in and out, silence, and one-line errors."""

import numpy as np
import onnx
import pytest

from dybitq.errors import ModelError
from dybitq.records.layers import TensorInfo
from dybitq.runtime.session import Session, first_line

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 3] x, int64[N] k) => (float[N, 3] y, int64[N] z) {
  y = Relu (x)
  z = Identity (k)
}
"""


@pytest.fixture
def model() -> bytes:
    """Two inputs and two outputs of different types."""
    return onnx.parser.parse_model(TEXT).SerializeToString()


def feeds(n: int = 2) -> dict[str, np.ndarray]:
    """Inputs for :func:`model`."""
    return {"x": -np.ones((n, 3), np.float32), "k": np.arange(n)}


def test_inputs_and_outputs_are_described(model):
    """Names, extents (None where dynamic) and numpy types."""
    session = Session(model)
    assert session.inputs == (
        TensorInfo(name="x", shape=(None, 3), dtype="float32"),
        TensorInfo(name="k", shape=(None,), dtype="int64"),
    )
    assert [o.name for o in session.outputs] == ["y", "z"]


def test_outputs_come_by_name(model):
    """All of them, or those asked for in that order."""
    session = Session(model, threads=1)
    assert list(session.run(feeds())) == ["y", "z"]
    found = session.run(feeds(), ["z"])
    assert list(found) == ["z"] and found["z"].tolist() == [0, 1]


def test_nothing_wanted_is_nothing_returned(model):
    """An empty list of names is no request for everything, which is what onnxruntime takes it for."""
    assert Session(model).run(feeds(), []) == {}


def test_a_path_is_as_good_as_bytes(model, tmp_path):
    """The file may have any name; messages call the model by it."""
    path = tmp_path / "m.onnx"
    path.write_bytes(model)
    assert Session(path).name == str(path)


def test_the_optimised_graph_can_be_kept(model, tmp_path):
    """Onnxruntime writes the graph that it runs; with ``none`` it is the graph that came in."""
    Session(model, optimization="none", optimized_model_path=tmp_path / "o.onnx")
    kept = onnx.load(tmp_path / "o.onnx")
    assert [n.op_type for n in kept.graph.node] == ["Relu", "Identity"]


@pytest.mark.parametrize("content", [b"", b"garbage", TEXT.encode()])
def test_no_model(content, capfd):
    """What is not a model gives one line and prints nothing."""
    with pytest.raises(ModelError) as caught:
        Session(content, name="m.onnx")
    assert str(caught.value).startswith("m.onnx: onnxruntime cannot load it: ")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_missing_input(model):
    """The message names the input."""
    with pytest.raises(ModelError, match="'k'"):
        Session(model).run({"x": feeds()["x"]})


def test_a_failure_on_the_way(capfd):
    """What an operator complains about reaches the user, without onnxruntime's source path."""
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N] a, float[M] b) => (float[P] c) {c = Add(a, b)}'
    )
    session = Session(onnx.parser.parse_model(text).SerializeToString())
    with pytest.raises(ModelError) as caught:
        session.run({"a": np.ones(2, np.float32), "b": np.ones(3, np.float32)})
    assert "Add" in str(caught.value) and "onnxruntime_src" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_first_line_shortens():
    """Long messages of the library are cut."""
    assert len(first_line(ValueError("x" * 1000))) == 400
    assert first_line(ValueError()) == "ValueError"
