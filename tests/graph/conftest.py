"""Small ONNX models from text, and the one question all graph tests ask: is the output the same?"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from dybitq.graph.export import to_bytes
from dybitq.graph.load import Network, load

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
}


def make_model(
    body: str,
    *,
    inputs: str = "float[N, 4, 9, 8] x",
    outputs: str = "float[N, P, Q, R] y",
    weights: Mapping[str, np.ndarray] | None = None,
    opset: int = 17,
    ir_version: int = 8,
    domains: str = "",
    functions: str = "",
) -> onnx.ModelProto:
    """A model from ONNX text, with ``weights`` as initializers."""
    text = (
        f'<ir_version: {ir_version}, opset_import: ["" : {opset}{domains}]>\n'
        f"g ({inputs}) => ({outputs}) {{\n{body}\n}}\n{functions}"
    )
    proto = onnx.parser.parse_model(text)
    for name, array in (weights or {}).items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    return proto


def run(model: bytes, feeds: Mapping[str, np.ndarray] | None = None) -> list[np.ndarray]:
    """All outputs, single-threaded, without graph optimisation; random inputs unless given."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    chosen = dict(feeds or {})
    rng = np.random.default_rng(7)
    for entry in session.get_inputs():
        shape = [d if isinstance(d, int) else {"N": 2, "S": 5, "H": 9, "W": 8}.get(d, 3) for d in entry.shape]
        kind = _TYPES[entry.type]
        values = rng.standard_normal(shape) if np.issubdtype(kind, np.floating) else rng.integers(0, 2, shape)
        chosen.setdefault(entry.name, np.asarray(values).astype(kind))
    return session.run(None, chosen)


Check = Callable[..., Network]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Load a model and compare the normal form with the original in onnxruntime, on the same inputs."""

    def compare(
        proto: onnx.ModelProto,
        feeds: Mapping[str, np.ndarray] | None = None,
        *,
        tolerance: float = 1e-5,
    ) -> Network:
        path = tmp_path / "model.onnx"
        onnx.save(proto, path)
        before = path.read_bytes()
        network = load(path)
        normal = to_bytes(network.model)
        result = onnx.load_model_from_string(normal)
        onnx.checker.check_model(result, full_check=False)
        for kind in ("input", "output"):
            old, new = getattr(proto.graph, kind), getattr(result.graph, kind)
            assert [v.SerializeToString() for v in old] == [v.SerializeToString() for v in new]
        names = [node.name for node in result.graph.node]
        assert all(names) and len(set(names)) == len(names)
        for expected, found in zip(run(before, feeds), run(normal, feeds), strict=True):
            assert expected.shape == found.shape and expected.dtype == found.dtype
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
        assert path.read_bytes() == before
        return network

    return compare


@pytest.fixture
def ops() -> Callable[[Network], list[str]]:
    """Operator types of the normal form, in order."""
    return lambda network: [node.op_type for node in network.model.graph]
