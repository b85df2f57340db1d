"""The grid of weight scales on which factors are dyadic, and layers fitted on it."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dybitq.encodings import dyadic, formats
from dybitq.fit.weights.grid import ScaleGrid
from dybitq.fit.weights.layers import LayerArrays, fit_layer
from dybitq.records.geometry.products import MatrixProduct
from dybitq.records.layers import LayerWork
from dybitq.records.plan import LayerPlan
from tests.fit.conftest import moment_of
from tests.models import layer_of

RNG = np.random.default_rng(2)


def dense(channels: int, width: int) -> LayerWork:
    """A Gemm with transposed weight ``[channels, width]``."""
    geometry = MatrixProduct(weight_shape=(channels, width), gemm=True, transposed=True)
    return layer_of(geometry, gemm=(1, 1, width, channels))


@given(st.floats(1e-6, 10), st.floats(1e-3, 1e3), st.booleans())
def test_grid_points_give_back_their_factor(scale, unit, pow2):
    """Float32 rounding of a grid point does not lose its multiplier and shift."""
    grid = ScaleGrid(unit=unit, pow2=pow2)
    if not 1e-12 < scale / unit < 2**4:  # beyond, float32 has fewer bits than the multiplier
        return
    b, c = grid.factors(np.array([scale]))
    snapped = grid.snap(np.array([scale]))
    again = grid.factors(snapped)
    assert (b[0], c[0]) == (again[0][0], again[1][0])
    assert 0 <= int(c[0]) <= 16
    assert float(snapped[0]) == pytest.approx(float(Fraction(int(b[0]), 1 << int(c[0]))) * unit, rel=1e-6)


def test_neighbours_are_the_points_around():
    """One unit of 2^-16 down and up, powers of two with pow2; dead channels stay at one unit."""
    grid = ScaleGrid(unit=1.0)
    points = grid.neighbours(np.array([10 * 2.0**-16, 2.0**-30])) * 2**16
    np.testing.assert_array_equal(points, [[10, 1], [9, 1], [11, 2]])
    points = ScaleGrid(unit=1.0, pow2=True).neighbours(np.array([0.25]))
    np.testing.assert_array_equal(points, [[0.25], [0.125], [0.5]])


@pytest.mark.parametrize("rounding", ["nearest", "compensated"])
@pytest.mark.parametrize("name", ["int8", "int4", "dybit4", "dybit8"])
@pytest.mark.parametrize("pow2", [False, True])
def test_layers_are_fitted_on_the_grid(rounding, name, pow2):
    """Every scale is on the grid, and little is lost against free scales."""
    layer, width = dense(6, 40), 40
    weight = (RNG.standard_normal((6, width)) * np.array([[1], [0.3], [0.05], [2], [1e-9], [0]])).astype(
        np.float32
    )
    patches = RNG.standard_normal((1, 500, width))
    plan = LayerPlan(layer="fc", weights=name, rounding=rounding)
    grid = ScaleGrid(unit=20.0, pow2=pow2)
    free, snapped = (
        fit_layer(
            layer,
            plan,
            LayerArrays(weight=weight, bias=None, input_scale=0.02, grid=g),
            moment_of(patches),
            correct_bias=True,
        )
        for g in (None, grid)
    )
    b, c = grid.factors(snapped.scale)
    np.testing.assert_allclose(dyadic.value(b, c) * 20.0, snapped.scale, rtol=1e-6)
    assert int(c.max()) <= 16 and (not pow2 or all(int(v).bit_count() == 1 for v in b))
    assert snapped.error <= (9 if pow2 else 1.6) * free.error
    assert formats.get(name).name == snapped.format.name


def test_coarse_grids_choose_by_error():
    """Where neighbouring factors differ by half, the better one is taken, not the nearer one."""
    layer = dense(1, 64)
    weight = np.linspace(-1, 1, 64, dtype=np.float32)[None]
    plan = LayerPlan(layer="fc", weights="int8", rounding="nearest")
    unit = 2.0**16 / 127 / 1.45  # max|w| / 127 lies between one and two units, nearer to one
    arrays = LayerArrays(weight=weight, bias=None, input_scale=1.0, grid=ScaleGrid(unit=unit))
    fitted = fit_layer(layer, plan, arrays, None, correct_bias=False)
    assert fitted.scale[0] / unit * 2**16 == pytest.approx(2)  # one unit would clip a third of the weights
