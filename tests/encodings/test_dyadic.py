"""Dyadic factors: the golden conversions, exact rounding, snapping, and when float32 kernels are exact."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dybitq.encodings import dyadic
from dybitq.errors import UnsupportedError
from dybitq.records.arithmetic import TieRounding

HAWQ_FACTOR = dyadic.factor(0.047, 0.0021, 0.11)


def round_half_even(exact: Fraction) -> int:
    """Python's own rounding of an exact rational."""
    return round(exact)


def round_half_up(exact: Fraction) -> int:
    """The floor of the value plus a half."""
    return (exact + Fraction(1, 2)).__floor__()


EXACT = {TieRounding.HALF_EVEN: round_half_even, TieRounding.HALF_UP: round_half_up}


@pytest.mark.parametrize(
    ("factor", "multiplier", "shift"),
    [
        (1.0, 1073741824, 30),
        (0.5, 1073741824, 31),
        (0.3, 1288490189, 32),
        (1 / 3, 1431655765, 32),
        (0.0123, 1690499128, 37),
        (2.75, 1476395008, 29),
        (0.0009765625, 1073741824, 40),
        (HAWQ_FACTOR, 1973123502, 41),
        (0.02 / 0.03, 1431655765, 31),
        (0.0021 * 0.047 / 0.03, 1808696628, 39),
    ],
)
def test_golden_conversions(factor: float, multiplier: int, shift: int) -> None:
    """Factor to 31-bit multiplier and shift; HAWQ_FACTOR takes the float32 steps of the published code."""
    b, c = dyadic.convert(factor)
    assert (int(b), int(c)) == (multiplier, shift)


def test_float32_steps() -> None:
    """The product of the scales is rounded to float32 before the division."""
    assert float(HAWQ_FACTOR) == pytest.approx(0.0008972726853, abs=5e-14)


def test_shorter_multipliers() -> None:
    """The same rule at 8 and 16 bits of multiplier."""
    assert [int(v) for v in dyadic.convert(0.0123, bits=8)] == [202, 14]
    assert [int(v) for v in dyadic.convert(0.0123, bits=16)] == [51590, 22]


def test_multiplier_that_rounds_up_to_the_next_power_stays_in_its_bits() -> None:
    """A fraction just below one gives the largest shift less one, not a 32-bit multiplier."""
    b, c = dyadic.convert(np.nextafter(1.0, 0.0))
    assert (int(b), int(c)) == (1 << 30, 30)


@pytest.mark.parametrize("rounding", TieRounding)
def test_golden_accumulators(rounding: TieRounding) -> None:
    """Accumulators of the published example, and its residual addition."""
    b, c = dyadic.convert(HAWQ_FACTOR)
    acc = np.array([12345, -12345, 557, 558, 100000, -100000])
    assert dyadic.rescale(acc, b, c, rounding).tolist() == [11, -11, 0, 1, 90, -90]
    assert int(dyadic.rescale(np.array(1500), 1431655765, 31, rounding)) == 1000
    assert int(dyadic.rescale(np.array(-20000), 1808696628, 39, rounding)) == -66


def test_ties() -> None:
    """The two rules differ on exact ties only."""
    acc = np.array([-3, -1, 1, 3, 5])
    b, c = dyadic.convert(0.5)
    assert dyadic.rescale(acc, b, c, TieRounding.HALF_EVEN).tolist() == [-2, 0, 0, 2, 2]
    assert dyadic.rescale(acc, b, c, TieRounding.HALF_UP).tolist() == [-1, 0, 1, 2, 3]


@given(
    acc=st.integers(-(2**31), 2**31),
    b=st.integers(0, 2**31 - 1),
    c=st.integers(-5, 70),
    rounding=st.sampled_from(list(TieRounding)),
)
@example(acc=-(2**31), b=2**31 - 1, c=62, rounding=TieRounding.HALF_UP)
@example(acc=2**31, b=2**31 - 1, c=63, rounding=TieRounding.HALF_UP)
@example(acc=-(2**31), b=2**30, c=62, rounding=TieRounding.HALF_UP)
@example(acc=7, b=3, c=0, rounding=TieRounding.HALF_EVEN)
@settings(max_examples=500, deadline=None)
def test_rescale_is_exact(acc: int, b: int, c: int, rounding: TieRounding) -> None:
    """Integer rescaling equals rational arithmetic, for every accumulator of an int32 and any factor."""
    exact = Fraction(acc * b) / Fraction(2) ** c
    if c < 0 and abs(exact) >= 2**62:
        with pytest.raises(UnsupportedError, match="63 bits"):
            dyadic.rescale(np.array([acc]), b, c, rounding)
    else:
        assert int(dyadic.rescale(np.array([acc]), b, c, rounding)[0]) == EXACT[rounding](exact)


def test_rescale_broadcasts_over_channels() -> None:
    """One factor a channel, left and right shifts in one call."""
    acc = np.array([[10, 10, 10], [-7, -7, -7]])
    out = dyadic.rescale(acc, np.array([1, 3, 1]), np.array([-1, 2, 70]), TieRounding.HALF_EVEN)
    assert out.tolist() == [[20, 8, 0], [-14, -5, 0]]


@given(factor=st.floats(2.0**-40, 2.0**20), max_shift=st.integers(0, 20))
@settings(max_examples=400, deadline=None)
def test_snap_is_the_nearest(factor: float, max_shift: int) -> None:
    """No other multiplier at the finest shift that fits is nearer, and the result is in lowest terms."""
    b, c = (int(v) for v in dyadic.snap(factor, max_shift))
    assert b >= 1 and 0 <= c <= max_shift and (b % 2 == 1 or c == 0)
    finest = min(max_shift, dyadic.MULTIPLIER_BITS - int(np.frexp(factor)[1]))
    unit = Fraction(1, 2**finest)
    error = abs(Fraction(b, 2**c) - Fraction(factor))
    assert error <= unit / 2 or (Fraction(b, 2**c) == unit and Fraction(factor) < unit)
    assert Fraction(float(np.float32(float(dyadic.value(b, c))))) == Fraction(b, 2**c)


def test_snap_of_dead_channels() -> None:
    """A factor that would round to nothing becomes one unit of the finest grid."""
    b, c = dyadic.snap(np.array([1e-30, 2.0**-18, 0.25, 3.0]))
    assert b.tolist() == [1, 1, 1, 3] and c.tolist() == [16, 16, 2, 0]


@given(factor=st.floats(2.0**-20, 2.0**20))
@settings(deadline=None)
def test_snap_pow2_is_the_nearest_power(factor: float) -> None:
    """The chosen power of two is at least as near as its neighbours, within the largest shift."""
    b, c = (int(v) for v in dyadic.snap_pow2(factor))
    chosen = Fraction(b, 2**c)
    assert b & (b - 1) == 0 and 0 <= c <= 16 and (b == 1 or c == 0)
    candidates = [Fraction(2) ** k for k in range(-16, 21)]
    assert abs(chosen - Fraction(factor)) == min(abs(k - Fraction(factor)) for k in candidates)


@pytest.mark.parametrize("pow2", [False, True])
def test_snapped_weight_scales_make_the_factor_dyadic(pow2: bool) -> None:
    """With power-of-two activation scales the factor formed from the moved scale is exactly b * 2^-c."""
    scales = np.exp(np.random.default_rng(0).uniform(-9, -3, 64))
    snapped = dyadic.snap_weight_scale(scales, 2.0**-5, 2.0**-4, pow2=pow2)
    in_float32 = np.float32(2.0**-5) * snapped.scale.astype(np.float32) / np.float32(2.0**-4)
    np.testing.assert_array_equal(in_float32, dyadic.value(snapped.multiplier, snapped.shift))
    np.testing.assert_allclose(snapped.scale, scales * (1 + snapped.relative), rtol=1e-15)
    bound = 0.5 if pow2 else np.maximum(2.0**-17 / (scales / 2), 2.0**-24)
    assert (np.abs(snapped.relative) <= bound).all()


@given(
    b=st.integers(1, 2**24 - 1),
    c=st.integers(0, 16),
    acc=st.integers(-(2**31) + 1, 2**31 - 1),
    zero_point=st.sampled_from([0, 128]),
)
@settings(max_examples=1000, deadline=None)
def test_float32_kernels_are_exact_to_shift_16(b: int, c: int, acc: int, zero_point: int) -> None:
    """float32(acc) * float32(b / 2^c), rounded and saturated to uint8, equals the integer rule."""
    kernel = np.rint(np.float32(acc) * np.float32(dyadic.value(b, c))) + np.float32(zero_point)
    exact = dyadic.rescale(np.array(acc), b, c, TieRounding.HALF_EVEN) + zero_point
    assert int(np.clip(kernel, 0, 255)) == int(np.clip(exact, 0, 255))


@pytest.mark.parametrize("c", [14, 15, 16])
def test_float32_kernels_are_exact_around_every_tie(c: int) -> None:
    """All accumulators next to a rounding boundary, for a few thousand odd multipliers."""
    b = np.arange(1, 4096, 2)[:, None]
    target = (np.arange(-8, 256) << c) + (1 << (c - 1))  # acc * b lands as near to it as integers allow
    for offset in (-1, 0, 1):
        acc = target[None, :] // b + offset
        kernel = np.rint(acc.astype(np.float32) * dyadic.value(b, np.array(c)).astype(np.float32))
        exact = dyadic.rescale(acc, b, c, TieRounding.HALF_EVEN)
        np.testing.assert_array_equal(np.clip(kernel, 0, 255), np.clip(exact, 0, 255))


def test_the_rule_on_the_shift_is_sharp() -> None:
    """At shift 17 there is an accumulator whose product needs 25 bits and is rounded onto a tie."""
    acc, b, c = 1871417, 9, 17
    assert Fraction(acc * b, 2**c) == Fraction(257, 2) + Fraction(1, 2**17)
    kernel = np.rint(np.float32(acc) * np.float32(dyadic.value(b, c)))
    assert int(kernel) == 128
    assert int(dyadic.rescale(np.array(acc), b, c, TieRounding.HALF_EVEN)) == 129


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dyadic.snap(np.array([0.5, 0.0])), r"factor 0.0 \(at index \(1,\)\)"),
        (lambda: dyadic.convert(np.nan), "factor nan is not a positive number"),
        (lambda: dyadic.snap(2.0**24), "does not fit a multiplier of 24 bits"),
        (lambda: dyadic.snap_pow2(2.0**25), "does not fit a float32 kernel"),
        (lambda: dyadic.rescale(np.array(2**32), 1, 1, TieRounding.HALF_UP), "does not fit 32 bits"),
        (lambda: dyadic.rescale(np.array(1), 2**31, 1, TieRounding.HALF_UP), "do not fit 31 bits"),
    ],
)
def test_refusals(call: object, message: str) -> None:
    """Factors and operands out of range are refused with the number found."""
    with pytest.raises(UnsupportedError, match=message):
        call()  # type: ignore[operator]
