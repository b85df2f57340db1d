"""The tables of every family against their published or computed values, and look-up by name."""

import hashlib

import numpy as np
import pytest

from dybitq.encodings import formats
from dybitq.encodings.families import dybit
from dybitq.errors import ConfigError

DYBIT_UNSIGNED = {
    2: [0, 1, 2, 4],
    3: [0, 1, 2, 3, 4, 6, 8, 16],
    4: [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 24, 32, 64],
    5: [*range(16), 16, 18, 20, 22, 24, 26, 28, 30, 32, 40, 48, 56, 64, 96, 128, 256],
}


@pytest.mark.parametrize("bits", DYBIT_UNSIGNED)
def test_dybit_tables(bits: int) -> None:
    """Unsigned tables are those of the format's description; signed ones mirror the one a bit shorter."""
    expected = DYBIT_UNSIGNED[bits]
    assert formats.get(f"dybit{bits}", signed=False).table.tolist() == expected
    signed = formats.get(f"dybit{bits + 1}").table
    assert signed.tolist() == expected + [-value for value in expected]


@pytest.mark.parametrize(
    ("m", "total", "digest"),
    [
        (8, 102400, "1090c4734f91f3db986ca25302d924c8df63ddfae9478e9420a329a7c09cf43b"),
        (7, 22528, "5ee6bd32a874b128dc0eef5879a3772ebd4f4a356211ad736d5927625721979c"),
    ],
)
def test_dybit_checksums(m: int, total: int, digest: str) -> None:
    """Sum and SHA-256 (as little-endian int16) of the 8- and 7-bit magnitudes of dybit-r1."""
    table = dybit.magnitudes(m)
    assert table.sum() == total
    assert hashlib.sha256(table.astype("<i2").tobytes()).hexdigest() == digest


@pytest.mark.parametrize(
    ("codes", "integer"),
    [
        (range(128), lambda c: c),
        (range(128, 192), lambda c: 2 * (c - 64)),
        (range(192, 224), lambda c: 8 * (c - 160)),
        (range(224, 240), lambda c: 32 * (c - 208)),
        (range(240, 248), lambda c: 128 * (c - 232)),
        (range(248, 252), lambda c: 512 * (c - 244)),
        (range(252, 254), lambda c: 2048 * (c - 250)),
        ([254], lambda c: 8192),
        ([255], lambda c: 16384),
    ],
)
def test_dybit_8_bit_segments(codes: range, integer: object) -> None:
    """Each run length of udybit8 is a straight line in the code."""
    table = formats.get("udybit8").table
    assert [int(table[c]) for c in codes] == [integer(c) for c in codes]  # type: ignore[operator]


def test_dybit_largest_integers() -> None:
    """Largest integers decide which kernels a width can run on."""
    signed = {bits: formats.get(f"dybit{bits}").max_integer for bits in range(2, 9)}
    assert signed == {2: 1, 3: 4, 4: 16, 5: 64, 6: 256, 7: 1024, 8: 4096}
    assert [bits for bits in signed if formats.get(f"dybit{bits}").fits_int8] == [2, 3, 4, 5]
    unsigned = {bits: formats.get(f"udybit{bits}").max_integer for bits in (2, 3, 4, 5, 6, 8)}
    assert unsigned == {2: 4, 3: 16, 4: 64, 5: 256, 6: 1024, 8: 16384}


@pytest.mark.parametrize("m", range(1, 9))
def test_dybit_follows_its_definition(m: int) -> None:
    """The integer form equals the real-valued definition times 2^(m-1), code by code."""
    for code, integer in enumerate(dybit.magnitudes(m)):
        pattern = f"{code:0{m}b}"
        ones = m - len(pattern.lstrip("1"))
        k = m - ones - 1
        if ones == 0:
            value = code / 2 ** (m - 1)
        elif ones == m:
            value = 2.0 ** (m - 1)
        else:
            value = 2.0 ** (ones - 1) * (1 + (int(pattern[ones + 1 :] or "0", 2)) / 2**k)
        assert integer == value * 2 ** (m - 1)


def test_integers() -> None:
    """Signed integers are two's complement without the most negative one, unsigned ones count from zero."""
    assert formats.get("int3").table.tolist() == [0, 1, 2, 3, -3, -3, -2, -1]
    assert formats.get("int3").reserved == (4,)
    assert formats.get("int8").table.astype(np.int8).tolist()[129:] == list(range(-127, 0))
    assert formats.get("uint3").table.tolist() == list(range(8))
    assert formats.get("ternary").table.tolist() == formats.get("int2").table.tolist() == [0, 1, -1, -1]


@pytest.mark.parametrize(
    ("name", "smallest", "values"),
    [
        ("e2m1", 0.5, {1: 0.5, 2: 1, 3: 1.5, 4: 2, 5: 3, 6: 4, 7: 6, 15: -6}),
        ("e2m3", 0.125, {1: 0.125, 8: 1, 31: 7.5, 63: -7.5}),
        ("e3m2", 0.0625, {1: 0.0625, 4: 0.25, 31: 28, 63: -28}),
        ("e4m3", 2.0**-9, {1: 0.001953125, 7: 0.013671875, 8: 0.015625, 0x38: 1, 0x7E: 448, 0xFE: -448}),
        (
            "e5m2",
            2.0**-16,
            {1: 1.52587890625e-05, 4: 6.103515625e-05, 0x3C: 1, 0x7B: 57344, 0xFB: -57344},
        ),
    ],
)
def test_minifloats(name: str, smallest: float, values: dict[int, float]) -> None:
    """Table times smallest subnormal gives the values of the OCP tables."""
    table = formats.get(name).table * smallest
    assert {code: table[code] for code in values} == values


def test_codes_that_are_no_number_are_reserved() -> None:
    """NaN and infinities decode to the largest finite value and are not emitted."""
    assert formats.get("e4m3").reserved == (0x7F, 0x80, 0xFF)
    assert formats.get("e5m2").reserved == (0x7C, 0x7D, 0x7E, 0x7F, 0x80, 0xFC, 0xFD, 0xFE, 0xFF)
    assert formats.get("e4m3").table[0x7F] == formats.get("e4m3").table[0x7E]
    assert formats.get("e5m2").table[0xFF] == -formats.get("e5m2").max_integer


def test_minifloats_agree_with_numpy_half() -> None:
    """e5m2 is the upper byte of a half-precision number."""
    format = formats.get("e5m2")
    patterns = np.arange(256, dtype=np.uint16) << 8
    finite = np.isfinite(patterns.view(np.float16))
    halves = patterns.view(np.float16)[finite].astype(np.float64)
    np.testing.assert_array_equal(format.table[finite] * 2.0**-16, halves)


def test_powers_and_odd_integers() -> None:
    """Power-of-two levels start at zero and one; odd integers use every code."""
    assert formats.get("pot4").table.tolist()[:8] == [0, 1, 2, 4, 8, 16, 32, 64]
    assert formats.get("upot3").table.tolist() == [0, 1, 2, 4, 8, 16, 32, 64]
    assert formats.get("pot5").max_integer == 2**14
    assert formats.get("odd1").table.tolist() == [-1, 1]
    assert formats.get("odd2").table.tolist() == [-3, -1, 1, 3]


def test_unsigned_forms_have_one_name() -> None:
    """Asking for the unsigned member and naming it give the same record."""
    assert formats.get("dybit4", signed=False) is formats.get("udybit4")
    assert formats.get("uint8") is formats.get("int8", signed=False)
    assert formats.get("int8").name == "int8" and formats.get("uint8").name == "uint8"
    assert set(formats.names(signed=False)) == {n for n in formats.FORMATS if n.startswith("u")}


def test_tables_are_read_only() -> None:
    """A shared table cannot be changed by one of its users."""
    with pytest.raises(ValueError, match="read-only"):
        formats.get("dybit4").table[0] = 1


def test_unknown_names_are_refused_with_a_suggestion() -> None:
    """A misspelt name, a width that does not exist and a missing unsigned form each say what there is."""
    with pytest.raises(ConfigError, match=r"unknown number format 'dybti4'\. Did you mean 'dybit4'"):
        formats.get("dybti4")
    with pytest.raises(ConfigError, match="unknown number format 'int9'"):
        formats.get("int9", signed=False)
    with pytest.raises(ConfigError, match=r"'e2m1' has no unsigned form\. Formats that have one: dybit2"):
        formats.get("e2m1", signed=False)
