"""Packing of 1- to 8-bit codes: the documented bit order, round trips, padding and refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dybitq import bits

WIDTHS = range(1, 9)


def test_order_is_least_significant_bit_first() -> None:
    """Codes fill a byte from its low end, and a code may straddle two bytes."""
    assert bits.pack(np.array([0x1, 0x2, 0xA], np.uint8), 4) == bytes([0x21, 0x0A])
    assert bits.pack(np.array([1, 0, 0, 0, 0, 0, 0, 0, 1], np.uint8), 1) == bytes([0x01, 0x01])
    assert bits.pack(np.array([1, 2, 3, 4, 5, 6, 7, 0], np.uint8), 3) == bytes([0xD1, 0x58, 0x1F])


@given(data=st.data(), width=st.sampled_from(list(WIDTHS)))
@settings(max_examples=200, deadline=None)
def test_round_trip_and_definition(data: st.DataObject, width: int) -> None:
    """Unpack undoes pack, and the stream is bit for bit the one the definition gives."""
    values = data.draw(st.lists(st.integers(0, 2**width - 1), max_size=70))
    packed = bits.pack(np.array(values, np.uint8), width)
    stream = sum(value << (i * width) for i, value in enumerate(values))
    assert packed == stream.to_bytes(bits.packed_size_bytes(len(values), width), "little")
    assert bits.unpack(packed, width, len(values)).tolist() == values


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
def test_whole_groups_pads_with_zero_codes(width: int, count: int) -> None:
    """With whole groups the stream is a multiple of eight codes, the added ones zero."""
    codes = np.full(count, 2**width - 1, np.uint8)
    packed = bits.pack(codes, width, whole_groups=True)
    padded = -(-count // 8) * 8
    assert len(packed) == padded * width // 8 == bits.packed_size_bytes(count, width, whole_groups=True)
    assert bits.unpack(packed, width, padded).tolist() == codes.tolist() + [0] * (padded - count)


def test_any_shape_is_packed_in_c_order() -> None:
    """A transposed view is packed by its own index order, not by its memory."""
    codes = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert bits.unpack(bits.pack(codes.T, 3), 3, 6).tolist() == [0, 3, 1, 4, 2, 5]


def test_arrays_are_read_like_bytes() -> None:
    """A uint8 array with spare bytes behind the stream gives the same codes."""
    packed = np.frombuffer(bits.pack(np.array([5, 1, 6], np.uint8), 3) + b"\xff\xff\xff", np.uint8)
    assert bits.unpack(packed, 3, 3).tolist() == [5, 1, 6]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bits.pack(np.array([8], np.uint8), 3), "code 8 does not fit 3 bits"),
        (lambda: bits.pack(np.array([1]), 3), "expected uint8"),
        (lambda: bits.pack(np.array([1], np.uint8), 9), "1 to 8 bits"),
        (lambda: bits.unpack(b"\x00", 0, 1), "1 to 8 bits"),
        (lambda: bits.unpack(b"\x00\x00", 3, 8), "need 3 bytes, the stream has 2"),
    ],
)
def test_refusals_say_what_was_found(call: object, message: str) -> None:
    """Codes that do not fit and streams that are too short are refused with the numbers."""
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
