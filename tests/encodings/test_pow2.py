"""Power-of-two scales: the golden example of the published procedure, rows, weights and degenerate input."""

import numpy as np
import pytest

from dybitq.encodings import codec, formats, pow2

X = np.array([0.02, -0.05, 0.11, -0.13, 0.21, -0.24, 0.30, -0.37, 0.42, -0.09, 0.06, 2.10])
INT4 = formats.get("int4")


def levels(exponent: int) -> list[int]:
    """Levels of the example at a scale of 2**exponent."""
    return codec.decode(codec.encode(X / 2.0**exponent, INT4), INT4).tolist()


def test_golden_example_without_mask() -> None:
    """The errors from 2^-5 to 2^1, the exponent found and its levels."""
    exponents = np.arange(-5, 2)
    errors = pow2.error(np.tile(X, (7, 1)), exponents, INT4)
    np.testing.assert_allclose(
        errors, [3.6101625, 2.7665688, 1.51485, 0.1886, 0.2186, 0.5586, 0.5586], atol=5e-8
    )
    assert int(pow2.fit_exponent(X, INT4)) == -2
    assert levels(-2) == [0, 0, 0, -1, 1, -1, 1, -1, 2, 0, 0, 7]


def test_golden_example_with_outlier_mask() -> None:
    """Without the outlier's vote the line search finds a scale four times smaller; it saturates."""
    mask = pow2.outlier_mask(X)
    assert float(X.std()) == pytest.approx(0.6125289, abs=5e-8)
    assert mask.tolist() == [1.0] * 11 + [0.0]
    errors = pow2.error(np.tile(X, (7, 1)), np.arange(-5, 2), INT4, mask)
    np.testing.assert_allclose(
        errors, [0.0710609, 0.0026625, 0.014225, 0.0661, 0.2086, 0.5486, 0.5486], atol=5e-8
    )
    assert int(pow2.fit_exponent(X, INT4, mask)) == -4
    assert levels(-4) == [0, -1, 2, -2, 3, -4, 5, -6, 7, -1, 1, 7]


@pytest.mark.parametrize(
    "name", ["int2", "int4", "int8", "dybit3", "dybit4", "dybit5", "dybit8", "e2m1", "pot4"]
)
@pytest.mark.parametrize("source", ["normal", "laplace"])
def test_finds_the_best_exponent_of_all(name: str, source: str) -> None:
    """On ordinary data the search ends at the minimum over every exponent, for every kind of table."""
    generator = np.random.default_rng(3)
    values = getattr(generator, source)(size=(6, 500)) * np.array([[1e-3], [0.1], [0.3], [1], [7], [90]])
    format = formats.get(name)
    found = pow2.fit_exponent(values, format)
    every = np.stack([pow2.error(values, np.full(6, e), format) for e in range(-40, 20)])
    np.testing.assert_allclose(pow2.error(values, found, format), every.min(axis=0), rtol=1e-12)


def test_rows_are_fitted_one_by_one() -> None:
    """One exponent a row, equal to fitting the row alone; masks and weights go with the rows."""
    values = np.random.default_rng(1).normal(size=(3, 4, 50)) * np.array([0.01, 1, 30])[:, None, None]
    weights = np.random.default_rng(2).uniform(size=50) * pow2.outlier_mask(values)
    found = pow2.fit_exponent(values, INT4, weights)
    assert found.shape == (3, 4) and found.dtype == np.int64
    assert int(found[2, 1]) == int(pow2.fit_exponent(values[2, 1], INT4, weights[2, 1]))


def test_degenerate_rows() -> None:
    """Zeros, a constant, a denormal and zero weights all end in a finite exponent."""
    values = np.array([[0.0, 0.0], [3.0, 3.0], [1e-42, -1e-42], [1.0, -2.0]])
    mask = pow2.outlier_mask(values)
    assert mask.min() == 1.0
    found = pow2.fit_exponent(values, INT4, mask * np.array([[1.0], [1.0], [1.0], [0.0]]))
    assert found[0] == -pow2.MAX_EXPONENT
    assert (np.abs(found) <= pow2.MAX_EXPONENT).all()
    assert float(pow2.error(values[1], found[1], INT4)) == 0.0
