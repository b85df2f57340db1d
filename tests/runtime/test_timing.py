"""Interleaved latency comparison."""

import numpy as np
import onnx
import pytest

from dybitq.errors import ConfigError
from dybitq.runtime.session import Session
from dybitq.runtime.timing import compare_latency, creation_seconds

TEXT = '<ir_version: 8, opset_import: ["" : 17]> g (float[64, 64] x) => (float[64, 64] y) {y = MatMul(x, x)}'
MODEL = onnx.parser.parse_model(TEXT).SerializeToString()


def test_ratios_are_against_the_first():
    """The first model's ratio is one; medians are positive."""
    sessions = {name: Session(MODEL, 1) for name in ("a", "b")}
    found = compare_latency(sessions, {"x": np.ones((64, 64), np.float32)}, rounds=3, warm_up=1)
    assert [entry.name for entry in found] == ["a", "b"]
    assert found[0].ratio == 1.0 and found[1].ratio > 0 and found[1].median_seconds > 0


def test_nothing_to_compare():
    """No models, no comparison."""
    with pytest.raises(ConfigError):
        compare_latency({}, {})


def test_creation_is_timed():
    """Seconds, positive."""
    assert creation_seconds(MODEL, rounds=1) > 0
