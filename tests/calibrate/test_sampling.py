"""Fixed subsets of positions that miss no row, column or channel."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dybitq.calibration.sampling import positions, stride

EXTENTS = st.lists(st.integers(1, 40), min_size=1, max_size=4)


@given(EXTENTS, st.integers(1, 5000))
def test_stride_is_coprime_and_large_enough(extents, wanted):
    """At most ``wanted`` elements remain, and no extent shares a factor with the stride."""
    step = stride(extents, wanted)
    count = math.prod(extents)
    assert len(range(0, count, step)) <= wanted
    assert step == 1 or all(math.gcd(step, e) == 1 for e in extents)
    assert count > wanted or step == 1


def test_every_column_is_seen():
    """A subset of a 56 x 56 image, channels last, has all columns and channels."""
    step = stride((56, 56, 24), 8192)
    index = np.unravel_index(np.arange(0, 56 * 56 * 24, step), (56, 56, 24))
    assert len(set(index[1])) == 56 and len(set(index[2])) == 24


@given(EXTENTS, st.integers(1, 100), st.integers(0, 1000))
def test_positions_are_inside_and_bounded(extents, wanted, sample):
    """Ascending, distinct, inside the grid, at most ``wanted``, and never none."""
    found = positions(extents, wanted, sample)
    assert 1 <= len(found) <= wanted
    assert (np.diff(found) > 0).all() and found[0] >= 0 and found[-1] < math.prod(extents)


def test_samples_visit_all_positions():
    """Together successive samples come by everywhere, about equally often."""
    seen = np.zeros(56 * 56)
    for sample in range(400):
        seen[positions((56, 56), 100, sample)] += 1
    assert seen.min() > 0 and seen.max() < 3 * seen.mean()
