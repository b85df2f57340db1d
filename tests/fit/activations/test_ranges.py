"""Ranges of activations: each method against what it promises, and encodings from ranges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dybitq.errors import ConfigError, StatisticsError
from dybitq.fit.activations.edges import clamp_codes, fit_edge, joined_edge
from dybitq.fit.activations.ranges import bins, profile, range_methods
from dybitq.records.fitted import FittedEdge
from dybitq.records.plan import EdgePlan
from tests.fit.conftest import statistics_of

METHODS = ["minmax", "percentile", "mse", "entropy"]


def heavy(count: int = 20_000, seed: int = 0) -> np.ndarray:
    """Values with far outliers on the positive side."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((10, count // 10)).astype(np.float32)
    values[0, 0] = 80
    return values


def quantized(values: np.ndarray, edge: FittedEdge) -> np.ndarray:
    """Values after coding and decoding."""
    codes = np.clip(np.rint(values / edge.scale) + edge.zero_point, edge.low, edge.high)
    return (codes - edge.zero_point) * edge.scale


@pytest.mark.parametrize("method", METHODS)
def test_ranges_contain_zero_and_stay_inside_the_data(method):
    """Zero is always exact; no method invents range."""
    for values in (heavy(), np.abs(heavy()), -np.abs(heavy()) - 1, heavy() + 10):
        seen = statistics_of(values)
        low, high = range_methods.get(method)(profile(seen), 256)
        assert low <= 0 <= high
        assert min(0, seen.minimum) <= low and high <= max(0, seen.maximum)


def test_minmax_is_exact():
    """Extremes to the last bit, although bins are wide."""
    values = heavy()
    assert range_methods.get("minmax")(profile(statistics_of(values)), 256) == (values.min(), 80)


def test_percentile_leaves_out_the_tail():
    """One value in twenty thousand does not set the range."""
    low, high = range_methods.get("percentile")(profile(statistics_of(heavy())), 256)
    assert 3 < high < 10 and -10 < low < -3


@pytest.mark.parametrize("levels", [4, 16, 256])
@pytest.mark.parametrize("seed", range(3))
def test_mse_beats_a_scan(levels, seed):
    """The error of the range that is found is within 3 % of the best of a scan over both ends."""
    values = np.random.default_rng(seed).laplace(size=(8, 4000)).astype(np.float32)
    if seed == 1:
        values = np.abs(values)

    def error(low: float, high: float) -> float:
        step = (high - low) / (levels - 1)
        zero = round(-low / step)
        codes = np.clip(np.rint(values / step) + zero, 0, levels - 1)
        return float(np.mean(((codes - zero) * step - values) ** 2))

    low, high = range_methods.get("mse")(profile(statistics_of(values)), levels)
    top, bottom = float(values.max()), min(0.0, float(values.min()))
    scan = np.linspace(0.05, 1, 30)
    best = min(error(bottom * a, top * b) for a in (scan if bottom else [0.0]) for b in scan)
    assert error(low, high) <= (1.03 if levels > 4 else 1.25) * best


def test_mse_of_what_the_readers_make():
    """Behind a function that saturates, range is not spent on what it flattens."""
    values = np.random.default_rng(0).normal(0, 8, (8, 4000)).astype(np.float32)
    seen = statistics_of(values)
    plain = range_methods.get("mse")(profile(seen), 256)
    seen_through = range_methods.get("mse")(profile(seen, lambda x: np.clip(x, -1, 1)), 256)
    assert seen_through[1] < 0.3 * plain[1] and seen_through[0] > 0.3 * plain[0]


def test_entropy_is_two_sided_where_data_is():
    """Both ends are cut at one magnitude."""
    low, high = range_methods.get("entropy")(profile(statistics_of(heavy())), 256)
    assert high < 40
    assert low == pytest.approx(max(float(heavy().min()), -high))


def test_bins_cover_the_data():
    """Centres ascend, lie within the data, and count everything."""
    values = heavy()
    centres, counts = bins(statistics_of(values))
    assert (np.diff(centres) > 0).all()
    assert counts.sum() == values.size
    assert values.min() <= centres[0] and centres[-1] <= values.max()


def test_unknown_method():
    """A misspelt method is a configuration error with the known names."""
    with pytest.raises(ConfigError, match=r"unknown range method .min-max.*entropy, .*minmax"):
        range_methods.get("min-max")


@given(
    low=st.floats(-1e4, 0), high=st.floats(0, 1e4), bits=st.integers(2, 8), method=st.sampled_from(METHODS)
)
@settings(max_examples=80, deadline=None)
def test_encodings_are_sound(low, high, bits, method):
    """Zero is a code, codes stay in their width, the scale is a positive float32."""
    values = np.array([[low, high, (low + high) / 2, 0]], np.float32)
    edge = fit_edge(EdgePlan(tensor="x", format=f"int{bits}", range=method), statistics_of(values))
    assert 0 <= edge.low <= edge.zero_point <= edge.high <= 2**bits - 1
    assert edge.scale > 0 and np.float32(edge.scale) == edge.scale
    assert quantized(np.zeros(1), edge)[0] == 0


def test_minmax_covers_its_ends():
    """With exact extremes nothing is off by more than one step."""
    values = heavy()
    edge = fit_edge(EdgePlan(tensor="x", range="minmax"), statistics_of(values))
    assert np.abs(quantized(values, edge) - values).max() <= edge.scale


@pytest.mark.parametrize("constant", [0.0, 1e-40, 3.5, -2.0])
def test_constant_tensors(constant):
    """Nothing divides by zero, and the constant is met within half a step."""
    edge = fit_edge(EdgePlan(tensor="x"), statistics_of(np.full((2, 5), constant, np.float32)))
    assert abs(quantized(np.array([constant]), edge)[0] - constant) <= edge.scale / 2


def test_infinite_statistics_are_refused():
    """The tensor is named."""
    values = np.array([[1.0, np.inf]], np.float32)
    with pytest.raises(StatisticsError, match="tensor conv_out: calibrated range"):
        fit_edge(EdgePlan(tensor="conv_out", range="minmax"), statistics_of(values))


def test_clamps_become_limits_of_codes():
    """A ReLU6 in front clamps the codes at the codes of 0 and 6."""
    values = np.linspace(-2, 7, 1000, dtype=np.float32)[None]
    edge = fit_edge(EdgePlan(tensor="x", range="minmax"), statistics_of(values), (0.0, 6.0))
    assert edge.low == edge.zero_point > 0
    assert edge.high == round(6 / edge.scale) + edge.zero_point < 255
    assert clamp_codes(None, 0.1, 3) == (0, 255)
    assert clamp_codes((-np.inf, np.inf), 0.1, 3) == (0, 255)
    assert clamp_codes((0, 100), 0.1, 3) == (3, 255)


def part(scale: float, zero: int, format: str = "int8") -> FittedEdge:
    """An encoding."""
    return FittedEdge(format=format, scale=scale, zero_point=zero)


@pytest.mark.parametrize(
    ("own", "parts", "expected"),
    [
        (part(0.1, 0), [part(0.11, 0), part(0.02, 0)], part(0.11, 0)),
        (part(0.1, 0), [part(0.02, 0), part(0.09, 0)], part(0.09, 0)),
        (part(0.1, 0), [part(0.2, 0), part(0.02, 0)], part(0.1, 0)),  # much coarser
        (part(0.1, 100), [part(0.1, 0), part(0.05, 128)], part(0.1, 100)),  # does not cover
        (part(0.1, 100), [part(0.1, 110), part(0.05, 128)], part(0.1, 110)),
        (part(0.1, 0), [], part(0.1, 0)),
        (part(1.0, 0, "int4"), [part(0.9, 0), part(0.02, 0)], part(1.0, 0, "int4")),
    ],
)
def test_encoding_of_a_concatenation(own, parts, expected):
    """The widest part's, if it covers the others and is not much coarser than needed."""
    assert joined_edge(own, parts) == expected
