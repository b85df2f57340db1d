"""Sensitivities on arrays: what they are exactly, and what they do not depend on."""

import numpy as np
import pytest

from dybitq.allocation.sensitivity.distances import kl_divergence, relative_error
from dybitq.allocation.sensitivity.gain import loss, losses
from dybitq.allocation.sensitivity.hutchinson import mean_trace, perturbation
from dybitq.allocation.sensitivity.orthogonality import importance, similarity
from dybitq.allocation.sensitivity.weight_error import normalised_rmse, output_error
from dybitq.fit.weights.moments import Hessian, uniform_hessian


@pytest.fixture
def random() -> np.random.Generator:
    """A generator of its own for every test."""
    return np.random.default_rng(7)


def test_output_error_is_what_the_samples_show(random):
    """With H the second moment of some patches, the error is that of the outputs on those patches."""
    patches = random.standard_normal((50, 6)) @ random.standard_normal((6, 6))
    weight = random.standard_normal((1, 4, 6)).astype(np.float32)
    rounded = np.round(weight * 2) / 2
    second = (patches.T @ patches / 50)[None]
    hessian = Hessian(matrix=second, diagonal=second[:, range(6), range(6)], mean=np.zeros((1, 6)), rows=50)
    before, after = patches @ weight[0].T, patches @ rounded[0].T
    expected = ((after - before) ** 2).sum() / (before**2).sum()
    assert output_error(weight, rounded, hessian) == pytest.approx(expected, rel=1e-6)
    assert output_error(weight, weight, hessian) == 0
    assert output_error(np.zeros((1, 4, 6), np.float32), rounded, uniform_hessian(1, 6)) == 0


def test_normalised_rmse():
    """The exact normal-distribution value of 4-bit integers at their optimal scale."""
    values = np.random.default_rng(1).standard_normal(400_000)
    rounded = np.clip(np.rint(values / 0.35341), -7, 7) * 0.35341
    assert normalised_rmse(values, rounded) == pytest.approx(0.11353, rel=0.01)
    assert normalised_rmse(3 * values + 5, 3 * rounded + 5) == pytest.approx(normalised_rmse(values, rounded))
    constant = np.full(4, 2.0)
    assert normalised_rmse(constant, constant) == 0 and normalised_rmse(constant, constant + 1) == np.inf


def test_kl_divergence(random):
    """By hand for two classes; 0 for equal and shifted scores; positive otherwise."""
    p, q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    expected = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    assert kl_divergence(np.log(p)[None], np.log(q)[None]) == pytest.approx([expected])
    scores = random.standard_normal((5, 10)) * 30
    assert kl_divergence(scores, scores + 100).max() < 1e-12
    assert (kl_divergence(scores, scores[::-1]) >= 0).all()


def test_relative_error():
    """Energy over energy, sample by sample."""
    reference = np.array([[[3.0, 4.0]], [[0.0, 0.0]]])
    assert relative_error(reference, reference + np.array([[[0.0, 1.0]], [[2.0, 0.0]]])).tolist() == [
        1 / 25,
        4.0,
    ]


def test_mean_trace_of_a_quadratic(random):
    """Of a quadratic divergence the probes see the trace; of a diagonal one, exactly."""
    weight = random.standard_normal((3, 4)).astype(np.float64)
    root = random.standard_normal((12, 12))
    hessian = root @ root.T

    def divergence(moved: np.ndarray, matrix: np.ndarray = hessian) -> float:
        change = (moved - weight).reshape(-1)
        return float(change @ matrix @ change) / 2

    estimate = mean_trace(divergence, weight, random, probes=2000)
    assert estimate == pytest.approx(np.trace(hessian) / 12, rel=0.05)
    diagonal = np.diag(np.arange(12.0))
    exact = mean_trace(lambda moved: divergence(moved, diagonal), weight, random, probes=1)
    assert exact == pytest.approx(np.trace(diagonal) / 12)
    assert perturbation(exact, weight, weight + 0.5) == pytest.approx(exact * 12 / 4)
    assert mean_trace(divergence, np.zeros((3, 4)), random) == 0


def test_similarity(random):
    """Features turned, scaled and shifted are the same features; unrelated ones are nearly orthogonal."""
    one = random.standard_normal((32, 5))
    turned = 3 * one @ np.linalg.qr(random.standard_normal((5, 5)))[0] + 7
    other = random.standard_normal((32, 400))
    alike = similarity([one, turned, other.reshape(32, 4, 10, 10), np.ones((32, 3))])
    assert alike[0, 1] == pytest.approx(1) and (np.diagonal(alike) == 1).all()
    assert alike[0, 2] < 0.5 and alike[3, :3].tolist() == [0, 0, 0]
    assert np.array_equal(alike, alike.T)


def test_importance():
    """By hand for three layers, two of them alike: the third weighs more; means run over later layers."""
    alike = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    theta = np.exp([-1.0, -1.0, 0.0])
    assert importance(alike).tolist() == pytest.approx([theta.mean(), theta[1:].mean(), theta[2]])


def test_losses_multiply_what_is_left():
    """Small errors stay what they are, shares that are left multiply, and more error never costs less."""
    assert loss(0.0) == 0 and loss(1e-6) == pytest.approx(1e-6, rel=1e-5)
    assert loss(1 - 0.7 * 0.8) == pytest.approx(loss(0.3) + loss(0.2))
    values = [loss(error) for error in np.linspace(0, 30, 400)]
    assert (np.diff(values) > 0).all() and np.isfinite(values).all()


def test_formats_are_measured_from_the_coarsest_until_errors_are_small():
    """The first small error gives all finer ones; without an error nothing is measured."""
    truth = {"int2": 0.5, "int3": 0.2, "int4": 0.008, "int5": 0.5, "float": 0.5}
    asked: list[str] = []

    def measured(name: str) -> float:
        asked.append(name)
        return truth[name]

    found = losses({"float": 0.0, "int5": 0.01, "int4": 0.04, "int3": 0.16, "int2": 0.64}, measured)
    assert asked == ["int2", "int3", "int4"] and next(iter(found)) == "float"
    assert found["int3"] == loss(0.2) and found["int5"] == loss(0.002) and found["float"] == 0
