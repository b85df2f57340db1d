"""Small float networks for the replay, and the commands that each of them goes through."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

Shape = tuple[int, ...]
IMAGE: Mapping[str, Shape] = {"x": (4, 8, 8)}
ROWS: Mapping[str, Shape] = {"x": (6, 8)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One network, its data, and the options of the commands that are run on it.

    Attributes:
        body: nodes in ONNX text.
        weights: initializers; a shape stands for random values.
        inputs, outputs: values of the graph in ONNX text.
        data: shape of one sample of each input.
        samples: number of samples.
        opset: version of the standard operators.
        whole: inputs that are indices below this number.
        calibrate: options of ``dybitq calibrate``.
        quantize: options of ``dybitq quantize``, one run each.
        search: options of ``dybitq search``, one run each; its plan is then carried out.
        files: recipes that the options name, by file name.
    """

    body: str
    weights: Mapping[str, Shape | np.ndarray] = field(default_factory=dict)
    inputs: str = "float[N, 4, 8, 8] x"
    outputs: str = "float[N, P, Q, R] y"
    data: Mapping[str, Shape] = field(default_factory=lambda: IMAGE)
    samples: int = 24
    opset: int = 17
    whole: int = 0
    calibrate: str = ""
    quantize: tuple[str, ...] = ("",)
    search: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    def model(self) -> bytes:
        """The float model, the same bytes everywhere."""
        text = (
            f'<ir_version: 8, opset_import: ["" : {self.opset}]>\n'
            f"g ({self.inputs}) => ({self.outputs}) {{\n{self.body}\n}}\n"
        )
        proto = onnx.parser.parse_model(text)
        for name, value in self.weights.items():
            array = value if isinstance(value, np.ndarray) else weight(value, name)
            proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        return proto.SerializeToString(deterministic=True)

    def arrays(self) -> dict[str, np.ndarray]:
        """The samples of every input."""
        drawn = {name: bell((self.samples, *shape), f"data {name}") for name, shape in self.data.items()}
        if self.whole:
            return {n: np.floor(np.abs(v) * 64).astype(np.int64) % self.whole for n, v in drawn.items()}
        return drawn


def bell(shape: Shape, seed: str) -> np.ndarray:
    """Values with about unit variance, multiples of 1/128: sums of four bytes of a hash, so no generator."""
    count = math.prod(shape)
    drawn = np.frombuffer(hashlib.shake_256(seed.encode()).digest(4 * count), np.uint8)
    total = drawn.reshape(count, 4).astype(np.int64).sum(axis=1) - 510
    return (total / 128).astype(np.float32).reshape(shape)


def weight(shape: Shape, seed: str) -> np.ndarray:
    """Random weights with about unit gain, scaled by a power of two."""
    inputs = math.prod(shape[1:])
    return bell(shape, f"{seed} {shape}") * np.float32(2.0 ** -round(math.log2(max(inputs, 1)) / 2))


def scalar(value: float) -> np.ndarray:
    """A float32 scalar."""
    return np.array(value, np.float32)


def uneven(shape: Shape, seed: str, gains: tuple[float, ...]) -> np.ndarray:
    """Random weights whose output channels (axis 0) differ by ``gains``, in turn."""
    factors = np.resize(np.array(gains, np.float32), shape[0])
    return weight(shape, seed) * factors.reshape(-1, *[1] * (len(shape) - 1))


def ints(*values: int) -> np.ndarray:
    """An int64 vector."""
    return np.array(values, np.int64)
