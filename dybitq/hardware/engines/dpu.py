"""AMD's DPU (product guide PG338): blocks of pixels x input channels x output channels every cycle.

    convolution: ceil(pixels / P) * ceil(OC / O) * KH * KW * ceil(IC / I)
    depthwise:   ceil(pixels / P_dw) * ceil(C / I) * KH * KW

With channel augmentation a layer of fewer than ``I`` channels takes ``KH * ceil(IC * KW / I)`` instead of
``KH * KW``. A launch takes the larger of computing (at the engine's efficiency) and moving every tensor
once; operators without products move their tensors.
"""

import numpy as np

from dybitq.hardware.costs import Array, Costs, Widths
from dybitq.hardware.engine import Machine, Prepared, engines, need
from dybitq.hardware.precision import rates
from dybitq.hardware.streaming import moved_once, streaming_costs
from dybitq.hardware.traffic import bytes_per_cycle
from dybitq.schema.machine import Dpu


def block_cycles(dpu: Dpu, prepared: Prepared) -> Array:
    """Cycles of each launch when every block takes one, float64 ``[L, 1]``; 0 for vector launches."""
    launches = prepared.launches
    m, n, channels, taps, groups = (
        getattr(launches, name).astype(np.float64) for name in ("m", "n", "channels", "taps", "groups")
    )
    steps = taps * np.ceil(channels / dpu.in_channels)
    if dpu.augment_channels:
        packed = launches.kernel_h * np.ceil(channels * launches.kernel_w / dpu.in_channels)
        steps = np.where(channels < dpu.in_channels, np.minimum(packed, steps), steps)
    dense = groups * np.ceil(m / dpu.pixels) * np.ceil(n / dpu.out_channels) * steps
    depthwise = np.ceil(m / dpu.depthwise_pixels) * np.ceil(groups * n / dpu.in_channels) * taps
    is_depthwise = (groups > 1) & (channels == 1)
    return (np.where(is_depthwise, np.minimum(depthwise, dense), dense) * launches.is_gemm)[:, None]


@engines.register("dpu")
def price(machine: Machine, prepared: Prepared, widths: Widths) -> Costs:
    """Price every launch."""
    dpu = need(machine.dpu, machine, "dpu")
    rate = rates(machine, widths.w, widths.a, (prepared.launches.m == 1)[:, None])
    cycles = block_cycles(dpu, prepared) / dpu.efficiency
    dram = moved_once(prepared, widths)
    moving = dram.total / bytes_per_cycle(machine)
    total = np.maximum(cycles, moving)
    return streaming_costs(
        machine,
        prepared,
        widths,
        rate,
        compute=cycles + np.zeros(total.shape),
        total=total,
        dram=dram,
        peak=dpu.pixels * dpu.in_channels * dpu.out_channels,
        overhead_us=np.full(total.shape, machine.overhead.per_layer_us),
        bound=np.where(moving > cycles, 1, 0),
    )
