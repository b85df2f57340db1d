"""Energy: published constants, the price of flexibility, and overrides."""

import pytest

from dybitq.hardware.machine import load_machine
from dybitq.hardware.price import simulate
from tests.hardware.reference import Layers


def energy(preset, w=8, a=8, **settings):
    """Energy split of one product, and its MACs."""
    layers = Layers()
    layers.gemm("x", 64, 256, 64, w=w, a=a)
    machine = load_machine(preset, {key.replace("__", "."): value for key, value in settings.items()})
    layer = simulate(layers.workload(), machine).layers[0]
    return layer, layer.macs


def test_horowitz_mac():
    """An 8x8 multiply is 0.2 pJ and a 32-bit add 0.1 pJ at 45 nm."""
    layer, macs = energy("int8_sa")
    assert layer.energy.mac / macs == pytest.approx(0.2 + 0.1, rel=0.01)


@pytest.mark.parametrize(("bits", "per_mac"), [(8, 0.459), (4, 0.459 / 4), (2, 0.459 / 16)])
def test_bitfusion_synthesis(bits, per_mac):
    """The fused unit spends 0.459 pJ a cycle whatever it multiplies."""
    layer, macs = energy("bitfusion_45nm", bits, bits)
    assert layer.energy.mac / macs == pytest.approx(per_mac)


def test_flexibility_costs_at_eight_bits():
    """A fused unit pays more than a fixed one for the same 8x8 product."""
    settings = {"precision__mode": "fixed", "energy__table": "bitfusion45"}
    layer, macs = energy("int8_sa", **settings)
    assert layer.energy.mac / macs == pytest.approx(0.203)


def test_dram_energy_is_bits_times_constant():
    """15 pJ per bit, as Bit Fusion's simulator has it."""
    layer, _ = energy("bitfusion_45nm")
    assert layer.energy.dram == pytest.approx(15 * 8 * layer.dram_bytes.total)


def test_overrides():
    """Every constant can be stated by the machine."""
    settings = {
        "energy__mac_pj": {"8x8": 2.0},
        "energy__dram_pj_per_bit": 1.0,
        "energy__act_pj_per_bit": 0.0,
        "energy__wgt_pj_per_bit": 0.0,
        "energy__out_pj_per_bit": 0.0,
        "energy__leakage_mw": 1000.0,
    }
    layer, macs = energy("int8_sa", **settings)
    assert layer.energy.mac == 2.0 * macs
    assert layer.energy.dram == 8 * layer.dram_bytes.total
    assert layer.energy.buffer == 0
    assert layer.energy.leakage == pytest.approx(layer.total_cycles / 500 * 1e6)


def test_report_names_its_source():
    """The origin of the constants is in the report."""
    layers = Layers()
    layers.gemm("x", 8, 8, 8)
    notes = simulate(layers.workload(), load_machine("bitfusion_45nm")).notes
    assert any("Bit Fusion repository" in note for note in notes)
