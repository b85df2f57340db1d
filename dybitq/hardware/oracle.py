"""Prices of every layer at every pair of widths, as arrays to look up instead of simulating."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dybitq.errors import ConfigError
from dybitq.hardware.costs import Array
from dybitq.hardware.engine import Prepared
from dybitq.hardware.price import prepare, price_arrays, stored_widths
from dybitq.records.workload import Workload
from dybitq.schema.machine import Machine

WIDTHS = tuple(range(2, 9))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Oracle:
    """Prices of the products of a workload; float64 ``[layers, w, a]`` unless said otherwise.

    A network whose layer ``l`` runs at widths ``(w_l, a_l)`` takes about
    ``fixed_us + sum(latency_us[l, w_l, a_l])``: exact where neighbours share their activation width, first
    order otherwise (a layer writes its output at its consumer's width; see ``output_bits``).

    Attributes:
        names: of the layers, in execution order.
        macs: int64 ``[layers]``.
        w_bits, a_bits: widths along the last two axes.
        latency_us: from first load to last store, with the machine's time per launch.
        cycles: array cycles of that time; ``energy_pj``: energy; ``dram_bytes``: bytes moved.
        fixed_us, fixed_pj: of launches without products (at 8 bits) and of the machine itself.
    """

    names: tuple[str, ...]
    macs: Array
    w_bits: tuple[int, ...]
    a_bits: tuple[int, ...]
    latency_us: Array
    cycles: Array
    energy_pj: Array
    dram_bytes: Array
    fixed_us: float
    fixed_pj: float


def oracle(
    workload: Workload,
    machine: Machine,
    *,
    w_bits: Sequence[int] = WIDTHS,
    a_bits: Sequence[int] = WIDTHS,
    stored_a_bits: int | None = None,
    output_bits: int | None = None,
    prepared: Prepared | None = None,
) -> Oracle:
    """Price every product at every pair of widths, in one vectorised call.

    Args:
        workload: its own widths are ignored.
        machine: where it runs.
        w_bits, a_bits: widths of weights and activations.
        stored_a_bits: width of activations in memory where it differs from the multiplier's (8 for SPARQ).
        output_bits: width in which every layer writes its output; None for the layer's own ``a``.
        prepared: from ``price.prepare`` with the machine's fusion, to save time.

    Raises:
        ConfigError: no widths, widths outside 1 to 16, or a layer that the machine cannot hold.
    """
    _check(w_bits=w_bits, a_bits=a_bits)
    ready = prepared or prepare(workload, machine.fusion)
    count = len(ready.launches.heads)
    w, a = (plane.ravel() for plane in np.meshgrid(w_bits, a_bits, indexing="ij"))
    constant = np.array([tensor.constant for tensor in workload.tensors])[:, None]
    stored = a if stored_a_bits is None else np.full_like(a, stored_a_bits)
    widths = stored_widths(
        machine,
        ready,
        np.broadcast_to(w, (count, len(w))),
        np.broadcast_to(a, (count, len(a))),
        np.where(constant, w, stored),
    )
    widths = dataclasses.replace(widths, table=(len(w_bits), len(a_bits)))
    if output_bits is not None:
        widths = widths.with_output(min(output_bits, machine.precision.max_bits))
    priced = price_arrays(machine, ready, widths)
    costs, energy = priced.costs, priced.energy
    time = costs.total / machine.clock_mhz + costs.overhead_us
    whole = energy.mac + energy.buffer + energy.dram + energy.leakage
    places = np.flatnonzero(ready.launches.is_gemm)
    beside = np.flatnonzero(~ready.launches.is_gemm)
    shape = len(places), len(w_bits), len(a_bits)
    # Launches without products are priced at the widest activations of the table.
    column = int(np.argmax(a))
    return Oracle(
        names=tuple(workload.ops[ready.launches.heads[place]].name for place in places),
        macs=ready.launches.macs[places],
        w_bits=tuple(w_bits),
        a_bits=tuple(a_bits),
        latency_us=time[places].reshape(shape),
        cycles=costs.total[places].reshape(shape),
        energy_pj=whole[places].reshape(shape),
        dram_bytes=costs.dram.total[places].reshape(shape),
        fixed_us=float(time[beside, column].sum()) + machine.overhead.fixed_ms * 1e3,
        fixed_pj=float(whole[beside, column].sum()),
    )


def _check(**axes: Sequence[int]) -> None:
    for name, axis in axes.items():
        if not len(axis) or min(axis) < 1 or max(axis) > 16:
            raise ConfigError(f"{name}: expected widths from 1 to 16, found {list(axis)}")
