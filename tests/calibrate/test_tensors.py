"""Histograms keyed by float patterns, extremes, and what follows for clipped tensors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dybitq.calibration import tensors

FLOATS = st.floats(-1e6, 1e6, width=32)
RNG = np.random.default_rng(4)


def histogram(values: np.ndarray) -> np.ndarray:
    """Counts by the upper 16 bits, the slow way."""
    counts = np.zeros(65536, np.int64)
    for pattern in values.astype(np.float32).view(np.uint32).ravel() >> 16:
        counts[pattern] += 1
    return counts


@given(hnp.arrays(np.float32, (3, 7), elements=FLOATS))
def test_small_tensors_enter_whole(x):
    """Every value is in the histogram; extremes are those of each sample."""
    total = tensors.init()
    tensors.update(total, tensors.measure(x, 3, 3))
    found = tensors.result(total)
    np.testing.assert_array_equal(found.histogram, histogram(x))
    assert (found.samples, found.count) == (3, 21)
    assert (found.minimum, found.maximum) == (x.min(), x.max())
    assert found.sum_sample_max == x.max(1).astype(np.float64).sum()
    assert found.sum_sample_min == x.min(1).astype(np.float64).sum()


def test_large_tensors_are_subsampled_but_extremes_are_exact():
    """An outlier off the grid is in the extremes; the histogram holds a bounded number of values."""
    x = RNG.standard_normal((2, 16, 56, 56)).astype(np.float32)
    x[1, 3, 5, 7] = 1000
    part = tensors.measure(x, 2, 2)
    assert part.maxima[1] == 1000
    assert 2000 < len(part.bins) / 2 <= tensors.VALUES_PER_SAMPLE
    values = (part.bins.astype(np.uint32) << 16).view(np.float32)
    assert abs(values.std() - 1) < 0.03


def test_batches_do_not_matter():
    """One batch of six and three of two give the same counts, bit for bit."""
    x = RNG.standard_normal((6, 30, 40, 40)).astype(np.float32)
    whole, parts = tensors.init(), tensors.init()
    tensors.update(whole, tensors.measure(x, 6, 6))
    for start in (0, 2, 4):
        tensors.update(parts, tensors.measure(x[start : start + 2], 2, 2))
    np.testing.assert_array_equal(whole.histogram, parts.histogram)
    assert (whole.count, whole.samples) == (parts.count, parts.samples)


def test_padding_samples_are_left_out():
    """Only the first ``count`` samples of a run are measured, also where samples span several rows."""
    x = RNG.standard_normal((8, 5)).astype(np.float32)
    part = tensors.measure(x, 4, 3)
    assert part.maxima.tolist() == x[:6].reshape(3, 10).max(1).tolist() and len(part.bins) == 30


def test_a_tensor_without_batch_axis_stands_for_all():
    """What does not grow with the batch counts once in the histogram and for each sample in the sums."""
    part = tensors.measure(np.array([[1.0, 2.0]], np.float32), 4, 3)
    assert part.maxima.tolist() == [2, 2, 2] and len(part.bins) == 2


def test_padded_positions_are_left_out():
    """Only real positions of a sequence count; a sample without any adds nothing."""
    x = RNG.standard_normal((3, 4, 5)).astype(np.float32)
    real = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    part = tensors.measure(x, 3, 3, real)
    assert part.maxima.tolist() == [x[0, :2].max(), x[2].max()]
    expected = histogram(np.concatenate([x[0, :2], x[2]]))
    np.testing.assert_array_equal(np.bincount(part.bins, minlength=65536), expected)
    assert len(tensors.measure(x[:, 0], 3, 3, real).bins) == 15


def test_infinities_are_left_out():
    """An attention mask's infinity is in neither extremes nor histogram."""
    x = np.array([[1, -np.inf, 3], [-np.inf] * 3], np.float32)
    part = tensors.measure(x, 2, 2)
    assert part.minima.tolist() == [1, 0] and part.maxima.tolist() == [3, 0]
    np.testing.assert_array_equal(np.bincount(part.bins, minlength=65536), histogram(np.array([1.0, 3.0])))


def test_nan_shows_in_the_extremes():
    """A sample with NaN has NaN for extremes."""
    part = tensors.measure(np.array([[1, 2], [np.nan, 0]], np.float32), 2, 2)
    assert np.isnan(part.minima).tolist() == [False, True]


def test_empty_tensors_add_nothing():
    """A tensor without elements has no part."""
    assert tensors.measure(np.zeros((2, 0), np.float32), 2, 2) is None


BOUNDS = st.tuples(FLOATS, FLOATS).map(sorted)


@settings(max_examples=200)
@given(hnp.arrays(np.float32, 50, elements=FLOATS), BOUNDS)
def test_the_histogram_of_a_clipped_tensor_follows(x, bounds):
    """Mapping the bins of x gives exactly the bins of clip(x), up to the sign of zero."""
    low, high = np.float32(bounds[0]), np.float32(bounds[1])

    def clip(values: np.ndarray) -> np.ndarray:
        return np.minimum(np.maximum(values, low), high)

    found = tensors.mapped_histogram(histogram(x), clip)
    expected = histogram(clip(x) + np.float32(0))
    found[0], found[0x8000] = found[0] + found[0x8000], 0
    expected[0], expected[0x8000] = expected[0] + expected[0x8000], 0
    np.testing.assert_array_equal(found, expected)


@given(hnp.arrays(np.float32, (4, 6), elements=FLOATS))
def test_the_extremes_of_a_clipped_tensor_follow(x):
    """Relu of the extremes is the extremes of Relu."""
    relu = lambda v: np.maximum(v, np.float32(0))  # noqa: E731
    part = tensors.mapped_part(tensors.measure(x, 4, 4), relu)
    np.testing.assert_array_equal(part.maxima, relu(x).max(1))
    np.testing.assert_array_equal(part.minima, relu(x).min(1))


def test_bins_are_narrow():
    """A bin's width is at most 1/128 of its values."""
    x = RNG.uniform(0.01, 100, 1000).astype(np.float32)
    edges = (x.view(np.uint32) >> 16 << 16).view(np.float32)
    assert ((x - edges) / x).max() < 1 / 128
    assert pytest.approx(edges.mean(), rel=1 / 128) == x.mean()
