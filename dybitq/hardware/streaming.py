"""Costs of timing models without buffers, which move every tensor once."""

import numpy as np

from dybitq.hardware.costs import Array, Costs, Operands, Widths
from dybitq.hardware.engine import Machine, Prepared
from dybitq.hardware.precision import Rates
from dybitq.hardware.traffic import distinct


def input_words(prepared: Prepared) -> Array:
    """Elements of the first operand of each launch as the graph stores it, float64 ``[L, 1]``."""
    sizes = np.array([tensor.elements for tensor in prepared.workload.tensors], dtype=np.float64)
    return np.where(prepared.launches.input >= 0, sizes[prepared.launches.input], 0.0)[:, None]


def moved_once(prepared: Prepared, widths: Widths) -> Operands:
    """Bytes when every tensor is read or written whole, once."""
    launches = prepared.launches
    weights = (launches.groups * launches.k * launches.n)[:, None] * launches.is_gemm[:, None]
    return Operands(
        input=np.ceil(input_words(prepared) * widths.input / 8) + np.ceil(widths.extra_bits / 8),
        weight=np.ceil(weights * widths.weight / 8),
        output=np.ceil(launches.out_elements[:, None] * widths.output / 8),
    )


def streaming_costs(
    machine: Machine,
    prepared: Prepared,
    widths: Widths,
    rate: Rates,
    *,
    compute: Array,
    total: Array,
    dram: Operands,
    peak: float,
    overhead_us: Array,
    bound: Array,
) -> Costs:
    """Costs from compute and total cycles ``[L, P]``.

    Buffer accesses are lower bounds: every word that moves is written and read once on chip.

    Args:
        peak: MACs a cycle at the widths of ``compute``.
    """
    launches = prepared.launches
    macs = launches.macs[:, None].astype(np.float64)
    shape = total.shape
    zero = np.zeros(shape)

    def words(moved: Array, bits: Array) -> Array:
        return np.where(bits > 0, np.ceil(moved * 8 / np.maximum(bits, 1)), 0.0)

    arriving = Operands(
        input=words(dram.input, widths.input_stored),
        weight=words(dram.weight, np.maximum(widths.weight, 1)),
        output=words(dram.output, widths.output_stored),
    )
    busy = np.maximum(compute, 1e-9)
    used = np.where(macs > 0, macs / (busy * peak), 0.0)
    return Costs(
        w_run=rate.w_run,
        a_run=rate.a_run,
        folds=zero,
        cycles=compute + zero,
        fill=zero,
        stall=total - compute,
        total=total,
        overhead_us=overhead_us + zero,
        utilisation=np.minimum(used, 1.0) + zero,
        mapping=np.minimum(used, 1.0) + zero,
        end_to_end=np.where(macs > 0, np.minimum(macs / (np.maximum(total, 1e-9) * peak), 1.0), 0.0) + zero,
        sram_reads=arriving,
        sram_writes=arriving,
        dram=Operands(input=dram.input + zero, weight=dram.weight + zero, output=dram.output + zero),
        distinct=_least(dram, distinct(prepared, widths), launches.is_gemm[:, None]),
        bound=bound,
    )


def _least(dram: Operands, need: Operands, gemm: Array) -> Operands:
    """Bytes that have to move: of a product the elements its windows touch, of a vector launch all."""
    return Operands(
        input=np.where(gemm, np.minimum(need.input, dram.input), dram.input),
        weight=np.where(gemm, need.weight, 0.0) + 0 * dram.weight,
        output=dram.output,
    )
