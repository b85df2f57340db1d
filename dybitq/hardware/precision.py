"""Rates of a multiplier by operand widths: the widths that really run, and the products per cycle.

Sources: Bit Fusion (ISCA 2018) for ``fused``, SPARQ (NeurIPS 2021) for ``sparq``, Stripes (MICRO 2016) and
Loom (DAC 2018) for the bit-serial units, Guo et al. "Network sketching" and PrecisionBatching for binary
planes, DeepGEMM (2023) for tables. Each is a rule on widths; none depends on the values.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dybitq.schema.machine import (
    FixedUnit,
    FusedUnit,
    LutUnit,
    Machine,
    PlanesUnit,
    SerialActivationUnit,
    SerialBothUnit,
    SparqUnit,
)

Array = np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rates:
    """Rates of the unit at given widths; arrays of the widths' shape, int64.

    Attributes:
        w_run, a_run: widths that the hardware runs.
        rows, cols: logical rows and columns that one physical row and column serves.
        depth: products along the reduction that one unit does at once.
        m_lanes, n_lanes: positions along ``m`` and ``n`` that one unit serves side by side.
        serial: cycles that one step takes.
    """

    w_run: Array
    a_run: Array
    rows: Array
    cols: Array
    depth: Array
    m_lanes: Array
    n_lanes: Array
    serial: Array

    def at(self, index: Any) -> "Rates":
        """Select some launches (and pairs)."""
        return Rates(**{name: getattr(self, name)[index] for name in self.__slots__})

    @property
    def peak(self) -> Array:
        """Products per unit and cycle at best, float64."""
        wide = self.rows * self.cols * self.depth * self.m_lanes * self.n_lanes
        return wide / self.serial


def _split(bits: Array, high: int, low: int) -> Array:
    """Operands of ``bits`` that share one of ``high`` bits: ``floor(high / max(bits, low))``, at least 1."""
    return np.maximum(high // np.maximum(bits, low), 1)


def rates(machine: Machine, w_bits: Array, a_bits: Array, dense: Array) -> Rates:
    """Rates of the machine's unit at operand widths.

    Args:
        w_bits, a_bits: widths asked for, int64, broadcastable shapes.
        dense: bool, where the product is a matrix times a single column of pixels (``m == 1``).
    """
    unit = machine.precision
    w_bits, a_bits, dense = np.broadcast_arrays(w_bits, a_bits, dense)
    w = np.minimum(w_bits, unit.max_bits)
    a = np.minimum(a_bits, unit.max_bits)
    one = np.ones(w.shape, dtype=np.int64)
    match unit:
        case FixedUnit():
            full = np.full(w.shape, unit.max_bits, dtype=np.int64)
            return _rates(full, full, one)
        case FusedUnit():
            sw, sa = _split(w, unit.max_bits, unit.min_bits), _split(a, unit.max_bits, unit.min_bits)
            run_w, run_a = unit.max_bits // sw, unit.max_bits // sa
            if unit.axis == "reduction":
                return _rates(run_w, run_a, one, depth=sw * sa)
            return _rates(run_w, run_a, one, rows=sa, cols=sw)
        case SparqUnit():
            narrow = a <= unit.window_bits
            run_a = np.where(narrow, unit.window_bits, unit.max_bits)
            return _rates(
                np.full(w.shape, unit.max_bits, dtype=np.int64), run_a, one, depth=np.where(narrow, 2, 1)
            )
        case SerialActivationUnit():
            full = np.full(w.shape, unit.max_bits, dtype=np.int64)
            return _rates(full, a, a, m_lanes=one * unit.lanes)
        case SerialBothUnit():
            return _serial_both(unit, w, a, dense)
        case PlanesUnit():
            return _rates(w, a, w * a, depth=one * unit.word_bits)
        case LutUnit():
            slices = -(-w // unit.slice_bits) * -(-a // unit.slice_bits)
            run_w = -(-w // unit.slice_bits) * unit.slice_bits
            run_a = -(-a // unit.slice_bits) * unit.slice_bits
            return _rates(run_w, run_a, slices, depth=one * unit.lookups)


def _serial_both(unit: SerialBothUnit, w: Array, a: Array, dense: Array) -> Rates:
    """Convolutions share both operands over lanes; a dense layer takes activation bits at once."""
    one = np.ones(w.shape, dtype=np.int64)
    run_a = np.where(dense, unit.max_bits, a)
    serial = np.where(dense, w, w * a)
    return _rates(w, run_a, serial, m_lanes=np.where(dense, 1, unit.lanes), n_lanes=one * unit.lanes)


def _rates(
    w_run: Array,
    a_run: Array,
    serial: Array,
    *,
    rows: Array | None = None,
    cols: Array | None = None,
    depth: Array | None = None,
    m_lanes: Array | None = None,
    n_lanes: Array | None = None,
) -> Rates:
    one = np.ones(w_run.shape, dtype=np.int64)
    return Rates(
        w_run=w_run,
        a_run=a_run,
        serial=serial,
        rows=one if rows is None else rows,
        cols=one if cols is None else cols,
        depth=one if depth is None else depth,
        m_lanes=one if m_lanes is None else m_lanes,
        n_lanes=one if n_lanes is None else n_lanes,
    )


def takes_codes(machine: Machine, family: str) -> bool:
    """Tell if the unit multiplies codes of this family directly, not the integers they stand for."""
    unit = machine.precision
    if machine.engine in ("roofline", "table") or isinstance(unit, LutUnit):
        return True
    return isinstance(unit, FusedUnit) and family in unit.decodes


def packed_bits(bits: Array, packing: str) -> Array:
    """Bits of memory per element: dense, whole elements per 32-bit word, or the next power of two."""
    bits = np.asarray(bits)
    if packing == "dense":
        return bits.astype(np.float64)
    if packing == "word32":
        return 32 / np.maximum(32 // bits, 1)
    return 2.0 ** np.ceil(np.log2(bits))


def mode_name(machine: Machine, w_run: int, a_run: int) -> str:
    """Name the unit's mode, weights first."""
    return f"{w_run}x{a_run} {machine.precision.mode}"
