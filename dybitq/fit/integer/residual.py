"""Residual sums of 16 bits, as in HAWQ-V3: what is added is not first rounded to 8 bits.

A convolution that only the sum reads hands it its int32 accumulator, and a sum that reads another sum reads
its 16 bits. The 16-bit code counts steps 2^7 or 2^8 times finer than the 8-bit code that everybody else gets,
so that copy is a shift.
"""

from collections.abc import Mapping, Sequence, Set

import numpy as np

from dybitq.fit.integer.assembly import Assembly
from dybitq.fit.integer.factors import share_wide
from dybitq.fit.integer.layers import unit_of
from dybitq.graph.steps.records import Step, StepKind
from dybitq.records.arithmetic import TieRounding
from dybitq.records.geometry.products import MatrixProduct
from dybitq.records.geometry.windows import SlidingWindow
from dybitq.records.integer_network import Addition, Operation, Requantization, Requantize
from dybitq.records.layers import LayerWork

WIDE_LIMIT = 2**15


def raw_sums(steps: Sequence[Step], outputs: Set[str], layers: Mapping[str, LayerWork]) -> dict[str, str]:
    """Results of layers that only an ADD reads, which stay accumulators, each to the result of that ADD."""
    counts: dict[str, int] = {}
    for step in steps:
        for name in step.inputs:
            counts[name] = counts.get(name, 0) + 1
    written = {
        step.outputs[0]
        for step in steps
        if step.kind is StepKind.LAYER and step.bounds is None and _adds_bias(layers[step.name])
    }
    read = {name: step.outputs[0] for step in steps if step.kind is StepKind.ADD for name in step.inputs}
    kept = (name for name in read if name in written and counts[name] == 1 and name not in outputs)
    return {name: read[name] for name in kept}


def _adds_bias(layer: LayerWork) -> bool:
    """Whether a layer is a Conv or a Gemm."""
    return isinstance(layer.geometry, SlidingWindow | MatrixProduct) and layer.geometry.takes_bias


def add_wide(assembly: Assembly, step: Step) -> list[Operation]:
    """Add of 16 bits, and its 8-bit copy."""
    edges, output = assembly.operands(step), assembly.output_edge(step)
    finer = 8 if output.zero_point else 7
    scale = output.scale * 2.0**-finer
    names, zeros, ratios = [], [], []
    for name, edge in zip(step.inputs, edges, strict=True):
        if name in assembly.raw_sums:
            unit = unit_of(assembly, assembly.raw_sums[name])
            names.append(f"{assembly.codes(name)}_sum")
            zeros.append(0)
            ratios.append(_along(assembly, assembly.raw_sums[name], unit / scale))
        elif name in assembly.wide:
            names.append(f"{assembly.codes(name)}_wide")
            zeros.append(0)
            ratios.append(np.array([assembly.wide[name] / scale]))
        else:
            names.append(assembly.codes(name))
            zeros.append(edge.zero_point)
            ratios.append(np.array([edge.scale / scale]))
    shared = share_wide(step.name, ratios, assembly.options)
    result = step.outputs[0]
    assembly.wide[result] = scale
    assembly.relative[result] = shared.largest_relative
    low, high = -WIDE_LIMIT, WIDE_LIMIT - 1
    if step.bounds is not None:
        low, high = (int(np.clip(np.rint(bound / scale), low, high)) for bound in step.bounds)
    rounding = TieRounding(assembly.options.rounding)
    total = Addition(
        name=step.name,
        inputs=(names[0], names[1]),
        output=f"{assembly.codes(result)}_wide",
        zeros=(zeros[0], zeros[1]),
        multipliers=(shared.multipliers[0], shared.multipliers[1]),
        shift=shared.shift,
        zero_point=0,
        low=low,
        high=high,
        rounding=rounding,
        each_branch=assembly.options.residual_rounding == "branch" and shared.shift > 0,
        bits=16,
    )
    target = Requantize(
        multiplier=np.ones(1, np.int64),
        shift=np.array([finer], np.int64),
        zero_point=output.zero_point,
        low=output.low,
        high=output.high,
        rounding=rounding,
    )
    copy = Requantization(
        name=f"{step.name}/narrow",
        input=total.output,
        output=assembly.codes(result),
        input_zero=0,
        requantize=target,
    )
    return [total, copy]


def _along(assembly: Assembly, layer: Step, ratio: np.ndarray) -> np.ndarray:
    """Ratios of a layer's channels, shaped to broadcast against its accumulator."""
    work = assembly.layers[layer.name]
    return ratio if ratio.size == 1 else work.geometry.along_output(ratio)
