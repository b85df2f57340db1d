"""What every registered number format must do; a new file in ``families`` is tested here as it is."""

from fractions import Fraction

import numpy as np
import pytest

from dybitq.encodings import codec, formats
from dybitq.records.formats import NumberFormat

ALL = (*formats.names(), *formats.names(signed=False))


@pytest.fixture(params=ALL)
def format(request: pytest.FixtureRequest) -> NumberFormat:
    """Each registered format in turn."""
    return formats.get(request.param)


def emitted_codes(format: NumberFormat) -> np.ndarray:
    """Codes that an encoder may emit."""
    return np.setdiff1d(np.arange(2**format.bits), format.reserved).astype(np.uint8)


def test_record_is_consistent(format: NumberFormat) -> None:
    """The table has one integer a code, signs as stated; reserved codes repeat emitted integers."""
    assert format.table.dtype == np.int64 and format.table.shape == (2**format.bits,)
    assert (format.table.min() < 0) == format.signed
    emitted = format.table[emitted_codes(format)]
    assert np.unique(emitted).size == emitted.size
    assert np.isin(format.table, emitted).all()
    if format.signed:
        np.testing.assert_array_equal(np.unique(format.table), np.unique(-format.table))


def test_all_codes_round_trip(format: NumberFormat) -> None:
    """Every code decodes, and its integer encodes to the code itself or, if reserved, to its replacement."""
    for dtype in (np.float32, np.float64):
        integers = codec.decode(np.arange(2**format.bits, dtype=np.uint8), format)
        codes = codec.encode(integers.astype(dtype), format)
        assert codes.dtype == np.uint8
        np.testing.assert_array_equal(codec.decode(codes, format), integers)
        emitted = emitted_codes(format)
        np.testing.assert_array_equal(codes[emitted], emitted)
        assert not np.isin(codes, format.reserved).any()


def test_neighbourhood_of_every_boundary(format: NumberFormat) -> None:
    """Just below, at and just above each midpoint the nearest level wins, ties going to the even code."""
    integers, codes = codec.levels(format)
    for dtype in (np.float32, np.float64):
        for i in range(len(integers) - 1):
            exact = Fraction(int(integers[i] + integers[i + 1]), 2)
            middle = dtype(float(exact))
            if Fraction(float(middle)) != exact:
                continue
            below, above = np.nextafter(middle, dtype(-np.inf)), np.nextafter(middle, dtype(np.inf))
            low, tie, high = codec.encode(np.array([below, middle, above], dtype), format)
            even = codes[i + 1] if codes[i + 1] % 2 == 0 and codes[i] % 2 else codes[i]
            assert (low, tie, high) == (codes[i], even, codes[i + 1])


def test_nearest_is_encode_then_decode(format: NumberFormat) -> None:
    """The one-step form gives the integers of the codes."""
    values = np.random.default_rng(3).normal(size=(50, 40)) * format.max_integer / 2
    for dtype in (np.float32, np.float64):
        integers = codec.decode(codec.encode(values.astype(dtype), format), format)
        found = codec.nearest(values.astype(dtype), format)
        assert found.dtype == np.float32 and found.shape == values.shape
        np.testing.assert_array_equal(found, integers)


def test_nearest_level(format: NumberFormat) -> None:
    """No level is closer to a random value than the one chosen."""
    generator = np.random.default_rng(1)
    integers, _ = codec.levels(format)
    spread = float(np.abs(integers).max())
    values = np.concatenate(
        [generator.normal(size=2000) * spread / 4, np.exp(generator.uniform(-3, np.log(spread + 1), 2000))]
    )
    chosen = codec.decode(codec.encode(values, format), format)
    best = np.abs(values[:, None] - integers[None, :]).min(axis=1)
    np.testing.assert_array_equal(np.abs(values - chosen), best)
    single = codec.decode(codec.encode(values.astype(np.float32), format), format)
    best = np.abs(values.astype(np.float32).astype(np.float64)[:, None] - integers[None, :]).min(axis=1)
    np.testing.assert_array_equal(np.abs(values.astype(np.float32).astype(np.float64) - single), best)


def test_monotone_and_saturating(format: NumberFormat) -> None:
    """Larger values never get smaller levels, and everything beyond the ends gets the end."""
    top = float(format.table.max())
    values = np.concatenate([[-np.inf, -1e38], np.linspace(-1.5 * top, 1.5 * top, 10001), [1e38, np.inf]])
    decoded = codec.decode(codec.encode(values.astype(np.float32), format), format)
    assert (np.diff(decoded) >= 0).all()
    assert decoded[0] == decoded[1] == format.table.min()
    assert decoded[-1] == decoded[-2] == format.table.max()


def test_idempotent(format: NumberFormat) -> None:
    """Quantizing what is quantized already changes nothing, at any power-of-two scale."""
    values = np.random.default_rng(2).normal(size=(7, 13)).astype(np.float32) * format.max_integer
    for scale in (0.25, 1.0, 2.0):
        once = codec.quantize(values, scale, format)
        assert once.dtype == np.float32 and once.shape == values.shape
        np.testing.assert_array_equal(codec.quantize(once, scale, format), once)


def test_negative_zero_is_zero(format: NumberFormat) -> None:
    """The sign of a zero never shows in the code."""
    codes = codec.encode(np.array([0.0, -0.0], np.float32), format)
    assert codes[0] == codes[1]
