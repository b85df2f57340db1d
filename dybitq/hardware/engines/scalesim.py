"""SCALE-Sim's numbers, conventions and all: array cycles, SRAM counts and DRAM words without stalls.

Equal to what SCALE-Sim 3.0.0 prints in its stall-free mode (``docs/accelerators/scalesim.md`` lists the
conventions). ``cycles`` is the number of cycles the array is occupied, ``total_cycles`` the number the
tool prints, which is one less (the index of the last cycle).
"""

import numpy as np

from dybitq.hardware.array_core import array_cycles, ceil_div, layout, skew_cycles
from dybitq.hardware.costs import Array, Costs, Operands, Widths
from dybitq.hardware.engine import Machine, Prepared, engines, need
from dybitq.hardware.scalesim_memory import distinct_words, input_words, weight_words


@engines.register("scalesim")
def price(machine: Machine, prepared: Prepared, widths: Widths) -> Costs:
    """Price every launch; widths have no influence, every word is one byte."""
    array, buffers = need(machine.array, machine, "array"), need(machine.buffers, machine, "buffers")
    launches = prepared.launches
    m, k, n = launches.m[:, None], launches.k[:, None], launches.n[:, None]
    used = launches.is_gemm[:, None] * launches.groups[:, None]
    rows, cols, flow = array.rows, array.cols, array.dataflow
    spread = layout(flow, m, k, n)
    fold_r, fold_c = ceil_div(spread.rows, rows), ceil_div(spread.cols, cols)
    folds = fold_r * fold_c
    cycles = array_cycles(flow, folds, spread.time, rows, cols, overlap=False)
    reads_i = m * k * (1 if flow == "is" else fold_c)
    reads_w = k * n * {"os": fold_r, "ws": 1, "is": fold_c}[flow]
    # The tool adds a line to the drain of every output-stationary fold; its other flows count exactly.
    writes = m * n + (rows + cols) * folds if flow == "os" else m * n * fold_r
    macs = m * k * n
    printed = np.maximum(cycles - 1, 1)
    counted = spread.time + (rows + cols - 2 if flow == "os" else 2 * rows + 2 * cols - 3)
    shape = np.broadcast_shapes(cycles.shape, widths.w.shape)

    def wide(values: Array) -> Array:
        return np.broadcast_to((values * used).astype(np.float64), shape)

    def ratio(values: Array) -> Array:
        return np.broadcast_to(np.where(used > 0, values, 0.0), shape)

    zero, mapping = np.zeros(shape), spread.rows * spread.cols / (folds * rows * cols)
    utilisation = macs / (cycles * rows * cols)
    dram = Operands(
        input=wide(input_words(launches, buffers, flow, rows, fold_c)),
        weight=wide(weight_words(launches, buffers, flow, fold_r, fold_c)),
        output=wide(m * n if flow == "os" else writes),
    )
    return Costs(
        w_run=np.full(shape, 8),
        a_run=np.full(shape, 8),
        folds=wide(folds),
        cycles=wide(cycles),
        fill=zero,
        stall=zero,
        total=np.maximum(wide(cycles) - 1, 0),
        overhead_us=zero,
        utilisation=ratio(utilisation),
        mapping=ratio(mapping),
        end_to_end=ratio(utilisation),
        sram_reads=Operands(input=wide(reads_i), weight=wide(reads_w), output=zero),
        sram_writes=Operands(input=zero, weight=zero, output=wide(writes)),
        dram=dram,
        distinct=Operands(input=wide(distinct_words(launches)), weight=wide(k * n), output=wide(m * n)),
        bound=np.zeros(shape, dtype=np.int64),
        extra={
            "scalesim_total_cycles": wide(printed),
            "scalesim_overall_util_pct": ratio(100 * macs / (printed * rows * cols)),
            "scalesim_mapping_eff_pct": ratio(100 * mapping),
            "scalesim_compute_util_pct": ratio(
                100 * spread.rows * spread.cols * spread.time / (folds * rows * cols * counted)
            ),
            "skew_cycles_per_fold": np.broadcast_to(np.float64(skew_cycles(flow, rows, cols)), shape),
        },
    )
