"""A small network with every kind of derived tensor, and data for it."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from dybitq.data.source import DataSource
from dybitq.data.spec import load_data
from dybitq.graph.load import Network, load
from dybitq.graph.survey import survey
from dybitq.records.layers import LayerWork

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 3, 8, 6] x) => (float[N, 5] y)
<float low = {-0.5}, float high = {1.25}>
{
  a = Conv <pads = [1, 1, 1, 1], strides = [2, 1]> (x, w1, b1)
  b = Clip (a, low, high)
  c = Conv <group = 4, pads = [1, 0, 0, 1]> (b, w2)
  d = Relu (c)
  e = MaxPool <kernel_shape = [2, 2]> (d)
  f = Flatten (e)
  y = Gemm <transB = 1> (f, w3)
}
"""


def weights() -> dict[str, np.ndarray]:
    """Random weights; channel 2 of the first layer is dead."""
    rng = np.random.default_rng(5)
    shapes = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 1, 2, 2), "w3": (5, 60)}
    made = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    made["w1"][2] = 0
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The network as a file."""
    proto = onnx.parser.parse_model(TEXT)
    for name, array in weights().items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """24 samples as an .npz."""
    path = tmp_path / "d.npz"
    np.savez(path, x=np.random.default_rng(6).standard_normal((24, 3, 8, 6)).astype(np.float32))
    return path


@pytest.fixture
def network(model: Path) -> Network:
    """The network, loaded."""
    return load(model)


@pytest.fixture
def layers(network: Network) -> tuple[LayerWork, ...]:
    """Its survey."""
    return survey(network)


@pytest.fixture
def source(network: Network, data: Path) -> DataSource:
    """Its data."""
    from dybitq.calibration.run import model_inputs

    return load_data(data, inputs=model_inputs(network))
