"""Values whose squares overflow are refused with the layer's name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from dybitq.errors import UnsupportedError
from dybitq.fit.magnitudes import check_magnitudes
from dybitq.graph.load import load
from tests.emit.toolkit import make
from tests.models import make_model

RNG = np.random.default_rng(0)


def network(weight: np.ndarray) -> onnx.ModelProto:
    """One MatMul."""
    return make_model(
        "y = MatMul (x, w)",
        inputs="float[N, 6] x",
        outputs="float[N, 3] y",
        weights={"w": weight.astype(np.float32)},
    )


def written(proto: onnx.ModelProto, folder: Path) -> Path:
    """The model in a file."""
    onnx.save(proto, folder / "changed.onnx")
    return folder / "changed.onnx"


@pytest.mark.parametrize(
    ("inputs", "weights", "refused"), [(1e18, 1, True), (1, 1e30, True), (1e9, 1e6, False), (1, 0, False)]
)
def test_squares_that_overflow(tmp_path, inputs, weights, refused):
    """Large inputs or weights name the layer; what float32 can square, or nothing at all, passes."""
    made = make(network(np.ones((6, 3))), tmp_path, weights="int8")
    changed = load(written(network(weights * RNG.standard_normal((6, 3))), tmp_path))
    seen = replace(made.statistics.tensors["x"], maximum=inputs)
    statistics = replace(made.statistics, tensors={"x": seen})
    arguments = changed, made.layers, made.plan, statistics
    if refused:
        with pytest.raises(UnsupportedError, match=r"layer 'MatMul_0'.*reach .*overflow float32"):
            check_magnitudes(*arguments)
    else:
        check_magnitudes(*arguments)
