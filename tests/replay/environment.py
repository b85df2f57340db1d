"""Where bytes can be compared: versions of the libraries, and a probe of how this machine adds up floats.

Sums of floats depend on the order of the additions, which BLAS, numpy and onnxruntime choose by the
processor. The name of a processor says too much, since many run the same kernels, and too little, since a
variable can choose another kernel. So the probe computes: products, factorizations, sums and functions of
fixed numbers, with numpy and with onnxruntime. Two machines of one probe and the same versions are taken
to give the same bytes.
"""

import hashlib
import zlib
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime

from tests.replay.networks import bell, weight

LIBRARIES = ("highspy", "numpy", "onnx", "onnx-ir", "onnxruntime", "pyyaml")
_NETWORK = """\
<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 4, 8, 8] x) => (float[N, P, Q, R] c, float[N, P, Q, R] e, float[N, S] h, float[N, S] y) {
  c = Conv <pads = [1, 1, 1, 1]> (x, w)
  d = Sigmoid (c)
  t = Tanh (c)
  k = Mul (d, t)
  e = Conv <group = 6> (k, v)
  f = Flatten (e)
  h = MatMul (f, u)
  y = Softmax <axis = -1> (h)
}
"""


def environment() -> dict[str, str]:
    """Versions and probe of this machine."""
    return {
        **{name: version(name) for name in LIBRARIES},
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "arithmetic": probe(),
    }


def probe() -> str:
    """First 16 digits of a sha256 of many sums of floats."""
    found = hashlib.sha256()
    for kind in (np.float32, np.float64):
        for rows, inner, columns in ((1, 7, 5), (6, 36, 8), (48, 54, 54), (300, 96, 17)):
            a = bell((rows, inner), "probe a").astype(kind) / kind(3)
            b = bell((inner, columns), "probe b").astype(kind) / kind(7)
            for value in (
                a @ b,
                a.T @ a,
                a @ b[:, 0],
                np.einsum("ij,ik->jk", a, a),
                a.sum(0),
                a.sum(1),
                a.mean(),
            ):
                found.update(np.ascontiguousarray(value).tobytes())
            size = np.abs(a)
            for value in (np.exp(a), np.tanh(a), np.sqrt(size), np.log(size + 1), size**1.7):
                found.update(value.tobytes())
            square = a.T @ a + np.eye(inner, dtype=kind)
            for value in (np.linalg.cholesky(square), np.linalg.inv(square), np.linalg.solve(square, b)):
                found.update(np.ascontiguousarray(value).tobytes())
    for value in _onnxruntime():
        found.update(value.tobytes())
    return found.hexdigest()[:16]


def _onnxruntime() -> list[np.ndarray]:
    """Outputs of a small float network."""
    model = onnx.parser.parse_model(_NETWORK)
    for name, shape in {"w": (6, 4, 3, 3), "v": (6, 1, 3, 3), "u": (216, 5)}.items():
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(weight(shape, name) / np.float32(3), name)
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": bell((5, 4, 8, 8), "probe x") / np.float32(3)})
