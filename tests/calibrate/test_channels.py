"""Sums over the channels of layer outputs."""

import numpy as np
import pytest

from dybitq import log_histogram
from dybitq.calibration import channels
from dybitq.records.geometry.products import MatrixProduct
from dybitq.records.geometry.windows import SlidingWindow, Window
from tests.models import layer_of

RNG = np.random.default_rng(9)
WINDOW = Window(kernel=(1, 1), strides=(1, 1), dilations=(1, 1), pads=(0, 0, 0, 0), group=1)


@pytest.mark.parametrize(
    ("layer", "shape", "axis"),
    [
        (layer_of(SlidingWindow(weight_shape=(3, 2, 1, 1), window=WINDOW)), (4, 3, 2, 5), 1),
        (layer_of(MatrixProduct(weight_shape=(2, 3), gemm=True)), (4, 3), -1),
        (layer_of(MatrixProduct(weight_shape=(2, 3))), (4, 5, 3), -1),
        (layer_of(MatrixProduct(weight_shape=(3, 2), left=True)), (4, 3, 5), -2),
    ],
)
def test_sums_of_every_kind_of_layer(layer, shape, axis):
    """Counts, sums and sums of squares along the channel axis, in batches."""
    value = RNG.standard_normal(shape).astype(np.float32)
    total = channels.init(3)
    for start in (0, 2):
        channels.update(total, channels.measure(value[start : start + 2], layer, 2, 2))
    found = channels.result(total)
    flat = np.moveaxis(value, axis, 0).reshape(3, -1).astype(np.float64)
    assert found.count == flat.shape[1]
    np.testing.assert_allclose(found.total, flat.sum(1))
    np.testing.assert_allclose(found.squares, (flat**2).sum(1))
    np.testing.assert_array_equal(found.minimum, flat.min(1))
    np.testing.assert_array_equal(found.maximum, flat.max(1))


def test_positions_are_bounded():
    """A large output is looked at in a bounded number of positions per sample."""
    layer = layer_of(SlidingWindow(weight_shape=(3, 2, 1, 1), window=WINDOW))
    value = np.ones((2, 3, 100, 100), np.float32)
    part = channels.measure(value, layer, 2, 2)
    assert part.count <= 2 * channels.POSITIONS_PER_SAMPLE
    np.testing.assert_array_equal(part.total, part.count)
    value[1, 2, 98, 3], value[0, 1, 5, 97] = 7, -2
    part = channels.measure(value, layer, 2, 2)  # extremes are those of all positions
    assert part.maximum.tolist() == [1, 1, 7] and part.minimum.tolist() == [1, -2, 1]


def test_padding_samples_are_left_out():
    """Only ``count`` samples of the run are summed."""
    layer = layer_of(MatrixProduct(weight_shape=(2, 3), gemm=True))
    value = RNG.standard_normal((4, 3)).astype(np.float32)
    part = channels.measure(value, layer, 4, 3)
    assert part.count == 3
    np.testing.assert_allclose(part.total, value[:3].astype(np.float64).sum(0))


def test_padded_positions_are_left_out():
    """Only real positions of a sequence are summed."""
    layer = layer_of(MatrixProduct(weight_shape=(2, 3)))
    value = RNG.standard_normal((2, 4, 3)).astype(np.float32)
    real = np.array([[1, 1, 0, 0], [1, 0, 1, 1]], bool)
    part = channels.measure(value, layer, 2, 2, real)
    assert part.count == 5
    np.testing.assert_allclose(part.total, value[real].astype(np.float64).sum(0))


def test_histograms_of_channels():
    """Every channel's values fall into the bins that hold them, in batches as in one run."""
    layer = layer_of(SlidingWindow(weight_shape=(3, 2, 1, 1), window=WINDOW))
    value = (RNG.standard_normal((4, 3, 5, 7)) * np.array([1e-9, 1, 300]).reshape(3, 1, 1)).astype(np.float32)
    total = channels.init(3, shaped=True)
    for start in (0, 2):
        channels.update(total, channels.measure(value[start : start + 2], layer, 2, 2, shaped=True))
    found = channels.result(total).histogram
    whole = channels.measure(value, layer, 4, 4, shaped=True)
    assert (found.sum(1) == whole.bins.shape[1]).all() and whole.bins.shape[1] == 4 * 35
    assert found[0, 0] == 140  # below the smallest bin
    rows = value.transpose(1, 0, 2, 3).reshape(3, -1)
    mean = (found * log_histogram.centres()).sum(1) / 140
    np.testing.assert_allclose(mean[1:], rows.mean(1)[1:], atol=0.02 * np.abs(rows).mean(1)[1:].max())
    assert channels.result(channels.init(3)).histogram is None


def test_octaves():
    """Bins are an eighth of an octave wide, of both signs, and end at 2^-24 and 2^24."""
    values = np.concatenate(
        [RNG.standard_normal(500) * 10.0 ** RNG.integers(-4, 5, 500), [0, -0.0, 1e30, -1e30]]
    )
    bins, centres = log_histogram.bin_of(values), log_histogram.centres()
    inside = (np.abs(values) > 2.0**-23.9) & (np.abs(values) < 2.0**24)
    near = np.abs(centres[bins[inside]] / values[inside] - 1)
    assert inside.sum() > 400 and near.max() <= 1 / 16 + 1e-6
    assert (bins[-4:] == [0, 0, 383, 767]).all() and centres[0] == centres[384] == 0
    np.testing.assert_array_equal(log_histogram.bin_of(centres)[1:384], np.arange(1, 384))
    np.testing.assert_array_equal(log_histogram.bin_of(centres)[385:], np.arange(385, 768))


def test_counts_of_divided_values():
    """Dividing by a power of two moves bins, beyond the ends into the last ones."""
    values = np.concatenate([RNG.standard_normal(300), [0, 2.0**-22, -(2.0**23), 2.0**23]]).astype(np.float32)
    rows = np.stack([values, -values, values])
    scale = np.array([1, 2.0**-4, 2.0**5])

    def counted(array: np.ndarray) -> np.ndarray:
        counts = np.zeros((3, log_histogram.BINS), np.int32)
        np.add.at(counts, (np.arange(3)[:, None], log_histogram.bin_of(array)), 1)
        return counts

    expected = counted((rows / scale[:, None]).astype(np.float32))
    np.testing.assert_array_equal(log_histogram.divided(counted(rows), scale), expected)
