"""Second moments: sums of outer products, kinds, and the memory budget."""

import numpy as np
import pytest

from dybitq.calibration import moments
from dybitq.records.geometry.products import MatrixProduct
from dybitq.records.geometry.windows import SlidingWindow, Window
from dybitq.records.statistics import MomentKind
from tests.models import layer_of

RNG = np.random.default_rng(8)
WINDOW = Window(kernel=(3, 3), strides=(1, 1), dilations=(1, 1), pads=(1, 1, 1, 1), group=2)
CONV = layer_of(SlidingWindow(weight_shape=(4, 2, 3, 3), window=WINDOW))
GEMM = layer_of(MatrixProduct(weight_shape=(300, 7), gemm=True))


def collected(x: np.ndarray, layer, kind: MomentKind, batch: int):
    """The moments after all batches of ``x``."""
    total = moments.init(kind, *layer.geometry.patch_shape)
    for start in range(0, len(x), batch):
        part = moments.measure(x[start : start + batch], layer, kind, start, batch, batch)
        moments.update(total, part)
    return moments.result(total)


def test_full_moment_of_a_small_layer_is_exact():
    """Where all positions fit, the sums are those of all patches."""
    x = RNG.standard_normal((6, 4, 5, 6)).astype(np.float32)
    found = collected(x, CONV, MomentKind.FULL, 2)
    patches = CONV.geometry.patches(x).astype(np.float64)
    assert found.rows == 6 * 30 == patches.shape[1]
    np.testing.assert_allclose(found.first, patches.sum(1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.second, patches.transpose(0, 2, 1) @ patches, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", [MomentKind.BLOCK, MomentKind.DIAGONAL])
def test_poorer_kinds_are_parts_of_the_full_one(kind):
    """Collecting a kind gives what cutting down the full moment gives."""
    x = RNG.standard_normal((64, 300)).astype(np.float32)
    full, poorer = collected(x, GEMM, MomentKind.FULL, 16), collected(x, GEMM, kind, 16)
    cut = moments.reduced(full, kind)
    assert poorer.second.shape == moments.second_shape(kind, 1, 300) == cut.second.shape
    np.testing.assert_allclose(poorer.second, cut.second, rtol=1e-5, atol=1e-4)
    if kind is MomentKind.BLOCK:
        again = moments.reduced(cut, MomentKind.DIAGONAL)
        np.testing.assert_allclose(again.second[0], np.diagonal(full.second[0]), rtol=1e-6)


def test_a_poorer_moment_cannot_become_richer():
    """Only down the ladder."""
    diagonal = moments.reduced(
        collected(np.ones((2, 300), np.float32), GEMM, MomentKind.FULL, 2), MomentKind.DIAGONAL
    )
    with pytest.raises(ValueError, match="diagonal moment cannot become full"):
        moments.reduced(diagonal, MomentKind.FULL)


def test_the_function_applies_before_padding_counts():
    """The layer reads function(x); the pads around it hold zeros, whatever the function makes of zero."""
    x = RNG.standard_normal((2, 4, 5, 6)).astype(np.float32)
    for function in (lambda v: np.maximum(v, np.float32(0)), lambda v: np.maximum(v, np.float32(0.5))):
        found = moments.measure(x, CONV, MomentKind.FULL, 0, 2, 2, function)
        expected = moments.measure(function(x), CONV, MomentKind.FULL, 0, 2, 2)
        np.testing.assert_array_equal(found.second, expected.second)


def test_rows_are_bounded_and_move():
    """A large layer takes few patches of each sample, at other places each time."""
    groups, k = 1, 4608
    assert 16 <= moments.patches_per_sample(groups, k) < 64
    assert moments.patches_per_sample(1, 9) == 256
    x = RNG.standard_normal((1, 4, 64, 64)).astype(np.float32)
    parts = [moments.measure(x, CONV, MomentKind.FULL, sample, 1, 1) for sample in (0, 1)]
    assert parts[0].rows == parts[1].rows or abs(parts[0].rows - parts[1].rows) == 1
    assert not np.array_equal(parts[0].first, parts[1].first)


def test_batches_do_not_change_which_rows():
    """The rows depend on the number of the sample, not on the batch."""
    x = RNG.standard_normal((6, 4, 40, 40)).astype(np.float32)
    one, three = collected(x, CONV, MomentKind.FULL, 1), collected(x, CONV, MomentKind.FULL, 3)
    assert one.rows == three.rows
    np.testing.assert_allclose(one.second, three.second, rtol=1e-5, atol=1e-3)


def test_padding_samples_are_left_out():
    """Only ``count`` samples of the run are summed."""
    x = RNG.standard_normal((4, 300)).astype(np.float32)
    part = moments.measure(x, GEMM, MomentKind.DIAGONAL, 0, 4, 3)
    assert part.rows == 3
    np.testing.assert_allclose(part.first[0], x[:3].sum(0), rtol=1e-5, atol=1e-6)


def test_the_budget_takes_from_the_largest():
    """Full where it fits; the largest steps down first, and to nothing if it must."""
    layers = {
        "big": layer_of(MatrixProduct(weight_shape=(1000, 7), gemm=True)),
        "small": layer_of(MatrixProduct(weight_shape=(10, 7), gemm=True)),
    }
    sizes = {
        kind: moments.size_bytes(kind, 1, 1000) + moments.size_bytes(MomentKind.FULL, 1, 10)
        for kind in MomentKind
    }
    for kind in MomentKind:
        kinds = moments.choose_kinds(layers, MomentKind.FULL, sizes[kind])
        assert kinds == {"big": kind, "small": MomentKind.FULL}
    assert set(moments.choose_kinds(layers, MomentKind.FULL, 0).values()) == {MomentKind.NONE}


def test_a_block_that_holds_everything_is_full():
    """Blocks larger than K would only waste memory."""
    kinds = moments.choose_kinds(
        {"s": layer_of(MatrixProduct(weight_shape=(10, 7), gemm=True))}, MomentKind.BLOCK, 1 << 20
    )
    assert kinds == {"s": MomentKind.FULL}


def test_padded_positions_are_left_out():
    """Only real positions of a sequence are summed."""
    layer = layer_of(MatrixProduct(weight_shape=(3, 7)))
    x = RNG.standard_normal((2, 4, 3)).astype(np.float32)
    real = np.array([[1, 1, 0, 0], [1, 0, 1, 1]], bool)
    part = moments.measure(x, layer, MomentKind.FULL, 0, 2, 2, real=real)
    assert part.rows == 5
    np.testing.assert_allclose(part.second[0], x[real].T @ x[real], rtol=1e-5, atol=1e-5)
