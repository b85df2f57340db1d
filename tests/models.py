"""Small ONNX models from text, run in onnxruntime without graph optimisation; layers of one node."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime

from dybitq.records.layers import Geometry, LayerWork

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


def layer_of(geometry: Geometry, **changes: Any) -> LayerWork:
    """A layer of one node, with nothing known but its geometry."""
    layer = LayerWork(
        name="l",
        op_type=geometry.kind,
        input="x",
        output="y",
        weight="w",
        bias=None,
        bias_node=None,
        geometry=geometry,
        input_shape=(),
        output_shape=(),
        gemm=None,
    )
    return replace(layer, **changes)
