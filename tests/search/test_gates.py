"""Gains of squeeze-and-excite branches: the gate's own errors count, those that its mean averages do not."""

import numpy as np

from dybitq.allocation.sensitivity.gains import gains
from dybitq.allocation.space import open_space
from dybitq.plan.recipe import Recipe
from tests.emit.toolkit import make
from tests.models import make_model

BODY = """
  a = Conv <pads = [1, 1, 1, 1]> (x, w)
  m = GlobalAveragePool (a)
  h = Conv (m, s)
  r = Relu (h)
  e = Conv (r, t)
  g = Sigmoid (e)
  p = Mul (a, g)
  y = Conv (p, u)
"""


def test_errors_behind_the_mean_count(tmp_path):
    """Weights of the gate have the gain of the trunk; the mean gives nothing back to what it averages."""
    rng = np.random.default_rng(0)
    shapes = {"w": (8, 4, 3, 3), "s": (4, 8, 1, 1), "t": (8, 4, 1, 1), "u": (5, 8, 1, 1)}
    proto = make_model(
        BODY,
        inputs="float[4, 4, 9, 8] x",
        outputs="float[4, 5, 9, 8] y",
        weights={name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()},
    )
    made = make(proto, tmp_path)
    space = open_space(made.network, made.layers, Recipe())
    found = gains(space, made.statistics)
    assert found["p"] == found["h"] == found["e"] == found["m"] == 1
    assert found["a"] == 1
