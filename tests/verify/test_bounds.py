"""Accumulator bounds: reached by the worst input, never passed by any."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dybitq.encodings import formats
from dybitq.errors import UnsupportedError
from dybitq.graph.stored.plain import read_plain
from dybitq.records.arithmetic import INTEGER_EXPLICIT, IntegerOptions
from dybitq.records.integer_network import IntegerNetwork, Product, Quantize, Requantize, Weight
from dybitq.verification.bounds import accumulator_bounds, bits_of, check_registers
from dybitq.verification.interpreter import interpret
from dybitq.verification.read.network import read_network
from tests.verify.kit import quantize_net
from tests.verify.networks import NETWORKS


def one_product(integers, *, zero=0, bias=None, low=0, high=255, b=1, c=0, fmt="int8"):
    """One matrix product behind a quantizer."""
    table = formats.get(fmt)
    codes = np.array([int(np.flatnonzero(table.table == w)[0]) for w in np.ravel(integers)], np.uint8)
    shape = np.shape(integers)
    return IntegerNetwork(
        operations=(
            Quantize(name="q", input="x", output="x_q", scale=1.0, zero_point=zero, low=low, high=high),
            Product(
                name="fc",
                input="x_q",
                output="y_q",
                input_zero=zero,
                weight=Weight(format=table, codes=codes.reshape(shape)),
                bias=None if bias is None else np.array(bias, np.int64),
                requantize=Requantize(multiplier=np.array([b]), shift=np.array([c]), zero_point=0),
            ),
        )
    )


@given(
    st.lists(st.integers(-127, 127), min_size=2, max_size=4),
    st.sampled_from([(0, 0, 255), (128, 0, 255), (0, 0, 15), (128, 120, 135)]),
    st.integers(-5000, 5000),
)
def test_bounds_are_what_the_extreme_codes_reach(weights, codes, bias):
    """With every input at either end (or at zero), the largest and smallest sums are the bounds."""
    zero, low, high = codes
    (bound,) = accumulator_bounds(
        one_product([[w] for w in weights], zero=zero, bias=[bias], low=low, high=high)
    )
    ends = sorted({min(0, low - zero), 0, max(0, high - zero)})
    sums = [
        sum(w * q for w, q in zip(weights, qs, strict=True))
        for qs in itertools.product(ends, repeat=len(weights))
    ]
    assert bound.low == min(sums) + min(bias, 0)
    assert bound.high == max(sums) + max(bias, 0)
    assert -(2 ** (bound.bits - 1)) <= bound.low and bound.high < 2 ** (bound.bits - 1)
    narrower = 2 ** (bound.bits - 2)
    assert bound.bits == 1 or bound.low < -narrower or bound.high >= narrower


@pytest.mark.parametrize(
    ("low", "high", "bits"), [(0, 0, 1), (0, 1, 2), (-1, 0, 1), (-128, 127, 8), (0, 128, 9), (-129, 0, 9)]
)
def test_bits_of_signed_ranges(low, high, bits):
    """Two's complement."""
    assert bits_of(low, high) == bits


@pytest.mark.parametrize(
    "name", ["residual", "rescaled concat", "moves", "hard swish", "mean before a classifier"]
)
def test_no_sample_passes_a_bound(name, tmp_path):
    """Accumulators of the explicit flavour on saturating inputs stay inside."""
    net = NETWORKS[name]
    path, _ = quantize_net(net, tmp_path, INTEGER_EXPLICIT)
    stored = read_plain(path)
    bounds = {b.name: b for b in accumulator_bounds(read_network(stored))}
    feeds = {key: 1000 * array for key, array in net.data(3, 4).items()}
    seen = 0
    for computed in interpret(stored.inner, feeds):
        if computed.node.op_type in ("ConvInteger", "MatMulInteger"):
            bound = bounds[computed.node.name]
            (total,) = computed.outputs.values()
            assert bound.low <= int(total.min()) and int(total.max()) <= bound.high
            seen += 1
    assert seen >= 1


def test_pairs_that_saturate_16_bits():
    """255 * (64 + 64) fits, 255 * (65 + 64) does not; the codes count as they are stored."""

    def saturates(weights, **codes):
        return accumulator_bounds(one_product([[w] for w in weights], **codes))[0].saturates_pairs

    assert not saturates([64, 64, -64])
    assert saturates([65, 64])
    assert saturates([-65, -64])
    assert not saturates([127, -127])
    assert not saturates([127, 127], high=127)
    assert saturates([127, 127], zero=128)


def test_registers_that_are_too_narrow_are_refused_by_name():
    """DyBit of 8 bits overflows 32 bits after some hundred products; the layer is named."""
    few, many = np.full((100, 1), 4096), np.full((3000, 1), 4096)
    check_registers(one_product(few, fmt="dybit8"))
    with pytest.raises(UnsupportedError, match=r"layer fc: its accumulator can reach 3133440000.*33 bits"):
        check_registers(one_product(many, fmt="dybit8"))
    with pytest.raises(UnsupportedError, match="choose fewer --multiplier-bits"):
        check_registers(one_product(np.full((2000, 1), 4096), fmt="dybit8", b=2**31 - 1, c=31))


def test_wide_formats_are_refused_where_the_bound_fails(tmp_path):
    """From the recipe on: a layer with too many products of DyBit-8 weights cannot be built."""
    net = NETWORKS["mean before a classifier"]
    path, made = quantize_net(net, tmp_path, INTEGER_EXPLICIT, IntegerOptions(), weights="dybit8")
    assert path.exists()
    assert max(b.bits for b in accumulator_bounds(made.network)) <= 32
