"""Explicit pads against what onnxruntime does with auto_pad and output_shape."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dybitq.graph.survey import survey
from tests.models import make_model

geometry = st.fixed_dictionaries(
    {
        "size": st.integers(8, 12),
        "kernel": st.integers(1, 4),
        "stride": st.integers(1, 3),
        "dilation": st.integers(1, 2),
        "mode": st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]),
    }
)
relaxed = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def array(*shape: int) -> np.ndarray:
    """A random float32 array."""
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


@relaxed
@given(geometry)
def test_conv(check, geometry):
    """The resolved pads give the same output, odd pixels included."""
    size, k, s, d, mode = (geometry[key] for key in ("size", "kernel", "stride", "dilation", "mode"))
    d = d if mode == "VALID" else 1  # onnxruntime has no dilated SAME padding
    body = f'y = Conv <auto_pad = "{mode}", strides = [{s}, 1], dilations = [{d}, {d}]> (x, w)'
    proto = make_model(body, inputs=f"float[N, 2, {size}, 9] x", weights={"w": array(3, 2, k, 2)})
    network = check(proto)
    assert "auto_pad" not in network.model.graph[0].attributes
    (layer,) = survey(network)
    span = (k - 1) * d + 1
    out = (size + layer.geometry.window.pads[0] + layer.geometry.window.pads[2] - span) // s + 1
    assert out == layer.output_shape[2]


@relaxed
@given(geometry)
def test_conv_transpose(check, geometry):
    """ConvTranspose pads so that the output is stride times the input; a negative total stays as it is."""
    size, k, s, mode = (geometry[key] for key in ("size", "kernel", "stride", "mode"))
    body = f'y = ConvTranspose <auto_pad = "{mode}", strides = [{s}, 2]> (x, w)'
    proto = make_model(body, inputs=f"float[N, 2, {size}, 9] x", weights={"w": array(2, 3, k, 2)})
    network = check(proto)
    assert ("auto_pad" in network.model.graph[0].attributes) == (mode != "VALID" and k < s)


@pytest.mark.parametrize("wanted", ["19, 20", "18, 18", "20, 22"])
def test_conv_transpose_with_an_output_shape(check, wanted):
    """The attribute output_shape becomes pads."""
    body = f"y = ConvTranspose <output_shape = [{wanted}], strides = [2, 2]> (x, w)"
    proto = make_model(body, inputs="float[1, 2, 9, 10] x", weights={"w": array(2, 3, 4, 4)})
    network = check(proto)
    assert "output_shape" not in network.model.graph[0].attributes


def test_unknown_size_with_stride_one(check):
    """At stride 1 the padding does not depend on the size."""
    body = 'y = Conv <auto_pad = "SAME_LOWER"> (x, w)'
    network = check(make_model(body, inputs="float[N, 2, H, W] x", weights={"w": array(3, 2, 4, 3)}))
    assert survey(network)[0].geometry.window.pads == (2, 1, 1, 1)


def test_unknown_size_with_a_stride_stays_in_float(check):
    """At stride 2 it does: the layer is named, and surveyed once the extents are bound."""
    body = 'y = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w)'
    network = check(make_model(body, inputs="float[N, 2, H, W] x", weights={"w": array(3, 2, 3, 3)}))
    assert survey(network) == ()
    assert any("extents that are not known" in note for note in network.notes)
    (layer,) = survey(network, {"x": (1, 2, 9, 8)})
    assert layer.geometry.window.pads == (1, 0, 1, 1)
