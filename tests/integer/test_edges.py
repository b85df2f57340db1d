"""Encodings for integer-only arithmetic: zero points 0 or 128, free or power-of-two scales."""

import numpy as np
import pytest

from dybitq.fit.activations.ranges import profile
from dybitq.integer.edges import code_bounds, encodings_of
from dybitq.records.plan import EdgePlan
from tests.fit.conftest import statistics_of

RNG = np.random.default_rng(0)


def fitted(values, range_="mse", format_="int8", bounds=None):
    """Encoding of all values of a tensor."""
    plan = EdgePlan(tensor="t", format=format_, range=range_)
    return encodings_of(plan, statistics_of(np.atleast_2d(values)), None, bounds).best()


@pytest.mark.parametrize("method", ["mse", "minmax", "percentile", "entropy"])
@pytest.mark.parametrize("format_", ["int8", "int4"])
def test_signed_and_unsigned(method, format_):
    """Values of both signs get zero point 128 and a symmetric range, others zero point 0."""
    levels = 2 ** int(format_[3:])
    both = fitted(RNG.standard_normal(4000), method, format_)
    assert both.zero_point == 128
    assert (both.low, both.high) == (128 - levels // 2, 127 + levels // 2)
    positive = fitted(np.abs(RNG.standard_normal(4000)), method, format_)
    assert (positive.zero_point, positive.low, positive.high) == (0, 0, levels - 1)


def test_minmax_covers_both_ends():
    """The larger of what the two signs need."""
    assert fitted(np.linspace(-1, 3, 101), "minmax").scale == pytest.approx(3 / 127, rel=1e-6)
    assert fitted(np.linspace(-3, 1, 101), "minmax").scale == pytest.approx(3 / 128, rel=1e-6)
    assert fitted(np.linspace(0, 3, 101), "minmax").scale == pytest.approx(3 / 255, rel=1e-6)


def test_few_small_negatives_are_clipped_rather_than_paid_for_with_a_bit():
    """The squared error decides between the two zero points."""
    values = np.concatenate([RNG.uniform(0, 10, 5000), [-1e-4]])
    assert fitted(values).zero_point == 0
    assert fitted(np.concatenate([RNG.uniform(0, 10, 5000), RNG.uniform(-2, 0, 3000)])).zero_point == 128


def test_the_squared_error_is_not_beaten_nearby():
    """No scale within 3 % of the chosen one has a clearly smaller error."""
    values = RNG.standard_normal(20000) * np.exp(RNG.standard_normal(20000))
    edge = fitted(values)
    seen = profile(statistics_of(np.atleast_2d(values)))

    def error(scale):
        return seen.error(-128 * scale, 127 * scale, 256)

    assert error(edge.scale) <= 1.01 * min(error(edge.scale * f) for f in np.linspace(0.97, 1.03, 13))


def test_bounds_of_clamps_become_codes():
    """Relu and Clip narrow the codes; infinite bounds do not."""
    assert code_bounds(None, 0.1, 128) == (0, 255)
    assert code_bounds((0.0, np.inf), 0.1, 128) == (128, 255)
    assert code_bounds((-np.inf, 2.0), 0.1, 128) == (0, 148)
    assert code_bounds((0.0, 6.0), 6 / 255, 0) == (0, 255)
    assert code_bounds((-1e9, 1e9), 1e-9, 128) == (0, 255)
    relu = fitted(RNG.standard_normal(1000), bounds=(0.0, np.inf))
    assert relu.zero_point == 0


@pytest.mark.parametrize("values", [np.zeros(8), np.full(8, -1.0), np.full(8, 1e-38)])
def test_degenerate_tensors_get_a_usable_scale(values):
    """Constants, all-negative values and denormals: positive scales, valid codes."""
    edge = fitted(values)
    assert edge.scale > 0 and edge.zero_point in (0, 128) and edge.low <= edge.high
