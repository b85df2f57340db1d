"""SPARQ windows and pairs against golden tables, values and dot products of the published rule."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dybitq.encodings import sparq
from dybitq.errors import ConfigError

TABLES = {
    "5opt": (4, (0, 1, 2, 3, 4)),
    "3opt": (4, (0, 2, 4)),
    "2opt": (4, (0, 4)),
    "6opt": (3, (0, 1, 2, 3, 4, 5)),
    "7opt": (2, (0, 1, 2, 3, 4, 5, 6)),
    "6b": (6, (0, 1, 2)),
}

STATISTICS = [  # table, rounded, sum, distinct, sum of squared errors, largest error, head of the SHA-256
    ("5opt", False, 31400, 48, 11160, 15, "fa4dc70104c56f74"),
    ("5opt", True, 32470, 48, 4160, 15, "06b47b50063dd06c"),
    ("3opt", False, 31128, 40, 15048, 15, "af662f4a3a3befe9"),
    ("3opt", True, 32504, 40, 5104, 15, "d63939702202090b"),
    ("2opt", False, 30840, 31, 18600, 15, "2de1de1be83ac31f"),
    ("2opt", True, 32520, 31, 6056, 15, "3e66268ca5edd5c8"),
    ("6opt", False, 30036, 28, 47244, 31, "40ca04b9ccef481d"),
    ("6opt", True, 31958, 28, 21204, 31, "3319e06037563320"),
    ("7opt", False, 27306, 16, 194310, 63, "3506ea2fae320d38"),
    ("7opt", True, 29910, 16, 122142, 63, "29b974a6bef304bf"),
    ("6b", False, 32416, 128, 480, 3, "9996c332ef6c9765"),
    ("6b", True, 32630, 128, 232, 3, "c072c872998ec2d8"),
]

VALUES = {  # x: (truncated, rounded) for 5opt, 3opt, 2opt, 6opt, 7opt, 6b
    7: [(7, 7), (7, 7), (7, 7), (7, 7), (6, 6), (7, 7)],
    15: [(15, 15), (15, 15), (15, 15), (14, 14), (12, 12), (15, 15)],
    27: [(26, 28), (24, 28), (16, 32), (24, 28), (24, 24), (27, 27)],
    31: [(30, 30), (28, 32), (16, 32), (28, 28), (24, 24), (31, 31)],
    33: [(32, 32), (32, 32), (32, 32), (32, 32), (32, 32), (33, 33)],
    45: [(44, 44), (44, 44), (32, 48), (40, 48), (32, 48), (45, 45)],
    63: [(60, 60), (60, 60), (48, 64), (56, 56), (48, 48), (63, 63)],
    75: [(72, 72), (64, 80), (64, 80), (64, 80), (64, 64), (74, 76)],
    124: [(120, 120), (112, 128), (112, 128), (112, 112), (96, 96), (124, 124)],
    155: [(144, 160), (144, 160), (144, 160), (128, 160), (128, 128), (152, 156)],
    170: [(160, 176), (160, 176), (160, 176), (160, 160), (128, 192), (168, 168)],
    200: [(192, 192), (192, 192), (192, 192), (192, 192), (192, 192), (200, 200)],
    255: [(240, 240), (240, 240), (240, 240), (224, 224), (192, 192), (252, 252)],
}

X = np.array([27, 0, 155, 33, 0, 200, 124, 75, 7], np.uint8)
W = np.array([5, -3, -17, 40, 9, -2, 12, -31, 100])

DOT_PRODUCTS = {
    "sparq4-5opt-raw": ([27, 0, 144, 32, 0, 200, 120, 72, 7], -1525),
    "sparq4-5opt": ([27, 0, 160, 32, 0, 200, 120, 72, 7], -1797),
    "sparq4-3opt-raw": ([27, 0, 144, 32, 0, 200, 112, 64, 7], -1373),
    "sparq4-3opt": ([27, 0, 160, 32, 0, 200, 128, 80, 7], -1949),
    "sparq4-2opt-raw": ([27, 0, 144, 32, 0, 200, 112, 64, 7], -1373),
    "sparq4-2opt": ([27, 0, 160, 32, 0, 200, 128, 80, 7], -1949),
    "sparq3-6opt-raw": ([27, 0, 128, 32, 0, 200, 112, 64, 7], -1101),
    "sparq3-6opt": ([27, 0, 160, 32, 0, 200, 112, 80, 7], -2141),
    "sparq2-7opt-raw": ([26, 0, 128, 32, 0, 192, 96, 64, 7], -1282),
    "sparq2-7opt": ([28, 0, 128, 32, 0, 192, 96, 64, 7], -1272),
}


@pytest.mark.parametrize(("name", "rounded", "total", "distinct", "squared", "largest", "digest"), STATISTICS)
def test_tables(
    name: str, rounded: bool, total: int, distinct: int, squared: int, largest: int, digest: str
) -> None:
    """Sum, distinct outputs, squared error, largest error and hash of each 256-entry table."""
    table = sparq.window_table(*TABLES[name], rounded)
    error = table.astype(np.int64) - np.arange(256)
    assert int(table.sum(dtype=np.int64)) == total
    assert np.unique(table).size == distinct
    assert int((error**2).sum()) == squared
    assert int(np.abs(error).max()) == largest
    assert hashlib.sha256(table.tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("x", VALUES)
def test_single_values(x: int) -> None:
    """Worked values, truncated and rounded, for every window."""
    found = [tuple(int(sparq.window_table(*TABLES[n], r)[x]) for r in (False, True)) for n in TABLES]
    assert found == VALUES[x]


@pytest.mark.parametrize("name", DOT_PRODUCTS)
def test_dot_products(name: str) -> None:
    """Effective activations with pairing, and the integer dot product of them."""
    assert int(X.astype(np.int64) @ W) == -1717
    effective, product = DOT_PRODUCTS[name]
    recoded = sparq.apply_pairs(X, sparq.get(name), axis=0)
    assert recoded.tolist() == effective
    assert int(recoded.astype(np.int64) @ W) == product


@given(data=st.data(), name=st.sampled_from(sorted(DOT_PRODUCTS)))
@settings(max_examples=60, deadline=None)
def test_pairs_follow_the_published_cases(data: st.DataObject, name: str) -> None:
    """A zero partner gives the wide window, two live values the narrow ones; an odd tail is alone."""
    codes = data.draw(st.lists(st.sampled_from([0, 0, 1, 27, 124, 155, 255]), min_size=1, max_size=9))
    recoding = sparq.get(name)
    recoded = sparq.apply_pairs(np.array(codes, np.uint8), recoding, axis=0)
    for i, code in enumerate(codes):
        partner = codes[i ^ 1] if (i ^ 1) < len(codes) else 0
        assert recoded[i] == (recoding.both if partner else recoding.single)[code]


def test_any_axis() -> None:
    """Pairs along an inner axis are the pairs of the transposed tensor; the layout is kept."""
    codes = np.random.default_rng(0).integers(0, 4, (2, 5, 3, 4)).astype(np.uint8) * 37
    recoding = sparq.get("sparq4-2opt")
    expected = np.moveaxis(sparq.apply_pairs(np.moveaxis(codes, 1, -1), recoding, axis=-1), -1, 1)
    np.testing.assert_array_equal(sparq.apply_pairs(codes, recoding, axis=1), expected)
    assert sparq.apply_pairs(codes, recoding, axis=1).dtype == np.uint8


def test_without_pairing_every_value_is_windowed() -> None:
    """The neighbour does not matter, and the tables say so."""
    recoding = sparq.get("sparq4-5opt-nopair")
    assert not recoding.paired
    np.testing.assert_array_equal(recoding.single, recoding.both)
    np.testing.assert_array_equal(sparq.apply_pairs(X, recoding, axis=0), recoding.both[X])
    assert sparq.get("sparq4-5opt-raw-nopair").both[27] == 26


def test_pairing_at_four_bits_keeps_a_lone_value_whole() -> None:
    """So pairing never increases the error of any element."""
    np.testing.assert_array_equal(sparq.get("sparq4-5opt").single, np.arange(256))


def test_signed_codes_are_windowed_by_magnitude() -> None:
    """Around a zero point the tables are odd functions, except where 8 bits end."""
    recoding = sparq.get("sparq4-5opt", zero_point=128)
    assert recoding.zero_point == 128
    signed = recoding.both.astype(int) - 128
    magnitudes = np.arange(128)
    table = sparq.get("sparq4-5opt").both.astype(int)
    np.testing.assert_array_equal(signed[128:], np.minimum(table[magnitudes], 127))
    np.testing.assert_array_equal(signed[128 - magnitudes], -table[magnitudes])
    pair = sparq.apply_pairs(np.array([128, 128 - 27], np.uint8), recoding, axis=0)
    assert pair.tolist() == [128, 128 - 27]
    assert sparq.get("sparq4-2opt", zero_point=128).both[255] == 255


def test_names() -> None:
    """Twenty names, and a suggestion for a misspelt one."""
    assert len(list(sparq.RECODINGS)) == 20
    with pytest.raises(ConfigError, match="Did you mean 'sparq4-5opt'"):
        sparq.get("sparq4-5op")
