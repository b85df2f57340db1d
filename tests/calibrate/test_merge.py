"""Statistics are a monoid."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dybitq import log_histogram
from dybitq.calibration import moments
from dybitq.calibration.merge import empty, merge, merge_all, merge_moments
from dybitq.errors import StatisticsError
from dybitq.records.statistics import ChannelStatistics, Moment, MomentKind, Statistics, TensorStatistics

HASH = "ab" * 32


def moment(kind: MomentKind, seed: int = 0) -> Moment:
    """A random moment of two groups and K = 150, with whole numbers so that sums are exact."""
    patches = np.random.default_rng(seed).integers(-3, 4, (2, 5, 150)).astype(np.float64)
    full = Moment(
        kind=MomentKind.FULL,
        rows=5,
        first=patches.sum(1),
        second=patches.transpose(0, 2, 1) @ patches,
        minimum=patches.min(1),
        maximum=patches.max(1),
    )
    return moments.reduced(full, kind)


def statistics(seed: int, kind: MomentKind | None = MomentKind.FULL) -> Statistics:
    """Random statistics; ``kind`` None leaves the moment out."""
    rng = np.random.default_rng(seed)
    histogram = np.zeros(65536, np.int64)
    histogram[rng.integers(0, 65536, 50)] = rng.integers(1, 1 << 40, 50)
    tensor = TensorStatistics(
        samples=int(rng.integers(1, 9)),
        count=int(histogram.sum()),
        minimum=float(rng.standard_normal()),
        maximum=float(rng.standard_normal()) + 9,
        sum_sample_max=float(rng.standard_normal()),
        sum_sample_min=float(rng.standard_normal()),
        histogram=histogram,
    )
    channel = ChannelStatistics(
        count=7,
        total=rng.standard_normal(4),
        squares=rng.random(4),
        minimum=rng.standard_normal(4),
        maximum=rng.standard_normal(4),
        histogram=rng.integers(0, 99, (4, log_histogram.BINS)),
    )
    return Statistics(
        model_sha256=HASH,
        samples=tensor.samples,
        tensors={"t": tensor},
        moments={} if kind is None else {"t|rows|-1": moment(kind, seed)},
        channels={"l": channel},
    )


def assert_same(a: Statistics, b: Statistics, *, tolerance: float = 0) -> None:
    """Integers and extremes are equal; float sums are, up to ``tolerance``."""
    assert (a.model_sha256, a.samples) == (b.model_sha256, b.samples)
    assert a.tensors.keys() == b.tensors.keys()
    assert a.channels.keys() == b.channels.keys()
    assert a.moments.keys() == b.moments.keys()
    close = functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    for name in a.tensors:
        x, y = a.tensors[name], b.tensors[name]
        np.testing.assert_array_equal(x.histogram, y.histogram)
        assert (x.samples, x.count, x.minimum, x.maximum) == (y.samples, y.count, y.minimum, y.maximum)
        close(x.sum_sample_max, y.sum_sample_max)
        close(x.sum_sample_min, y.sum_sample_min)
    for name in a.channels:
        assert a.channels[name].count == b.channels[name].count
        close(a.channels[name].total, b.channels[name].total)
        np.testing.assert_array_equal(a.channels[name].minimum, b.channels[name].minimum)
        np.testing.assert_array_equal(a.channels[name].maximum, b.channels[name].maximum)
        np.testing.assert_array_equal(a.channels[name].histogram, b.channels[name].histogram)
    for key in a.moments:
        assert (a.moments[key].kind, a.moments[key].rows) == (b.moments[key].kind, b.moments[key].rows)
        close(a.moments[key].second, b.moments[key].second)


PARTS = st.builds(
    statistics,
    st.integers(0, 999),
    st.sampled_from([MomentKind.FULL, MomentKind.BLOCK, MomentKind.DIAGONAL, None]),
)


@settings(max_examples=30, deadline=None)
@given(PARTS, PARTS)
def test_commutative_to_the_bit(a, b):
    """The order of two parts changes nothing at all."""
    assert_same(merge(a, b), merge(b, a))


@settings(max_examples=30, deadline=None)
@given(PARTS, PARTS, PARTS)
def test_associative(a, b, c):
    """Counts, extremes and kinds exactly; sums up to rounding."""
    assert_same(merge(merge(a, b), c), merge(a, merge(b, c)), tolerance=1e-12)


@settings(max_examples=10, deadline=None)
@given(PARTS)
def test_identity(a):
    """Statistics of nothing change nothing."""
    assert_same(merge(a, empty(HASH)), a)
    assert_same(merge(empty(HASH), a), a)


def test_many_parts():
    """Merging a list is merging one after the other."""
    parts = [statistics(i) for i in range(3)]
    assert_same(merge_all(parts), merge(merge(parts[0], parts[1]), parts[2]))
    assert merge_all(parts[:1]) is parts[0]


def test_other_models_are_refused():
    """The hashes are in the message."""
    other = empty("cd" * 32)
    with pytest.raises(StatisticsError, match=r"different models .*abababab.* and cdcdcd"):
        merge(statistics(0), other)


def test_other_tensors_are_refused():
    """A tensor that only one part knows is named."""
    a, b = statistics(0), statistics(1)
    b.tensors["u"] = b.tensors["t"]
    with pytest.raises(StatisticsError, match="'u' is in one of them only"):
        merge(a, b)


def test_moments_of_other_geometry_are_refused():
    """K has to agree."""
    nothing = np.zeros((1, 3))
    small = Moment(
        kind=MomentKind.DIAGONAL, rows=1, first=nothing, second=nothing, minimum=nothing, maximum=nothing
    )
    with pytest.raises(StatisticsError, match="cannot be merged"):
        merge_moments(moment(MomentKind.FULL), small)
