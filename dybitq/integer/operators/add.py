"""Add: a common shift, one rounding of the exact sum; or sums of 16 bits, as in HAWQ-V3.

With 16 bits the operands of a sum are not first rounded to 8. A convolution that only the sum reads hands it
its int32 accumulator, and a sum that reads another sum reads its 16 bits. The 16-bit code counts steps 2^7 or
2^8 times finer than the 8-bit code that all other readers get, so that copy is a shift.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from dybitq.graph.values import is_op
from dybitq.integer.assembly import Assembly
from dybitq.integer.channels import channel_gains
from dybitq.integer.context import Context, names_of, operators
from dybitq.integer.factors import share, share_wide
from dybitq.integer.operators.layer import LayerStep
from dybitq.integer.step import EqualScales, IntegerStep, ScaleTie
from dybitq.records.arithmetic import TieRounding
from dybitq.records.geometry.products import MatrixProduct
from dybitq.records.geometry.windows import SlidingWindow
from dybitq.records.integer_network import Addition, Operation, Requantization, Requantize
from dybitq.records.layers import LayerWork

_WIDE_LIMIT = 2**15


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AddStep(IntegerStep):
    """Sum of two activations, or of one and a constant."""

    @property
    def tie(self) -> ScaleTie | None:
        """Both operands are added in the result's units."""
        return EqualScales()

    def assemble(self, assembly: Assembly) -> list[Operation]:
        """Add both operands over one shift."""
        if assembly.options.residual_bits > 8:
            return _add_wide(assembly, self)
        output = assembly.output_edge(self)
        left, right = assembly.operands(self, output.scale)
        zeros = (left.zero_point, right.zero_point)
        ratios = [left.scale / output.scale, right.scale / output.scale]
        shared = share(self.name, ratios, zeros, assembly.options)
        assembly.relative[self.outputs[0]] = max(abs(r) for r in shared.relative)
        return [
            Addition(
                name=self.name,
                inputs=assembly.pair(self),
                output=assembly.codes(self.outputs[0]),
                zeros=zeros,
                multipliers=(np.array([shared.multipliers[0]]), np.array([shared.multipliers[1]])),
                shift=shared.shift,
                zero_point=output.zero_point,
                low=output.low,
                high=output.high,
                rounding=TieRounding(assembly.options.rounding),
                each_branch=assembly.options.residual_rounding == "branch" and shared.shift > 0,
            )
        ]


@operators.register("add")
def recognise(node: ir.Node, context: Context) -> AddStep | None:
    """Recognise an Add, unless it shifts every channel by a constant."""
    if not is_op(node, "Add") or channel_gains(node) is not None:
        return None
    operands = context.coded_operands(node)
    if len(operands) != 2:
        return None
    return context.own(AddStep(**names_of(node, operands)), node.outputs[0])


def raw_sums(
    steps: Sequence[IntegerStep], outputs: Set[str], layers: Mapping[str, LayerWork]
) -> dict[str, str]:
    """Map results of layers that only an Add reads, which stay accumulators, to the result of that Add."""
    counts: dict[str, int] = {}
    for step in steps:
        for name in step.inputs:
            counts[name] = counts.get(name, 0) + 1
    written = {
        step.outputs[0]
        for step in steps
        if isinstance(step, LayerStep) and step.bounds is None and _adds_bias(layers[step.name])
    }
    read = {name: step.outputs[0] for step in steps if isinstance(step, AddStep) for name in step.inputs}
    kept = (name for name in read if name in written and counts[name] == 1 and name not in outputs)
    return {name: read[name] for name in kept}


def _adds_bias(layer: LayerWork) -> bool:
    """Return whether a layer is a Conv or a Gemm."""
    return isinstance(layer.geometry, SlidingWindow | MatrixProduct) and layer.geometry.takes_bias


def _add_wide(assembly: Assembly, step: AddStep) -> list[Operation]:
    """Add of 16 bits, and its 8-bit copy."""
    edges, output = assembly.operands(step, assembly.output_edge(step).scale), assembly.output_edge(step)
    finer = 8 if output.zero_point else 7
    scale = output.scale * 2.0**-finer
    names, zeros, ratios = [], [], []
    for name, edge in zip(step.inputs, edges, strict=True):
        if name in assembly.raw_sums:
            unit = assembly.raw_sums[name].sum_unit(assembly)
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
    low, high = -_WIDE_LIMIT, _WIDE_LIMIT - 1
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


def _along(assembly: Assembly, layer: IntegerStep, ratio: np.ndarray) -> np.ndarray:
    """Ratios of a layer's channels, shaped to broadcast against its accumulator."""
    work = assembly.layers[layer.name]
    return ratio if ratio.size == 1 else work.geometry.along_output(ratio)
