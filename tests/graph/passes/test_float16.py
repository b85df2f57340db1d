"""Half-precision models: float32 inside, their own types at the interface."""

import numpy as np
import pytest

from dybitq.graph.export import float_tensors
from dybitq.graph.survey import survey
from tests.models import make_model


def half(*shape: int) -> np.ndarray:
    """A random float16 array."""
    return np.random.default_rng(4).standard_normal(shape).astype(np.float16)


def test_whole_model(check, ops):
    """Weights, activations and attributes become float32; inputs and outputs stay float16."""
    body = """
      c = Conv (x, w, b)
      m = Mul (c, k)
      f = Cast <to = 10> (i)
      a = Add (m, f)
      y = Relu (a)
    """
    proto = make_model(
        body,
        inputs="float16[N, 4, 9, 8] x, int64[1] i",
        outputs="float16[N, P, Q, R] y",
        weights={"w": half(3, 4, 2, 2), "b": half(3), "k": half(1)},
    )
    network = check(proto, tolerance=2e-2)
    assert ops(network) == ["Cast", "Conv", "Cast", "Add", "Relu", "Cast"]
    assert any("half precision is computed in float32" in note for note in network.notes)
    (layer,) = survey(network)
    assert (layer.input, layer.weight) == ("x_float32", "w")
    assert set(float_tensors(network.model)) >= {"x_float32", "y_float32"}


def test_float16_weights_in_a_float32_model(check, ops):
    """A weight stored in half precision behind a Cast is an ordinary weight."""
    body = "v = Cast <to = 1> (w)\n y = Conv (x, v)"
    network = check(make_model(body, weights={"w": half(3, 4, 2, 2)}))
    assert ops(network) == ["Conv"]
    assert survey(network)[0].weight_count == 48


def test_float16_core_between_casts(check, ops):
    """Casts around a half-precision middle part disappear with it."""
    body = "h = Cast <to = 10> (x)\n c = Conv (h, w)\n y = Cast <to = 1> (c)"
    network = check(make_model(body, weights={"w": half(3, 4, 2, 2)}), tolerance=2e-2)
    assert ops(network) == ["Conv"]


@pytest.mark.parametrize("value", [True, False])
def test_subgraphs(check, value):
    """Bodies of If are widened with the rest."""
    body = """
      a = Relu (x)
      y = If (t) <
        then_branch = p () => (float16[N, 4] u) {
          h = Constant <value_float = 2.0> ()
          k = Cast <to = 10> (h)
          u = Mul (a, k)
        },
        else_branch = q () => (float16[N, 4] v) { v = Neg (a) }
      >"""
    proto = make_model(body, inputs="float16[N, 4] x, bool t", outputs="float16[N, 4] y")
    check(proto, {"t": np.array(value)}, tolerance=1e-2)


def test_intermediate_output_in_half_precision(check):
    """An output that is read inside as well is cast for the interface only."""
    body = "a = Relu (x)\n y = Neg (a)"
    proto = make_model(body, inputs="float16[N, 4] x", outputs="float16[N, 4] y, float16[N, 4] a")
    check(proto)


def test_input_returned_directly(check):
    """An input that is an output needs no Cast at all."""
    body = "y = Identity (x)\n z = Relu (x)"
    check(make_model(body, inputs="float16[N, 4] x", outputs="float16[N, 4] y, float16[N, 4] z"))
