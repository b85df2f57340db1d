"""Which positions of a padded batch are real."""

import numpy as np

from dybitq.data.padding import real_positions

IDS = np.ones((2, 3), np.int64)


def test_a_mask_is_found():
    """An integer input with mask in its name; several are combined."""
    a, b = np.array([[1, 1, 0], [1, 0, 0]]), np.array([[1, 1, 1], [0, 0, 0]])
    assert real_positions({"ids": IDS, "attention_mask": a}).tolist() == a.astype(bool).tolist()
    both = real_positions({"attention_mask": a, "other_mask": b})
    assert both.tolist() == [[True, True, False], [False] * 3]


def test_what_is_no_mask():
    """Floats, other values, other ranks and other names are left alone."""
    assert real_positions({"ids": IDS, "mask": IDS * 2}) is None
    assert real_positions({"mask": IDS.astype(np.float32)}) is None
    assert real_positions({"mask": IDS[0]}) is None
    assert real_positions({"image": IDS}) is None
