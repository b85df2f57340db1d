"""Signal to quantization noise, batch by batch."""

import math

import numpy as np
import pytest

from dybitq.data import fidelity
from dybitq.errors import ModelError

RNG = np.random.default_rng(3)


def total(found: np.ndarray, reference: np.ndarray) -> fidelity.ErrorTotal:
    """The state after one batch."""
    state = fidelity.init()
    fidelity.update(state, found, reference, "t")
    return state


def test_sqnr_by_hand():
    """A tenth of the amplitude as noise is 20 dB."""
    reference = np.full(8, 10.0, np.float32)
    assert total(reference + 1, reference).sqnr_db == pytest.approx(20)


def test_batches_add_up():
    """Two batches give what one of both gives, in either order, and merging does too."""
    a, b = RNG.standard_normal((2, 100)).astype(np.float32)
    noisy = a + b * np.float32(0.1)
    whole = total(noisy, a)
    parts = total(noisy[:30], a[:30]), total(noisy[30:], a[30:])
    merged = fidelity.merge(*parts)
    assert merged.sqnr_db == pytest.approx(whole.sqnr_db, rel=1e-6)
    assert merged.largest == whole.largest and merged.values == 100


def test_no_difference_is_infinite():
    """Equal tensors have no noise."""
    assert total(np.ones(3), np.ones(3)).sqnr_db == math.inf


def test_broken_results_are_minus_infinity():
    """NaN or infinity where the reference is finite can pass no gate."""
    for bad in (np.nan, np.inf):
        assert total(np.array([1, bad]), np.ones(2)).sqnr_db == -math.inf


def test_infinite_references_are_left_out():
    """A mask's infinity is not compared."""
    state = total(np.array([1.1, 5.0]), np.array([1.0, -np.inf]))
    assert state.sqnr_db == pytest.approx(20, abs=0.01) and state.values == 1


def test_large_numbers_do_not_overflow():
    """Squares beyond float32 are summed in float64."""
    huge = np.full(4, 3e38, np.float32)
    assert total(huge, huge).sqnr_db == math.inf
    assert total(huge, huge * np.float32(0.5)).sqnr_db == pytest.approx(0, abs=1e-4)


def test_shapes_have_to_agree():
    """Tensors of another shape are of another network."""
    with pytest.raises(ModelError, match=r"'t' has the shape \[2\] .* and \[3\] in the reference"):
        total(np.ones(2), np.ones(3))
