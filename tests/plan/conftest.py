"""Networks from ONNX text, surveyed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from dybitq.graph.load import Network, load
from dybitq.graph.survey import survey
from dybitq.records.layers import LayerWork
from tests.models import make_model


@dataclass(frozen=True)
class Surveyed:
    """A network and its layers."""

    network: Network
    layers: Mapping[str, LayerWork]


Surveyor = Callable[..., Surveyed]


@pytest.fixture
def surveyed(tmp_path: Path) -> Surveyor:
    """Write a model of ONNX text with random weights of the given shapes, load and survey it."""

    def build(body: str, shapes: Mapping[str, tuple[int, ...]], **options: object) -> Surveyed:
        rng = np.random.default_rng(0)
        weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        weights.update(options.pop("constants", {}))  # type: ignore[call-overload]
        path = tmp_path / "model.onnx"
        onnx.save(make_model(body, weights=weights, **options), path)
        network = load(path)
        return Surveyed(network=network, layers={layer.name: layer for layer in survey(network)})

    return build


@pytest.fixture
def chain(surveyed: Surveyor) -> Surveyed:
    """Three convolutions and a product at the end, with the names that exporters give."""
    body = """
      a = Conv (x, w0)
      b = Relu (a)
      c = Conv (b, w1)
      d = Relu (c)
      e = Conv (d, w2)
      f = Flatten (e)
      y = MatMul (f, w3)
    """
    shapes = {"w0": (6, 4, 3, 3), "w1": (6, 6, 1, 1), "w2": (6, 6, 1, 1), "w3": (252, 5)}
    return surveyed(body, shapes, outputs="float[N, 5] y")
