"""Energy of multiplications, buffers, DRAM and leakage, in pJ; every constant with its source.

``horowitz45``: 45 nm figures of Horowitz (ISSCC 2014) in the fitted form that QKeras' qtools prints:
multiply ``0.00299479 b^2 + 0.00104167 b``, add ``0.003125 b``, SRAM read
``9.0243e-4 x^3 - 2.68848e-2 x^2 + 0.208901 x`` per bit with ``x = log2(bits of the memory)``, DRAM 20.3 per
bit. A product of unequal widths is taken as ``b^2 -> w a`` and ``b -> (w + a) / 2`` (ours).
``bitfusion45``: synthesis table of the Bit Fusion repository (45 nm, 500 MHz, unit of a 4x4 array).
``scaled28``: 45 nm logic scaled by 0.45 (assumed: about one and a half nodes), SRAM of the ANT simulator's
CACTI table (28 nm, 0.033 read), LPDDR4 at 8 per bit (Accelergy).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dybitq.errors import ConfigError
from dybitq.hardware.costs import Array, Costs, Operands, Widths
from dybitq.hardware.precision import Rates, packed_bits
from dybitq.schema.machine import FusedUnit, Machine

ACCUMULATOR_ADD_BITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyConstants:
    """Constants of one technology.

    Attributes:
        source: where they are from.
        mac_pj: energy of one ``w x a`` multiply-accumulate.
        sram_pj_per_bit: of a buffer of so many bits, read or written.
        dram_pj_per_bit: both directions.
        leakage_share: leakage of the array as a share of its dynamic energy at full use.
    """

    source: str
    mac_pj: Callable[[Array, Array], Array]
    sram_pj_per_bit: Callable[[float], float]
    dram_pj_per_bit: float
    leakage_share: float


def _horowitz_mac(w: Array, a: Array) -> Array:
    return 0.00299479 * w * a + 0.00104167 * (w + a) / 2 + 0.003125 * ACCUMULATOR_ADD_BITS


def _horowitz_sram(bits: float) -> float:
    x = np.log2(max(bits, 2.0))
    # The fit turns over beyond its data (about 1 MB); larger memories cost at least as much.
    x = min(x, 23.0)
    return float(9.0243e-4 * x**3 - 2.68848e-2 * x**2 + 0.208901 * x)


TABLES: dict[str, EnergyConstants] = {
    "horowitz45": EnergyConstants(
        source="Horowitz, ISSCC 2014, 45 nm, as fitted in QKeras qtools; leakage 15 % of dynamic assumed",
        mac_pj=_horowitz_mac,
        sram_pj_per_bit=_horowitz_sram,
        dram_pj_per_bit=20.3,
        leakage_share=0.15,
    ),
    "scaled28": EnergyConstants(
        source="45 nm logic x 0.45 (assumed); SRAM 0.033 pJ/bit, ANT simulator; LPDDR4 8 pJ/bit, Accelergy",
        mac_pj=lambda w, a: 0.45 * _horowitz_mac(w, a),
        sram_pj_per_bit=lambda bits: 0.033,
        dram_pj_per_bit=8.0,
        leakage_share=0.15,
    ),
}

# Bit Fusion's synthesis: dynamic nW per unit of a 4x4 array over 500 MHz, by (max, min) bits; leakage share.
_SYNTHESIS_PJ = {(8, 8): 0.203, (4, 4): 0.0824, (2, 2): 0.0407, (8, 2): 0.459, (4, 2): 0.1178}


def table_names() -> tuple[str, ...]:
    """Names that ``energy.table`` may have."""
    return (*sorted(TABLES), "bitfusion45")


def _table(machine: Machine) -> EnergyConstants:
    name = machine.energy.table
    if name == "bitfusion45":
        base = TABLES["horowitz45"]
        return EnergyConstants(
            source="Bit Fusion repository: 45 nm synthesis and CACTI; DRAM 15 pJ/bit as in its simulator",
            mac_pj=base.mac_pj,
            sram_pj_per_bit=_cacti45,
            dram_pj_per_bit=15.0,
            leakage_share=0.26,
        )
    if name not in TABLES:
        raise ConfigError(
            f"machine {machine.name!r}: unknown energy.table {name!r} (known: {', '.join(table_names())})"
        )
    return TABLES[name]


def _cacti45(bits: float) -> float:
    """Bit Fusion's CACTI table (45 nm, 32-bit port), between its points on a logarithmic scale."""
    points = np.log2(np.array([128, 1024, 4096, 16384]) * 8.0)
    return float(np.interp(np.log2(bits), points, [0.021, 0.035, 0.125, 0.31]))


def mac_pj(machine: Machine, rate: Rates) -> Array:
    """Energy of one multiply-accumulate at the widths run, ``[L, P]``.

    A fused unit pays its full energy every cycle and makes several products with it; bit-serial units pay
    for the bit products they make.
    """
    unit, table = machine.precision, _table(machine)
    full = np.full(rate.w_run.shape, float(unit.max_bits))
    if machine.energy.table == "bitfusion45":
        low = unit.min_bits if isinstance(unit, FusedUnit) else unit.max_bits
        per_cycle = _SYNTHESIS_PJ.get((unit.max_bits, low))
        if per_cycle is None:
            raise ConfigError(
                f"machine {machine.name!r}: energy.table bitfusion45 has no unit of {unit.max_bits} down to "
                f"{low} bits (it has {', '.join(f'{h}..{s}' for h, s in _SYNTHESIS_PJ)}); use horowitz45"
            )
        value = per_cycle / rate.peak
    elif isinstance(unit, FusedUnit):
        # Flexibility tax of that synthesis: a unit of 8 down to 2 bits takes 0.459 / 0.203 of a fixed one.
        value = table.mac_pj(full, full) * (0.459 / 0.203) / rate.peak
    else:
        value = table.mac_pj(rate.w_run.astype(np.float64), rate.a_run.astype(np.float64))
    value = value + 2 * getattr(unit, "decoder_pj", 0.0)
    for key, energy in machine.energy.mac_pj.items():
        match = re.fullmatch(r"(\d+)x(\d+)", key)
        if match is None:
            raise ConfigError(
                f"machine {machine.name!r}: energy.mac_pj: expected keys like 4x8, found {key!r}"
            )
        w, a = (int(text) for text in match.groups())
        value = np.where((rate.w_run == w) & (rate.a_run == a), energy, value)
    return value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Energies:
    """Energy of launches in pJ, ``[L, P]``."""

    mac: Array
    buffer: Array
    dram: Array
    leakage: Array


def energies(machine: Machine, costs: Costs, widths: Widths, macs: Array, rate: Rates) -> Energies:
    """Price counts: products, buffer bits, DRAM bits, and time.

    Args:
        macs: multiply-accumulates ``[L, 1]``.
    """
    table, own = _table(machine), machine.energy
    mac = macs * mac_pj(machine, rate)
    accessed = sram_bits(machine, costs, widths)
    buffer: Array = np.zeros(costs.total.shape)
    for short, bits in (("act", accessed.input), ("wgt", accessed.weight), ("out", accessed.output)):
        given = getattr(own, f"{short}_pj_per_bit")
        if given is None and machine.buffers is not None:
            given = table.sram_pj_per_bit(getattr(machine.buffers, f"{short}_kb") * 8192)
        buffer = buffer + bits * (given or 0.0)
    per_bit = table.dram_pj_per_bit if own.dram_pj_per_bit is None else own.dram_pj_per_bit
    return Energies(
        mac=np.broadcast_to(mac, costs.total.shape),
        buffer=buffer,
        dram=costs.dram.total * 8 * per_bit,
        leakage=_leakage(machine, costs, table),
    )


def sram_bits(machine: Machine, costs: Costs, widths: Widths) -> Operands:
    """Bits read and written on chip; words of the output are accumulators where the machine has any."""
    packing = machine.buffers.packing if machine.buffers else "dense"
    out_bits = np.float64(machine.buffers.acc_bits) if machine.buffers else widths.output_stored
    words = [
        getattr(costs.sram_reads, part) + getattr(costs.sram_writes, part)
        for part in ("input", "weight", "output")
    ]
    return Operands(
        input=words[0] * packed_bits(widths.input_stored, packing),
        weight=words[1] * packed_bits(np.maximum(widths.weight, 1), packing),
        output=words[2] * out_bits,
    )


def _leakage(machine: Machine, costs: Costs, table: EnergyConstants) -> Array:
    """Leakage over the whole time of a launch: a stated power, or a share of the array's dynamic power."""
    if machine.energy.leakage_mw is not None:
        microseconds = costs.total / machine.clock_mhz + costs.overhead_us
        return machine.energy.leakage_mw * microseconds * 1e3
    if machine.array is None:
        return np.zeros(costs.total.shape)
    bits = np.array([[float(machine.precision.max_bits)]])
    per_unit = float(table.mac_pj(bits, bits)[0, 0]) * table.leakage_share
    return costs.total * machine.array.rows * machine.array.cols * per_unit


def energy_source(machine: Machine) -> str:
    """Describe the source of this machine's energy constants."""
    changed = [
        name
        for name in ("act", "wgt", "out", "dram")
        if getattr(machine.energy, f"{name}_pj_per_bit") is not None
    ]
    own = f"; {', '.join(changed)} as stated by the machine" if changed else ""
    return _table(machine).source + own
