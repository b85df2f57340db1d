"""PRelu with a slope for each channel: what is above zero, plus what is below it times the slope."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from dybitq.graph.values import is_op, rank_of
from dybitq.integer.assembly import Assembly
from dybitq.integer.channels import channel_weights, depthwise, per_channel, point
from dybitq.integer.context import Context, names_of, operators
from dybitq.integer.factors import share
from dybitq.integer.step import EqualScales, IntegerStep, ScaleTie
from dybitq.records.arithmetic import TieRounding
from dybitq.records.integer_network import Addition, Clamp, Convolution, Operation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlopesStep(IntegerStep):
    """Slopes below zero, by channel.

    Attributes:
        slopes: float64 ``[channels]``.
        rank: of the input.
    """

    slopes: np.ndarray
    rank: int

    @property
    def tie(self) -> ScaleTie | None:
        """Codes above zero are added in the result's units."""
        return EqualScales()

    def assemble(self, assembly: Assembly) -> list[Operation]:
        """Split the codes at zero, scale the lower half, and add both."""
        source, output = assembly.input_edge(self), assembly.output_edge(self)
        weights, target, relative = channel_weights(
            f"{self.op_type} {self.name}",
            self.slopes * (source.scale / output.scale),
            output,
            assembly.options,
        )
        codes, result = assembly.codes(self.inputs[0]), assembly.codes(self.outputs[0])
        below, above, scaled = f"{result}_below", f"{result}_above", f"{result}_scaled"
        zero = source.zero_point
        zeros = (zero, output.zero_point)
        shared = share(self.name, [source.scale / output.scale, 1.0], zeros, assembly.options)
        assembly.relative[self.outputs[0]] = max(relative, *(abs(r) for r in shared.relative))
        return [
            Clamp(name=f"{self.name}/below", input=codes, output=below, low=0, high=zero),
            Convolution(
                name=f"{self.name}/slopes",
                input=below,
                output=scaled,
                input_zero=zero,
                weight=depthwise(weights, self.rank),
                bias=None,
                window=point(len(self.slopes), self.rank),
                requantize=target,
            ),
            Clamp(name=f"{self.name}/above", input=codes, output=above, low=zero, high=255),
            Addition(
                name=self.name,
                inputs=(above, scaled),
                output=result,
                zeros=zeros,
                multipliers=(np.array([shared.multipliers[0]]), np.array([shared.multipliers[1]])),
                shift=shared.shift,
                zero_point=output.zero_point,
                low=output.low,
                high=output.high,
                rounding=TieRounding(assembly.options.rounding),
            ),
        ]


@operators.register("slopes")
def recognise(node: ir.Node, context: Context) -> SlopesStep | None:
    """Recognise a PRelu whose constant slopes vary along the channels alone."""
    source = node.inputs[0] if is_op(node, "PRelu") else None
    slopes = None if source is None else per_channel(node.inputs[1], source)
    if source is None or slopes is None or not context.is_coded(source):
        return None
    step = SlopesStep(**names_of(node, [source]), slopes=slopes, rank=rank_of(source) or 0)
    return context.own(step, node.outputs[0])
