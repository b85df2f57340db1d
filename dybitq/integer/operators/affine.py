"""A gain and a shift for each channel: a depthwise convolution with one weight a channel."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from dybitq.encodings import dyadic
from dybitq.graph.values import rank_of
from dybitq.integer.assembly import Assembly
from dybitq.integer.channels import Gains, channel_gains, channel_weights, depthwise, point
from dybitq.integer.context import Context, names_of, operators
from dybitq.integer.step import IntegerStep
from dybitq.records.integer_network import Convolution, Operation

_BIAS_LIMIT = 2**31 - 2**7


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AffineStep(IntegerStep):
    """Gain and shift by channel.

    Attributes:
        gains: gain and shift of every channel.
        rank: of the input.
    """

    gains: Gains
    rank: int

    def assemble(self, assembly: Assembly) -> list[Operation]:
        """Put the gains into weights and factors, and the shifts into the bias."""
        gains, shifts = self.gains
        source, output = assembly.input_edge(self), assembly.output_edge(self)
        weights, target, relative = channel_weights(
            f"{self.op_type} {self.name}", gains * (source.scale / output.scale), output, assembly.options
        )
        assembly.relative[self.outputs[0]] = relative
        unit = output.scale * dyadic.value(target.multiplier, target.shift)
        bias = np.clip(np.rint(shifts / unit), -_BIAS_LIMIT, _BIAS_LIMIT).astype(np.int64)
        return [
            Convolution(
                name=self.name,
                input=assembly.codes(self.inputs[0]),
                output=assembly.codes(self.outputs[0]),
                input_zero=source.zero_point,
                weight=depthwise(weights, self.rank),
                bias=bias,
                window=point(len(gains), self.rank),
                requantize=target,
            )
        ]


@operators.register("affine")
def recognise(node: ir.Node, context: Context) -> AffineStep | None:
    """Recognise a BatchNormalization, and a Mul, Div, Add or Sub with a constant of one number a channel."""
    found = channel_gains(node)
    if found is None or not context.is_coded(found[0]):
        return None
    source, gains = found
    step = AffineStep(**names_of(node, [source]), gains=gains, rank=rank_of(source) or 0)
    return context.own(step, node.outputs[0])
