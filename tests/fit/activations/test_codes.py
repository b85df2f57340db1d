"""Codes of an activation tensor: encoding and decoding by its record."""

import numpy as np
import pytest

from dybitq.records.fitted import FittedEdge

EDGE = FittedEdge(format="int4", scale=0.5, zero_point=3, low=1, high=12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ties_go_to_even_and_what_lies_outside_saturates(dtype):
    """Half steps round to an even number of steps, and values beyond the clamp take its codes."""
    values = np.array([-9, -1.0, -0.25, 0, 0.25, 0.75, 4.5, 9], dtype)
    codes = EDGE.encode(values)
    assert codes.dtype == np.uint8
    assert codes.tolist() == [1, 1, 3, 3, 3, 5, 12, 12]


def test_every_code_survives_decoding():
    """Encoding the decoded codes gives the codes again, in either precision, and the ends are the range."""
    edge = FittedEdge(format="int8", scale=float(np.float32(0.0371)), zero_point=77, low=5, high=250)
    codes = np.arange(5, 251).astype(np.uint8)
    for dtype in (np.float32, np.float64):
        real = edge.decode(codes, dtype)
        assert real.dtype == dtype
        np.testing.assert_array_equal(edge.encode(real), codes)
    assert edge.real_range == (real[0], real[-1])


def test_the_division_keeps_the_precision_of_the_values():
    """Close to a half float32 and float64 differ; a kernel that reads floats divides in float32."""
    edge = FittedEdge(format="int8", scale=float(np.float32(0.1)), zero_point=0)
    value = np.array([0.35], np.float32)
    assert edge.encode(value).tolist() == [4]
    assert edge.encode(value.astype(np.float64)).tolist() == [3]
