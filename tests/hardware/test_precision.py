"""Multipliers: which widths run, and how many products they make a cycle."""

import numpy as np
import pytest

from dybitq.encodings.widths import widths
from dybitq.hardware.machine import load_machine
from dybitq.hardware.precision import packed_bits, rates
from dybitq.hardware.price import simulate
from dybitq.hardware.widths import requantized
from tests.hardware.reference import Layers


def rate(preset, w, a, dense=False, **settings):
    """Rates of one pair of widths."""
    machine = load_machine(preset, {key.replace("__", "."): value for key, value in settings.items()})
    return rates(machine, np.array([[w]]), np.array([[a]]), np.array([[dense]]))


@pytest.mark.parametrize(
    ("w", "a", "run", "products"),
    [
        (8, 8, (8, 8), 1), (4, 8, (4, 8), 2), (4, 4, (4, 4), 4), (2, 4, (2, 4), 8), (2, 2, (2, 2), 16),
        (3, 3, (4, 4), 4), (5, 8, (8, 8), 1), (7, 4, (8, 4), 2), (1, 1, (2, 2), 16), (32, 32, (8, 8), 1),
    ],
)  # fmt: skip
def test_fused(w, a, run, products):
    """floor(8/max(a,2)) * floor(8/max(w,2)): 3 bits run as 4, 5 to 7 as 8."""
    found = rate("bitfusion_45nm", w, a)
    assert (int(found.w_run[0, 0]), int(found.a_run[0, 0])) == run
    assert found.peak[0, 0] == products


def test_dybit_array_gains_rows_and_columns():
    """Rows serve more activations, columns more weights."""
    found = rate("dybit_zcu102_like", 2, 4)
    assert (found.rows[0, 0], found.cols[0, 0], found.depth[0, 0]) == (2, 4, 1)


def test_sparq_doubles_at_four_bits():
    """Two windows a cycle; weights stay at 8 bits, and 5 bits gain nothing."""
    assert rate("sparq_sa", 8, 4).peak[0, 0] == 2
    assert rate("sparq_sa", 4, 4).w_run[0, 0] == 8
    assert rate("sparq_sa", 8, 5).peak[0, 0] == 1


@pytest.mark.parametrize(
    ("preset", "widths"), [("stripes_like", (3, 7)), ("loom_like", (3, 5)), ("binary_planes", (3, 5))]
)
def test_serial_units_gain_at_every_width(preset, widths):
    """Each bit less is faster on bit-serial machines."""
    w, a = widths
    assert rate(preset, w, a).peak[0, 0] > rate(preset, w, a + 1).peak[0, 0]


def test_tables_work_in_slices():
    """Two-bit slices: 3 bits cost as 4."""
    assert rate("deepgemm_lut", 3, 2).serial[0, 0] == rate("deepgemm_lut", 4, 2).serial[0, 0] == 2
    assert rate("deepgemm_lut", 2, 2).serial[0, 0] == 1
    assert rate("deepgemm_lut", 8, 8).serial[0, 0] == 16


def test_fixed_unit_never_gains():
    """Narrow operands run at full width."""
    assert rate("int8_sa", 2, 2).peak[0, 0] == 1


def test_packing():
    """Whole elements per 32-bit word, or powers of two, waste bits."""
    bits = np.array([2, 3, 5, 6, 7, 8])
    np.testing.assert_allclose(packed_bits(bits, "dense"), bits)
    np.testing.assert_allclose(packed_bits(bits, "word32"), [2, 3.2, 32 / 6, 6.4, 8, 8])
    np.testing.assert_allclose(packed_bits(bits, "pow2"), [2, 4, 8, 8, 8, 8])


def priced(preset, **formats):
    """One product at these formats: DyBit's 4-bit codes stand for 6-bit integers."""
    layers = Layers()
    layers.gemm("x", 64, 64, 64)
    work = requantized(layers.workload(), **{name: widths(value) for name, value in formats.items()})
    return simulate(work, load_machine(preset))


def test_a_decoder_takes_codes_other_units_get_integers():
    """DyBit runs in 4-bit mode behind its decoder, and as 6-bit integers, so in 8-bit mode, elsewhere."""
    assert priced("dybit_zcu102_like", weights="dybit4").layers[0].w_run == 4
    other = priced("bitfusion_45nm", weights="dybit4")
    assert other.layers[0].w_run == 8
    assert "1 layer with 4-bit weights and 8-bit activations run at 8x8" in other.notes
    assert other.layers[0].dram_bytes.weight == 64 * 64 // 2
    assert priced("bitfusion_45nm", weights="dybit2").layers[0].w_run == 2


def test_windows_need_a_unit_that_knows_them():
    """A SPARQ window is 4 bits on its own machine and the stored 8 bits on any other."""
    assert priced("sparq_sa", activations="sparq4").layers[0].a_run == 4
    assert priced("dybit_zcu102_like", activations="sparq4").layers[0].a_run == 8
