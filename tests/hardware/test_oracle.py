"""The oracle: the same numbers as simulating every pair by itself."""

import numpy as np
import pytest

from dybitq.encodings.widths import widths
from dybitq.errors import ConfigError
from dybitq.hardware.machine import load_machine
from dybitq.hardware.oracle import oracle
from dybitq.hardware.price import simulate
from dybitq.hardware.widths import requantized
from tests.hardware.reference import Layers, resnet18


@pytest.mark.parametrize(
    "preset", ["dybit_zcu102_like", "bitfusion_45nm", "stripes_like", "zcu102_dpu_b4096"]
)
def test_equals_simulation_at_uniform_widths(preset):
    """Latency, energy and traffic of each layer, where all layers share the widths."""
    work, machine = resnet18(), load_machine(preset)
    table = oracle(work, machine)
    for w, a in ((8, 8), (3, 5), (2, 4)):
        report = simulate(
            requantized(work, weights=widths(f"int{w}"), activations=widths(f"int{a}")), machine
        )
        layers = [layer for layer in report.layers if layer.macs]
        assert table.names == tuple(layer.name for layer in layers)
        cell = np.s_[:, w - 2, a - 2]
        np.testing.assert_allclose(table.cycles[cell], [layer.total_cycles for layer in layers], atol=0.5)
        np.testing.assert_allclose(table.energy_pj[cell], [layer.energy.total for layer in layers], rtol=1e-9)
        np.testing.assert_allclose(table.dram_bytes[cell], [layer.dram_bytes.total for layer in layers])
        whole = table.fixed_us + table.latency_us[cell].sum()
        assert whole == pytest.approx(report.latency_us, rel=1e-6)


def test_shape_and_monotony():
    """All 49 pairs of 2 to 8; fewer bits are never slower."""
    table = oracle(resnet18(), load_machine("dybit_zcu102_like"))
    assert table.latency_us.shape == (21, 7, 7)
    assert (np.diff(table.latency_us, axis=1) >= 0).all()
    assert (np.diff(table.latency_us, axis=2) >= 0).all()


def test_output_width():
    """A layer that writes 8 bits for its consumer is never cheaper than one that writes fewer."""
    work, machine = resnet18(), load_machine("int8_sa")
    own = oracle(work, machine, w_bits=[4], a_bits=[4])
    wide = oracle(work, machine, w_bits=[4], a_bits=[4], output_bits=8)
    assert (wide.latency_us >= own.latency_us).all()
    assert wide.dram_bytes.sum() > own.dram_bytes.sum()


def test_sparq_keeps_eight_bits_in_memory():
    """Windows of 4 bits double the products but move 8 bits."""
    layers = Layers()
    layers.gemm("x", 256, 512, 256)
    work, machine = layers.workload(), load_machine("sparq_sa")
    window = oracle(work, machine, w_bits=[8], a_bits=[4], stored_a_bits=8)
    full = oracle(work, machine, w_bits=[8], a_bits=[8])
    narrow = oracle(work, machine, w_bits=[8], a_bits=[4])
    assert narrow.latency_us.item() <= window.latency_us.item() < full.latency_us.item()
    assert window.dram_bytes.item() >= 256 * 512 + 512 * 256


def test_refuses_impossible_widths():
    """Widths outside 1 to 16 are refused."""
    with pytest.raises(ConfigError, match="a_bits: expected widths from 1 to 16"):
        oracle(resnet18(), load_machine("int8_sa"), a_bits=[0, 4])
