"""Small networks on the whole integer-only road, and their proof."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from dybitq.api.integer import IntegerNetwork, plan_of, quantize_to_integers
from dybitq.api.verify import verify
from dybitq.calibration.run import CalibrationSettings as Pass
from dybitq.calibration.run import collect
from dybitq.graph.export import to_bytes
from dybitq.graph.load import load
from dybitq.graph.survey import survey
from dybitq.plan.recipe import DEFAULTS, Recipe
from dybitq.records.arithmetic import INTEGER_EXPLICIT, INTEGER_FAST, IntegerOptions
from dybitq.report.verify import VerifyResult
from tests.emit.toolkit import run, source
from tests.models import make_model

FLAVOURS = (INTEGER_FAST, INTEGER_EXPLICIT)


@dataclass(frozen=True, kw_only=True)
class Net:
    """A network as ONNX text, its weights drawn by shape, or given."""

    body: str
    weights: Mapping[str, Any]
    inputs: str = "float[N, 4, 9, 8] x"
    outputs: str = "float[N, A, B, C] y"
    opset: int = 17
    batch: int = 2
    feeds: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: {"x": (4, 9, 8)})

    def proto(self, seed: int = 0) -> onnx.ModelProto:
        """The float model."""
        rng = np.random.default_rng(seed)
        arrays = {
            name: value
            if isinstance(value, np.ndarray | np.generic)
            else (rng.standard_normal(value) / np.sqrt(max(1, np.prod(value[1:])))).astype(np.float32)
            for name, value in self.weights.items()
        }
        return make_model(
            self.body, inputs=self.inputs, outputs=self.outputs, weights=arrays, opset=self.opset
        )

    def data(self, seed: int = 0, batch: int | None = None) -> dict[str, np.ndarray]:
        """Random inputs, a few of them far out so that codes saturate."""
        rng = np.random.default_rng(seed)
        count = batch or self.batch
        return {
            name: (rng.standard_normal((count, *shape)) * rng.choice([0.5, 1, 3])).astype(np.float32)
            for name, shape in self.feeds.items()
        }


def quantize_net(
    net: Net,
    folder: Path,
    arithmetic: str = INTEGER_FAST,
    options: IntegerOptions | None = None,
    **settings: Any,
) -> tuple[Path, IntegerNetwork]:
    """Calibrate and quantize; the file, and what it was made from."""
    path = folder / "float.onnx"
    onnx.save(net.proto(), path)
    network = load(path)
    layers = survey(network)
    batches = [net.data(seed) for seed in range(1, 4)]
    statistics = collect(network, layers, source(network, batches), Pass(workers=1))
    recipe = Recipe(
        defaults=replace(DEFAULTS, rounding="nearest", **settings),
        first_last=None,
        arithmetic=arithmetic,
        integer=options or IntegerOptions(),
    )
    plan = plan_of(network, layers, recipe)
    made = quantize_to_integers(network, {layer.name: layer for layer in layers}, plan, statistics)
    content = to_bytes(made.model)
    onnx.checker.check_model(content)
    output = folder / f"{arithmetic}.onnx"
    output.write_bytes(content)
    return output, made


def prove(path: Path, net: Net, *, seed: int = 9, batch: int = 3, only: str = "strict") -> VerifyResult:
    """Verify a file on fresh random samples."""
    data = path.parent / "samples.npz"
    np.savez(data, **net.data(seed, batch))
    return verify(path, data=data, integer_only=only, batch_size=batch, threads=1)


def outputs(path: Path, net: Net, *, seed: int = 9) -> list[np.ndarray]:
    """What onnxruntime computes at default settings."""
    return list(run(path.read_bytes(), net.data(seed)).values())
