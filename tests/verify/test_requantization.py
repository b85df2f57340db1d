"""Requantization, sums, joins and means in onnxruntime against exact rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dybitq.errors import UnsupportedError
from dybitq.integer.factors import requantize, share
from dybitq.records.arithmetic import INTEGER_EXPLICIT, INTEGER_FAST, IntegerOptions, TieRounding
from dybitq.records.fitted import FittedEdge
from dybitq.records.integer_network import Addition, Concatenation, Mean, Multiplication, Requantize
from tests.emit.toolkit import run
from tests.verify.kernels import FLAVOURS, emit, requantized, round_fraction, run_accumulators

_CHANNELS = 512


def _random(
    rng: np.random.Generator, largest_shift: int, bits: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accumulators to 2^31, multipliers, shifts; half of them next to a tie inside the range of the codes."""
    c = rng.integers(0, largest_shift + 1, _CHANNELS)
    b = rng.integers(1, 2 ** rng.integers(1, bits + 1, _CHANNELS))
    wide = (rng.integers(0, 2, _CHANNELS) * 2 - 1) * 2.0 ** rng.uniform(0, 31, _CHANNELS)
    target = rng.integers(-260, 260, _CHANNELS) * 2.0**c + 2.0**c / 2
    near = np.rint(target / b) + rng.integers(-1, 2, _CHANNELS)
    acc = np.where(rng.random(_CHANNELS) < 0.5, wide, near)
    limit = 2**31 - 2**7
    return np.clip(acc, -limit, limit).astype(np.int64), b.astype(np.int64), c.astype(np.int64)


@pytest.mark.parametrize("zero", [0, 128])
@pytest.mark.parametrize("seed", range(4))
def test_quantized_kernels_are_exact_to_shift_16(seed, zero):
    """QLinearConv on accumulators up to 2^31, any multiplier of 24 bits and shift to 16: no value differs."""
    acc, b, c = _random(np.random.default_rng(seed), 16, 24)
    found = run_accumulators(acc, b, c, zero=zero)
    wanted = [requantized(*t, zero, TieRounding.HALF_EVEN) for t in zip(acc.tolist(), b.tolist(), c.tolist())]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("rounding", list(TieRounding))
@pytest.mark.parametrize("zero", [0, 128])
def test_integer_operators_are_exact_for_every_shift(rounding, zero):
    """The explicit flavour under both rules: multipliers of 31 bits, shifts to 60."""
    acc, b, c = _random(np.random.default_rng(5), 60, 31)
    b = np.minimum(b, 2**31 - 1)
    found = run_accumulators(acc, b, c, zero=zero, rounding=rounding, arithmetic=INTEGER_EXPLICIT)
    wanted = [requantized(*t, zero, rounding) for t in zip(acc.tolist(), b.tolist(), c.tolist())]
    np.testing.assert_array_equal(found, wanted)


def test_the_rule_on_the_shift_is_sharp():
    """At shift 17 the kernel rounds an accumulator onto a tie; integer operators do not."""
    acc, b, c = (np.array([v]) for v in (1871417, 9, 17))
    assert requantized(1871417, 9, 17, 0, TieRounding.HALF_EVEN) == 129
    assert run_accumulators(acc, b, c).tolist() == [128]
    assert run_accumulators(acc, b, c, arithmetic=INTEGER_EXPLICIT).tolist() == [129]


@given(st.lists(st.floats(1e-9, 1e6), min_size=1, max_size=8), st.sampled_from(["free", "pow2"]))
def test_fitting_never_makes_a_shift_beyond_the_rule(factors, scales):
    """Whatever the factors, the fast flavour gets multipliers of at most 24 bits and shifts of at most 16."""
    edge = FittedEdge(format="int8", scale=1.0, zero_point=0)
    made, relative = requantize("layer", np.array(factors), edge, IntegerOptions(scales=scales))
    assert int(made.multiplier.min()) >= 1 and int(made.multiplier.max()) <= 2**24
    assert int(made.shift.min()) >= 0 and int(made.shift.max()) <= 16
    if scales == "pow2":
        assert all(int(b).bit_count() == 1 for b in made.multiplier)
    exact = np.ldexp(made.multiplier.astype(float), -made.shift) / np.array(factors) - 1
    assert relative == pytest.approx(np.abs(exact).max())


@settings(deadline=None)
@given(
    st.tuples(st.floats(1e-4, 50), st.floats(1e-4, 50)),
    st.tuples(st.sampled_from([0, 128]), st.sampled_from([0, 128])),
)
def test_shared_shifts_keep_the_sum_inside_24_bits(ratios, zeros):
    """The largest sum, zero point included, is at most 2^24 in units of the shift; factors are near."""
    made = share("add", ratios, zeros, IntegerOptions())
    spans = [128 if zero else 255 for zero in zeros]
    assert 128 * 2**made.shift + sum(b * s for b, s in zip(made.multipliers, spans, strict=True)) <= 2**24
    for b, ratio in zip(made.multipliers, ratios, strict=True):
        assert abs(b / 2**made.shift - ratio) <= 0.5 / 2**made.shift or b == 1


def test_operands_far_too_large_are_refused_by_name():
    """A ratio that 24 bits cannot hold is an error that names the operator."""
    with pytest.raises(UnsupportedError, match="block/Add: an operand has a scale 1e"):
        share("block/Add", [1e6, 1.0], [0, 0], IntegerOptions())


PAIRS = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij")).astype(np.float32)


@pytest.mark.parametrize("arithmetic", FLAVOURS)
@pytest.mark.parametrize("zeros", [(0, 0, 0), (128, 128, 128), (0, 128, 0), (128, 0, 128), (0, 0, 128)])
@pytest.mark.parametrize("ratios", [(1.0, 1.0), (0.71, 0.333), (1e-3, 2.9), (6.5, 0.02)])
def test_sums_of_all_pairs_of_codes(arithmetic, zeros, ratios):
    """All 65,536 pairs: one half-even rounding of the exact sum."""
    shared = share("add", ratios, zeros[:2], IntegerOptions())
    operation = Addition(
        name="add",
        inputs=("a_q", "b_q"),
        output="y_q",
        zeros=zeros[:2],
        multipliers=tuple(np.array([b]) for b in shared.multipliers),
        shift=shared.shift,
        zero_point=zeros[2],
    )
    feeds = {"a": PAIRS[0][None, None], "b": PAIRS[1][None, None]}
    (found,) = run(emit([operation], arithmetic, inputs="ab"), feeds).values()
    total = sum(
        b * (p.astype(np.int64) - z) for b, p, z in zip(shared.multipliers, PAIRS, zeros, strict=False)
    )
    # exact by integers: 2 * floor + 1 compares twice the rest with one half
    rounded = np.array(
        [round_fraction(Fraction(int(v), 2**shared.shift), TieRounding.HALF_EVEN) for v in np.unique(total)]
    )
    wanted = np.clip(rounded[np.searchsorted(np.unique(total), total)] + zeros[2], 0, 255)
    np.testing.assert_array_equal(found[0, 0], wanted)


@pytest.mark.parametrize("rounding", list(TieRounding))
def test_two_roundings_differ_from_one(rounding):
    """HAWQ-V3's rule rounds each branch: its sums are off by one on many pairs, and exactly its own."""
    shared = share("add", (0.71, 0.333), (0, 0), IntegerOptions())
    results = {}
    for each in (False, True):
        operation = Addition(
            name="add",
            inputs=("a_q", "b_q"),
            output="y_q",
            zeros=(0, 0),
            multipliers=tuple(np.array([b]) for b in shared.multipliers),
            shift=shared.shift,
            zero_point=0,
            rounding=rounding,
            each_branch=each,
        )
        feeds = {"a": PAIRS[0][None, None], "b": PAIRS[1][None, None]}
        (found,) = run(emit([operation], INTEGER_EXPLICIT, inputs="ab"), feeds).values()
        results[each] = found[0, 0]
    single = [
        [round_fraction(Fraction(b * q, 2**shared.shift), rounding) for q in range(256)]
        for b in shared.multipliers
    ]
    wanted = np.clip(np.add.outer(*map(np.array, single)), 0, 255)
    np.testing.assert_array_equal(results[True], wanted)
    assert 0.1 < np.mean(results[True] != results[False]) < 0.3


@pytest.mark.parametrize("arithmetic", FLAVOURS)
@pytest.mark.parametrize("zeros", [(0, 0, 0), (128, 128, 128), (128, 0, 0), (0, 128, 128)])
def test_products_of_all_pairs_of_codes(arithmetic, zeros):
    """All 65,536 pairs: the product of centred codes, one rounding."""
    for b, c in ((777, 16), (1, 8), (65535, 16)):
        target = Requantize(multiplier=np.array([b]), shift=np.array([c]), zero_point=zeros[2])
        operation = Multiplication(
            name="mul", inputs=("a_q", "b_q"), output="y_q", zeros=zeros[:2], requantize=target
        )
        feeds = {"a": PAIRS[0][None, None], "b": PAIRS[1][None, None]}
        (found,) = run(emit([operation], arithmetic, inputs="ab"), feeds).values()
        total = (PAIRS[0].astype(np.int64) - zeros[0]) * (PAIRS[1].astype(np.int64) - zeros[1])
        values = np.unique(total)
        rounded = np.array([requantized(int(v), b, c, zeros[2], TieRounding.HALF_EVEN) for v in values])
        np.testing.assert_array_equal(found[0, 0], rounded[np.searchsorted(values, total)])


@pytest.mark.parametrize("arithmetic", FLAVOURS)
@pytest.mark.parametrize("zeros", [(0, 0), (128, 128), (128, 0), (0, 128)])
def test_rescaled_joins_of_all_codes(arithmetic, zeros):
    """Every code of every branch is rescaled by its own factor, exactly."""
    factors = [(1, 0), (1, 1), (40961, 16), (3, 2), (65535, 16), (12345, 14)]
    codes = np.arange(256, dtype=np.float32).reshape(1, 1, 16, 16)
    operation = Concatenation(
        name="join",
        inputs=("x_q",) * len(factors),
        output="y_q",
        zeros=(zeros[0],) * len(factors),
        requantize=tuple(
            Requantize(multiplier=np.array([b]), shift=np.array([c]), zero_point=zeros[1]) for b, c in factors
        ),
        axis=1,
    )
    (found,) = run(emit([operation], arithmetic), {"x": codes}).values()
    for channel, (b, c) in enumerate(factors):
        wanted = [requantized(q - zeros[0], b, c, zeros[1], TieRounding.HALF_EVEN) for q in range(256)]
        np.testing.assert_array_equal(found[0, channel].reshape(-1), wanted)


@pytest.mark.parametrize("arithmetic", FLAVOURS)
@pytest.mark.parametrize("extent", [(7, 7), (8, 8), (13, 13), (1, 3), (25, 5)])
def test_means_are_integer_sums_times_a_dyadic_reciprocal(arithmetic, extent):
    """Means over areas that are no power of two, with multipliers of all sizes."""
    rng = np.random.default_rng(1)
    area = extent[0] * extent[1]
    for zeros in ((0, 0), (128, 128), (0, 128)):
        b = int(np.rint(2**16 * rng.uniform(0.8, 4) / area))
        x = rng.integers(0, 256, (64, 8, *extent)).astype(np.float32)
        operation = Mean(
            name="mean",
            input="x_q",
            output="y_q",
            input_zero=zeros[0],
            axes=(2, 3),
            count=area,
            requantize=Requantize(multiplier=np.array([b]), shift=np.array([16]), zero_point=zeros[1]),
        )
        (found,) = run(emit([operation], arithmetic, channels=8), {"x": x}).values()
        total = (x.astype(np.int64) - zeros[0]).sum(axis=(2, 3))
        wanted = [requantized(int(v), b, 16, zeros[1], TieRounding.HALF_EVEN) for v in total.reshape(-1)]
        np.testing.assert_array_equal(found.reshape(-1), wanted)


def test_fast_and_explicit_are_two_flavours_of_one_arithmetic():
    """The same network gives the same codes in both."""
    acc, b, c = _random(np.random.default_rng(8), 16, 24)
    fast = run_accumulators(acc, b, c, zero=128, arithmetic=INTEGER_FAST)
    explicit = run_accumulators(acc, b, c, zero=128, arithmetic=INTEGER_EXPLICIT)
    np.testing.assert_array_equal(fast, explicit)
