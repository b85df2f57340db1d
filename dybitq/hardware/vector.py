"""Launches without products: elementwise work, pools, softmax and the like on the vector unit.

The tensor streams through in equal chunks, loads and stores overlapping as in ``tiling.pipeline``.
"""

import dataclasses

import numpy as np

from dybitq.hardware.costs import Array, Costs, Operands, Widths
from dybitq.hardware.engine import Machine, Prepared, need
from dybitq.hardware.traffic import bytes_per_cycle, packed_width

# Chunks a tensor may be cut into; the fastest that fits is taken.
_CHUNKS = 4.0 ** np.arange(0, 12)[:, None, None]


def vector_cycles(machine: Machine, prepared: Prepared) -> Array:
    """Cycles of the vector unit for each launch ``[L, 1]``; 0 where the machine names no such unit."""
    if machine.vector is None:
        return np.zeros((len(prepared.kernels.heads), 1))
    return prepared.kernels.vector_ops[:, None] / machine.vector.ops_per_cycle


def with_vector_launches(machine: Machine, prepared: Prepared, widths: Widths, costs: Costs) -> Costs:
    """``costs`` with the rows of vector launches filled in."""
    kernels = prepared.kernels
    here = ~kernels.is_gemm
    if not here.any():
        return costs
    buffers, per_cycle = need(machine.buffers, machine, "buffers"), bytes_per_cycle(machine)
    burst = need(machine.dram, machine, "dram").burst_bytes
    sizes = np.array([tensor.elements for tensor in prepared.workload.tensors], dtype=np.float64)
    read = np.where(kernels.input >= 0, sizes[kernels.input], 0.0)[:, None]
    written = kernels.out_elements[:, None].astype(np.float64)
    in_bytes = np.ceil(read * packed_width(widths.input, buffers.packing) / 8) + np.ceil(
        widths.extra_bits / 8
    )
    out_bytes = np.ceil(written * packed_width(widths.output, buffers.packing) / 8)
    loads, stores = (
        np.ceil(np.ceil(size / _CHUNKS / burst) * burst / per_cycle) for size in (in_bytes, out_bytes)
    )
    step = np.ceil(vector_cycles(machine, prepared) / _CHUNKS)
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

    cycles, waits, whole = at(_CHUNKS * step), at(stall), at(total)
    fill = whole - cycles - waits
    chunks = at(_CHUNKS)
    moved_in = np.where(in_bytes > 0, np.ceil(in_bytes / chunks / burst) * burst * chunks, 0.0)
    moved_out = np.where(out_bytes > 0, np.ceil(out_bytes / chunks / burst) * burst * chunks, 0.0)
    nothing = np.zeros_like(whole)
    bound = np.where(waits > np.maximum(cycles, fill), 1, np.where(fill > cycles, 2, 3))
    mine = {
        "folds": nothing, "cycles": cycles, "fill": fill, "stall": waits, "total": whole,
        "overhead_us": nothing + machine.overhead.per_layer_us,
        "utilisation": nothing, "mapping": nothing, "end_to_end": nothing,
        "bound": bound,
    }  # fmt: skip
    operands = {
        "sram_reads": Operands(
            input=read + widths.extra_words, weight=nothing, output=np.where(widths.output > 0, written, 0)
        ),
        "sram_writes": Operands(
            input=np.where(widths.input > 0, read, 0) + widths.extra_words,
            weight=nothing,
            output=written + nothing,
        ),
        "dram": Operands(input=moved_in, weight=nothing, output=moved_out),
        "distinct": Operands(input=in_bytes + nothing, weight=nothing, output=out_bytes + nothing),
    }
    pick = here[:, None]
    merged = {name: np.where(pick, value, getattr(costs, name)) for name, value in mine.items()}
    merged |= {name: _merge(pick, value, getattr(costs, name)) for name, value in operands.items()}
    return dataclasses.replace(costs, **merged)


def _merge(pick: Array, mine: Operands, other: Operands) -> Operands:
    return Operands(
        input=np.where(pick, mine.input, other.input),
        weight=np.where(pick, mine.weight, other.weight),
        output=np.where(pick, mine.output, other.output),
    )
