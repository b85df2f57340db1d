"""Scale search against exactly integrated optima, brute force, and the cases at the edge."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dybitq.encodings import codec, formats
from dybitq.errors import ConfigError
from dybitq.fit.weights.scales import rounding_error, scale_methods, search_scale

# Optimal scales of unit-variance sources and their normalised errors, by exact integration, for the tables
# of dybit (real values, so times 2**(bits - 2) for the integer table) and symmetric int.
OPTIMA = {
    ("normal", 2): (1.22400, 0.43609, 1.22400, 0.43609),
    ("normal", 3): (1.03627, 0.21808, 0.65077, 0.21647),
    ("normal", 4): (1.25054, 0.12227, 0.35341, 0.11353),
    ("normal", 5): (1.38127, 0.06512, 0.19324, 0.06077),
    ("normal", 6): (1.42778, 0.03341, 0.10549, 0.03270),
    ("normal", 8): (1.44258, 0.00843, 0.03087, 0.00940),
    ("laplace", 2): (1.41421, 0.51404, 1.41421, 0.51404),
    ("laplace", 3): (1.38288, 0.26586, 0.82174, 0.28825),
    ("laplace", 4): (1.45690, 0.14850, 0.48688, 0.16552),
    ("laplace", 5): (1.57517, 0.07937, 0.28746, 0.09532),
    ("laplace", 6): (1.64809, 0.04081, 0.16785, 0.05458),
    ("laplace", 8): (1.69064, 0.01035, 0.05502, 0.01742),
}


def density(source: str) -> tuple[np.ndarray, np.ndarray]:
    """A fine grid and the probability at each of its points, ``[1, n]`` each; tails cut at 1e-7."""
    reach = 5.4 if source == "normal" else 11.4
    grid = np.linspace(-reach, reach, 60_001)
    weight = np.exp(-(grid**2) / 2) if source == "normal" else np.exp(-np.sqrt(2) * np.abs(grid))
    return grid.astype(np.float32)[None], (weight / weight.sum()).astype(np.float32)[None]


@pytest.mark.parametrize(("source", "bits"), OPTIMA)
@pytest.mark.parametrize("family", ["dybit", "int"])
def test_published_optima(source, bits, family):
    """Within 1 % of the optimal scale and 0.5 % of the least error."""
    fmt = formats.get(f"{family}{bits}")
    rows, weight = density(source)
    scale = search_scale(rows, weight, fmt)
    best, least = OPTIMA[source, bits][:2] if family == "dybit" else OPTIMA[source, bits][2:]
    error = float(np.sqrt(rounding_error(rows, weight, fmt, scale)[0]))
    assert error == pytest.approx(least, rel=0.005)
    unit = float(scale[0]) * (2.0 ** (bits - 2) if family == "dybit" else 1)
    assert unit == pytest.approx(best, rel=0.01)


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(4, 200),
    name=st.sampled_from(["int2", "int4", "dybit3", "dybit5", "e2m1", "ternary", "pot4"]),
    power=st.sampled_from([0.5, 1.0, 3.0]),
)
@settings(max_examples=40, deadline=None)
def test_close_to_brute_force(seed, count, name, power):
    """On any row the error is near the best of a thousand scales; on short rows it is hardly above."""
    fmt = formats.get(name)
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(count)
    row = (np.sign(values) * np.abs(values) ** power)[None].astype(np.float32)
    weight = rng.uniform(0, 1, row.shape).astype(np.float32)
    found = rounding_error(row, weight, fmt, search_scale(row, weight, fmt))[0]
    trials = np.geomspace(0.05 / fmt.max_integer, 120 / fmt.max_integer, 1000) * np.abs(row).max()
    many = np.repeat(row, len(trials), axis=0)
    best = rounding_error(many, weight, fmt, trials.astype(np.float32)).min()
    slack = 1.05 if count < 32 else 1.3
    assert found <= slack * best + 1e-9 * float((weight * row**2).sum())


def test_rows_do_not_influence_each_other():
    """A row gets the same scale alone and among others, whatever blocks it is worked on in."""
    rows = np.random.default_rng(1).standard_normal((300, 700)).astype(np.float32)
    rows *= np.geomspace(1e-6, 1e6, 300, dtype=np.float32)[:, None]
    fmt, ones = formats.get("dybit4"), np.ones_like(rows)
    together = search_scale(rows, ones, fmt)
    assert together[7] == search_scale(rows[7:8], ones[:1], fmt)[0]
    assert together.dtype == np.float32


def test_scale_follows_the_weights():
    """Weights times a power of two have the scale times it, at both ends of what float32 holds."""
    row = np.random.default_rng(2).standard_normal((1, 64)).astype(np.float32)
    fmt = formats.get("int4")
    scale = search_scale(row, np.ones_like(row), fmt)
    for power in (-90, -20, 20, 90):
        factor = np.float32(2.0**power)
        assert search_scale(row * factor, np.ones_like(row), fmt)[0] == scale[0] * factor


def test_rows_of_zeros_have_no_scale():
    """They get 0, and the rows beside them what they need."""
    rows = np.zeros((3, 8), np.float32)
    rows[1, 0] = -2.5
    scale = search_scale(rows, np.ones_like(rows), formats.get("int4"))
    assert scale[0] == scale[2] == 0
    assert codec.quantize(rows[1:2], scale[1], formats.get("int4"))[0, 0] == pytest.approx(-2.5, rel=1e-6)
    assert (
        search_scale(np.zeros((0, 8), np.float32), np.zeros((0, 8), np.float32), formats.get("int4")).size
        == 0
    )


def test_importance_decides_what_is_kept():
    """An outlier that no input reaches does not widen the range."""
    row = np.random.default_rng(3).standard_normal((1, 256)).astype(np.float32)
    row[0, 0] = 40
    fmt, weight = formats.get("int3"), np.ones_like(row)
    everything = search_scale(row, weight, fmt)[0]
    weight[0, 0] = 1e-4
    assert search_scale(row, weight, fmt)[0] < 0.5 * everything


def test_largest_weight_on_the_largest_level():
    """The method ``max`` clips nothing."""
    rows = np.array([[1.0, -3.0, 0.5], [0, 0, 0]], np.float32)
    scale = scale_methods.get("max")(rows, np.ones_like(rows), formats.get("dybit4"))
    assert scale.tolist() == [np.float32(3 / 16), 0]


def test_unknown_method_is_suggested():
    """A misspelt method is a configuration error with the known names."""
    with pytest.raises(ConfigError, match=r"unknown scale method 'mes'\. Did you mean 'mse'"):
        scale_methods.get("mes")


def test_outliers_are_clipped_only_where_that_pays():
    """A weight far above the rest keeps its place in the range where it is most of the energy."""
    rows = np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32) * np.float32(0.01)
    rows[0, 7] = 2.0
    fmt = formats.get("int8")
    scale = scale_methods.get("pow2")(rows, np.ones_like(rows), fmt)
    rounded = codec.quantize(rows, scale[:, None], fmt)
    assert abs(rounded[0, 7] / rows[0, 7] - 1) < 0.02
    assert np.abs(rounded[1] - rows[1]).max() < 0.001
    assert np.exp2(np.round(np.log2(scale))).astype(np.float32).tolist() == scale.tolist()
