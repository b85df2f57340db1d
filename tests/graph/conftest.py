"""Fixtures of the graph tests, which all ask one question: is the output the same?"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from dybitq.graph.export import to_bytes
from dybitq.graph.load import Network, load
from tests.models import run

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
