"""Tables that a layer puts its 8-bit input codes through: coarser grids, format levels, SPARQ windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dybitq.encodings import formats, sparq
from dybitq.errors import ConfigError
from dybitq.fit.activations.recode import check_recoding, fit_recoding, is_recoding
from dybitq.records.fitted import FittedEdge
from dybitq.records.statistics import TensorStatistics
from tests.fit.conftest import statistics_of

RNG = np.random.default_rng(0)
UNSIGNED = FittedEdge(format="int8", scale=0.01, zero_point=0)
SIGNED = FittedEdge(format="int8", scale=0.02, zero_point=117)


def seen(*, signed: bool) -> TensorStatistics:
    """A bell, or its right half."""
    x = RNG.standard_normal((8, 500)) * 0.8
    return statistics_of(x if signed else np.abs(x))


def lost(table: np.ndarray, edge: FittedEdge, statistics: TensorStatistics) -> float:
    """Squared error of a table over the codes that the histogram gives."""
    index = np.flatnonzero(statistics.histogram)
    values = (index.astype(np.uint32) << 16).view(np.float32)
    codes = np.clip(np.rint(values / edge.scale) + edge.zero_point, 0, 255).astype(np.int64)
    return float((statistics.histogram[index] * (table[codes].astype(float) - codes) ** 2).sum())


def nearest(levels: np.ndarray) -> np.ndarray:
    """Table from every code to the nearest level."""
    return levels[np.abs(np.arange(256)[:, None] - levels).argmin(axis=1)].astype(np.uint8)


def nearest_distance(levels: np.ndarray) -> np.ndarray:
    """Distance of every code to the nearest level."""
    return np.abs(np.arange(256)[:, None] - levels).min(axis=1)


WORSE = 1.05  # the steps that are tried lie 4 % apart; the best of 2000 steps loses this much less at most


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("edge", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
def test_uniform_grids(edge, bits):
    """At most 2**N levels a whole number of codes apart, the zero point among them, the nearest taken."""
    statistics = seen(signed=edge.zero_point > 0)
    found = fit_recoding(f"int{bits}", edge, statistics)
    assert not found.paired and found.zero_point == edge.zero_point
    levels = np.unique(found.both).astype(int)
    assert len(levels) <= 2**bits and edge.zero_point in levels
    steps = np.diff(levels)
    assert len(set(steps[1:-1])) <= 1  # the outermost may be cut off where 8 bits end
    np.testing.assert_array_equal(nearest_distance(levels), np.abs(found.both.astype(int) - np.arange(256)))


@pytest.mark.parametrize("name", ["dybit2", "dybit3", "dybit4", "dybit5", "pot3", "pot4"])
@pytest.mark.parametrize("edge", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
def test_levels_of_other_formats(edge, name):
    """Every code goes to the nearest level, zero stays, and no step in reach of 8 bits loses clearly less."""
    signed = edge.zero_point > 0
    statistics = seen(signed=signed)
    table = fit_recoding(name, edge, statistics).both
    assert table[edge.zero_point] == edge.zero_point
    fmt = formats.get(name, signed=signed)
    levels = np.unique(table).astype(int)
    assert len(levels) <= 2**fmt.bits
    np.testing.assert_array_equal(nearest_distance(levels), np.abs(table.astype(int) - np.arange(256)))
    reach = max(edge.zero_point, 255 - edge.zero_point) / fmt.table.max()
    dense = [edge.zero_point + np.rint(fmt.table * reach * step) for step in np.geomspace(0.25, 1.5, 2000)]
    best = min(lost(nearest(grid.clip(0, 255)), edge, statistics) for grid in dense)
    assert lost(table, edge, statistics) <= WORSE * best


def test_more_bits_lose_less():
    """Over the data of the tensor the squared error falls with every bit; at 7 bits hardly any is left."""
    for edge in (UNSIGNED, SIGNED):
        statistics = seen(signed=edge.zero_point > 0)
        errors = [lost(fit_recoding(f"int{b}", edge, statistics).both, edge, statistics) for b in range(2, 8)]
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] < 0.01 * errors[0]


def test_codes_that_never_occur_do_not_count():
    """A tensor that fills a quarter of its codes gets its levels there."""
    statistics = statistics_of(np.abs(RNG.standard_normal((4, 100))).clip(0, 0.6))
    table = fit_recoding("int4", UNSIGNED, statistics).both
    assert table.max() <= 80


@given(name=st.sampled_from(sorted(sparq.RECODINGS)), zero=st.integers(1, 254))
@settings(max_examples=40, deadline=None)
def test_windows_around_a_zero_point(name, zero):
    """Signed: what a window makes of a magnitude, with the sign put back, inside 8 bits."""
    edge = FittedEdge(format="int8", scale=0.1, zero_point=zero)
    found = fit_recoding(name, edge, seen(signed=True))
    plain = sparq.get(name)
    for code in (0, zero - 1, zero, zero + 1, 255):
        magnitude = abs(code - zero)
        for table, reference in ((found.both, plain.both), (found.single, plain.single)):
            wanted = zero + np.sign(code - zero) * int(reference[magnitude])
            assert table[code] == np.clip(wanted, 0, 255)


def test_names():
    """Formats below 8 bits and SPARQ names are re-codings; others are refused with what is known."""
    for name in ("int4", "dybit4", "int7", "sparq4-5opt", "sparq2-7opt-raw-nopair", "none"):
        check_recoding(name)
    assert not is_recoding("int8") and not is_recoding("none")
    for name in ("int8", "int9", "uint4", "normal4", "odd4", "sparq5", "nonsense"):
        with pytest.raises(ConfigError, match=rf"unknown re-coding '{name}'.* Known: none, .*sparq4-5opt"):
            check_recoding(name)
    with pytest.raises(ConfigError, match=r"unknown activations 'sparq4'. Did you mean 'sparq4-5opt'"):
        check_recoding("sparq4", "activations", ("int8",))
