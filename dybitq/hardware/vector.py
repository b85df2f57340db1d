"""Launches without products: elementwise work, pools, softmax and the like on the vector unit.

The tensor streams through in equal chunks, loads and stores overlapping as in ``tiling.pipeline``.
"""

import dataclasses

import numpy as np

from dybitq.hardware.costs import Array, Costs, Operands, Widths
from dybitq.hardware.engine import Machine, Prepared, need
from dybitq.hardware.precision import Rates
from dybitq.hardware.traffic import bytes_per_cycle, packed_width

# Chunks a tensor may be cut into; the fastest that fits is taken.
_CHUNKS = 4.0 ** np.arange(0, 12)[:, None, None]


def no_products(rate: Rates, widths: Widths) -> Costs:
    """Zero costs ``[L, P]``, into which vector launches are merged."""
    zero = np.zeros(widths.w.shape)
    nothing = Operands(input=zero, weight=zero, output=zero)
    return Costs(
        w_run=rate.w_run,
        a_run=rate.a_run,
        folds=zero,
        cycles=zero,
        fill=zero,
        stall=zero,
        total=zero,
        overhead_us=zero,
        utilisation=zero,
        mapping=zero,
        end_to_end=zero,
        sram_reads=nothing,
        sram_writes=nothing,
        dram=nothing,
        distinct=nothing,
        bound=np.zeros(widths.w.shape, dtype=np.int64),
    )


def merged(prepared: Prepared, products: Costs, vectors: Costs | None) -> Costs:
    """Costs of all launches: rows of vector launches from ``vectors``, the others from ``products``."""
    if vectors is None:
        return products
    places = np.flatnonzero(~prepared.launches.is_gemm)
    return products.replaced(places, vectors)


def vector_launches(machine: Machine, prepared: Prepared, widths: Widths) -> Costs | None:
    """Costs of the vector launches alone, in their order; None where there are none."""
    launches = prepared.launches
    places = np.flatnonzero(~launches.is_gemm)
    if not len(places):
        return None
    widths = widths.at(places)
    buffers, per_cycle = need(machine.buffers, machine, "buffers"), bytes_per_cycle(machine)
    burst = need(machine.dram, machine, "dram").burst_bytes
    sizes = np.array([tensor.elements for tensor in prepared.workload.tensors], dtype=np.float64)
    source = launches.input[places]
    read = np.where(source >= 0, sizes[source], 0.0)[:, None]
    written = launches.out_elements[places, None].astype(np.float64)
    in_bytes = np.ceil(read * packed_width(widths.input, buffers.packing) / 8) + np.ceil(
        widths.extra_bits / 8
    )
    out_bytes = np.ceil(written * packed_width(widths.output, buffers.packing) / 8)
    loads, stores = (
        np.ceil(np.ceil(size / _CHUNKS / burst) * burst / per_cycle) for size in (in_bytes, out_bytes)
    )
    work = 0.0 if machine.vector is None else launches.vector_ops[places, None] / machine.vector.ops_per_cycle
    step = np.ceil(work / _CHUNKS)
    stall = np.maximum(loads - step, 0) + np.maximum(stores - step, 0)
    stall = np.where(_CHUNKS > 1, stall + (_CHUNKS - 2) * np.maximum(loads + stores - step, 0), 0.0)
    total = _CHUNKS * step + stall + loads + stores
    share = 512.0 if buffers.double_buffer else 1024.0
    stored = np.ceil(read * packed_width(widths.input_stored, buffers.packing) / 8)
    fits = (stored / _CHUNKS <= buffers.act_kb * share) & (out_bytes / _CHUNKS <= buffers.out_kb * share)
    best = np.where(fits | (_CHUNKS[-1] == _CHUNKS), total, np.inf).argmin(axis=0)

    def at(values: Array) -> Array:
        full = np.broadcast_to(values, (len(_CHUNKS), *best.shape))
        return np.take_along_axis(full, best[None], axis=0)[0]

    cycles, waits, whole, chunks = at(_CHUNKS * step), at(stall), at(total), at(_CHUNKS)
    fill = whole - cycles - waits

    def moved(size: Array) -> Array:
        return np.where(size > 0, np.ceil(size / chunks / burst) * burst * chunks, 0.0)

    base = no_products(_as_asked(widths), widths)
    zero = np.zeros_like(whole)
    return dataclasses.replace(
        base,
        cycles=cycles,
        fill=fill,
        stall=waits,
        total=whole,
        overhead_us=zero + machine.overhead.per_layer_us,
        bound=np.where(waits > np.maximum(cycles, fill), 1, np.where(fill > cycles, 2, 3)),
        sram_reads=Operands(
            input=read + widths.extra_words, weight=zero, output=np.where(widths.output > 0, written, 0)
        ),
        sram_writes=Operands(
            input=np.where(widths.input > 0, read, 0) + widths.extra_words, weight=zero, output=written + zero
        ),
        dram=Operands(input=moved(in_bytes), weight=zero, output=moved(out_bytes)),
        distinct=Operands(input=in_bytes + zero, weight=zero, output=out_bytes + zero),
    )


def _as_asked(widths: Widths) -> Rates:
    """Vector work runs at whatever width it comes in."""
    one = np.ones(widths.w.shape, dtype=np.int64)
    names = ("rows", "cols", "depth", "m_lanes", "n_lanes", "serial")
    return Rates(w_run=widths.w, a_run=widths.a, **dict.fromkeys(names, one))
