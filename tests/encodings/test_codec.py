"""Encoding and decoding: golden values, shapes and types, zero points, and what is refused."""

import numpy as np
import pytest

from dybitq.encodings import codec, formats
from dybitq.records.formats import NumberFormat


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0.03, "0000"),
        (0.03125, "0000"),
        (0.04, "0001"),
        (-0.1, "1010"),
        (0.3, "0100"),
        (0.3125, "0100"),
        (0.32, "0101"),
        (0.4375, "0110"),
        (0.74, "0110"),
        (0.75, "0110"),
        (0.76, "0111"),
        (5.0, "0111"),
        (-5.0, "1111"),
    ],
)
def test_dybit4_examples(value: float, code: str) -> None:
    """Worked examples at scale 0.25 on the real values, which is 0.0625 on the integers."""
    assert f"{int(codec.encode(np.array(value / 0.0625), formats.get('dybit4'))):04b}" == code


def test_dybit_dot_product() -> None:
    """The accumulator of 4-bit weights and activations is an ordinary integer."""
    weights = codec.decode(np.array([0b0101, 0b1111, 0b0010], np.uint8), formats.get("dybit4"))
    inputs = codec.decode(np.array([0b1101, 0b1001, 0b1111], np.uint8), formats.get("udybit4"))
    assert weights.tolist() == [6, -16, 2] and inputs.tolist() == [24, 10, 64]
    assert int(weights @ inputs) == 112


def test_integers_round_half_to_even() -> None:
    """Ties of uniform integers follow numpy's rint, at 4 bits and in 4-bit codes."""
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 7.5, -8.0], np.float32)
    codes = codec.encode(values, formats.get("int4"))
    assert codec.decode(codes, formats.get("int4")).tolist() == [0, 2, 2, 0, -2, 7, -7]
    assert codes.tolist() == [0, 2, 2, 0, 14, 7, 9]


def test_zero_point_is_added_after_rounding() -> None:
    """As QuantizeLinear does: round, add, saturate."""
    uint8 = formats.get("uint8")
    values = np.array([-200.0, -128.5, -0.5, 0.0, 0.5, 1.5, 126.6, 300.0], np.float32)
    codes = codec.encode(values, uint8, zero_point=128)
    assert codes.tolist() == [0, 0, 128, 128, 128, 130, 255, 255]
    assert codec.decode(codes, uint8, zero_point=128).tolist() == [-128, -128, 0, 0, 0, 2, 127, 127]
    np.testing.assert_array_equal(
        codec.quantize(np.array([-3.0, 0.26], np.float32), 0.5, uint8, zero_point=4), [-2.0, 0.5]
    )


def test_float32_and_float64_agree_where_both_are_exact() -> None:
    """The fast path for float32 chooses as the search in float64 does."""
    values = np.random.default_rng(0).normal(size=100_000).astype(np.float32) * 20
    for name in ("dybit4", "dybit8", "e4m3", "odd3", "udybit6", "int5"):
        format = formats.get(name)
        np.testing.assert_array_equal(
            codec.encode(values, format), codec.encode(values.astype(np.float64), format)
        )


def test_shapes_and_strides() -> None:
    """Scalars, empty arrays, transposed views and half precision are taken as they are."""
    format = formats.get("dybit4")
    assert codec.encode(np.float32(3.2), format).shape == ()
    assert codec.encode(np.zeros((0, 3), np.float32), format).shape == (0, 3)
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(codec.encode(values.T, format), codec.encode(values, format).T)
    np.testing.assert_array_equal(
        codec.encode(values.astype(np.float16), format), codec.encode(values, format)
    )


def test_scale_is_broadcast() -> None:
    """One scale a channel, as the array form of per-channel granularity."""
    values = np.array([[1.0, 2.2], [1.0, 2.2]], np.float32)
    out = codec.quantize(values, np.array([[1.0], [0.5]]), formats.get("int4"))
    np.testing.assert_array_equal(out, np.array([[1.0, 2.0], [1.0, 2.0]], np.float32))


def test_tables_with_crowded_levels_fall_back_to_search() -> None:
    """A table whose boundaries share the upper 16 bits of their patterns is encoded exactly all the same."""
    table = np.array([100_000, 100_001, 100_002, 100_003], np.int64)
    format = NumberFormat(name="crowded", family="learned", bits=2, signed=False, table=table)
    values = np.array([0, 100_000.5, 100_001.5, 100_001.4, 2e5], np.float32)
    assert codec.encode(values, format).tolist() == [0, 0, 2, 1, 3]


def test_unsorted_tables_keep_their_codes() -> None:
    """Codes are positions in the table, in whatever order the levels stand there."""
    table = np.array([8, -3, 0, 1], np.int64)
    format = NumberFormat(name="shuffled", family="learned", bits=2, signed=True, table=table)
    assert codec.encode(np.array([-9.0, 0.2, 0.9, 5.0]), format).tolist() == [1, 2, 3, 0]


def test_refusals() -> None:
    """NaN, and a zero point where levels are not evenly spaced."""
    with pytest.raises(ValueError, match="NaN cannot be encoded as dybit4"):
        codec.encode(np.array([0.0, np.nan], np.float32), formats.get("dybit4"))
    with pytest.raises(ValueError, match="dybit4 is not uniform"):
        codec.encode(np.array([0.0], np.float32), formats.get("dybit4"), zero_point=1)


@pytest.mark.parametrize("name", formats.names())
def test_codes_and_integers_in_one_step(name: str) -> None:
    """The unchecked form gives what encoding and rounding to the nearest give, for every table."""
    fmt = formats.get(name)
    rng = np.random.default_rng(4)
    top = float(fmt.table.max())
    values = np.concatenate(
        [rng.uniform(-1.5 * top, 1.5 * top, 4000), np.arange(-40, 41) / 4, [np.inf, -np.inf]]
    )
    shaped = values.astype(np.float32)[-4080:].reshape(48, 85)[:, ::3]
    codes, integers = codec.rounded(shaped, fmt)
    np.testing.assert_array_equal(codes, codec.encode(shaped, fmt))
    np.testing.assert_array_equal(integers, codec.nearest(shaped, fmt))
    assert codes.dtype == np.uint8 and integers.dtype == np.float32
