"""Quadratic forms of layer errors: what they stand for, and what few rows do to them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dybitq.fit.weights.moments import hessian_from, shrunk, uniform_hessian
from dybitq.records.statistics import MomentKind
from tests.fit.conftest import moment_of


def patches(rows: int = 400, width: int = 6, groups: int = 2) -> np.ndarray:
    """Correlated inputs with a mean."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((groups, rows, width)) @ rng.standard_normal((width, width)) + [2.0] * width


def plain(rows: int, width: int) -> float:
    """Share of the off-diagonal that shrinkage leaves."""
    return 1 - min(0.5, 0.2 * width / rows)


@pytest.mark.parametrize("centred", [True, False])
def test_energy_is_the_mean_squared_output(centred):
    """``w H w^T`` is ``E (w x)^2``, or the variance of ``w x`` where the bias takes up the mean."""
    x = patches()
    weights = np.random.default_rng(1).standard_normal((2, 3, 6)).astype(np.float32)
    hessian = hessian_from(moment_of(x), 6, centred=centred)
    outputs = np.einsum("grk,gnk->grn", weights.astype(np.float64), x)
    expected = outputs.var(axis=2) if centred else (outputs**2).mean(axis=2)
    np.testing.assert_allclose(hessian.energy(weights), expected, rtol=0.02)
    np.testing.assert_allclose(hessian.mean, x.mean(axis=1))


@pytest.mark.parametrize("centred", [True, False])
def test_a_diagonal_moment_keeps_the_diagonal(centred):
    """Without the rest of H the energy is the sum over inputs, each with its own."""
    x = patches()
    full = hessian_from(moment_of(x), 6, centred=centred)
    hessian = hessian_from(moment_of(x, MomentKind.DIAGONAL), 6, centred=centred)
    assert hessian.matrix is None
    np.testing.assert_allclose(hessian.diagonal, full.diagonal)
    weights = np.ones((2, 1, 6), np.float32)
    np.testing.assert_allclose(hessian.energy(weights)[:, 0], full.diagonal.sum(axis=1))


def test_a_constant_input_has_no_covariance():
    """Centred, an input that never changes costs nothing: the bias takes it up. Otherwise it counts."""
    x = patches()
    x[..., 3] = 5.0
    assert hessian_from(moment_of(x), 6, centred=True).diagonal[:, 3] == pytest.approx(0, abs=1e-9)
    assert hessian_from(moment_of(x), 6, centred=False).diagonal[:, 3] == pytest.approx(25)


def test_cancellation_leaves_no_negative_energy():
    """A large mean and a small variance: the difference of the sums may be negative, the energy is not."""
    x = 1e6 + 1e-4 * patches(50)
    hessian = hessian_from(moment_of(x), 6, centred=True)
    assert (hessian.diagonal >= 0).all()
    assert (hessian.energy(np.random.default_rng(0).standard_normal((2, 20, 6))) >= 0).all()


@pytest.mark.parametrize(("rows", "share"), [(1, 0.5), (6, 0.2), (12, 0.1), (1200, 0.001), (0, 0.5)])
def test_few_rows_pull_towards_the_diagonal(rows, share):
    """Off-diagonals shrink by 0.2 K / rows, at most by half; the diagonal stays."""
    matrix = np.full((1, 6, 6), 2.0)
    found = shrunk(matrix, rows)
    off = ~np.eye(6, dtype=bool)
    np.testing.assert_allclose(found[0][off], 2 * (1 - share))
    np.testing.assert_array_equal(np.diagonal(found[0]), np.full(6, 2.0))
    np.testing.assert_array_equal(matrix, np.full((1, 6, 6), 2.0))


@given(rows=st.integers(1, 30), width=st.integers(1, 12), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_a_covariance_stays_one(rows, width, seed):
    """From however few rows, no combination of weights has a negative energy, and shrinkage keeps it so."""
    x = np.random.default_rng(seed).standard_normal((1, rows, width))
    hessian = hessian_from(moment_of(x), width, centred=False)
    assert np.linalg.eigvalsh(hessian.matrix[0]).min() >= -1e-9 * max(1.0, hessian.diagonal.max())


def test_nothing_measured_counts_every_input_alike():
    """Without statistics the error is that of the weights."""
    hessian = uniform_hessian(2, 3)
    weights = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    np.testing.assert_allclose(hessian.energy(weights), (weights.astype(float) ** 2).sum(axis=2))
    np.testing.assert_array_equal(hessian.mean, np.zeros((2, 3)))
