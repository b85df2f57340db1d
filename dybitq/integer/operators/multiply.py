"""Mul of two tensors, elementwise."""

from dataclasses import dataclass

import onnx_ir as ir

from dybitq.graph.values import is_op
from dybitq.integer.assembly import Assembly
from dybitq.integer.channels import channel_gains
from dybitq.integer.context import Context, names_of, operators
from dybitq.integer.factors import requantize_tied
from dybitq.integer.step import IntegerStep, ProductScale, ScaleTie
from dybitq.records.integer_network import Multiplication, Operation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MultiplyStep(IntegerStep):
    """Product of two activations, or of one and a constant."""

    @property
    def tie(self) -> ScaleTie | None:
        """The result's scale is the product of the others."""
        return ProductScale()

    def assemble(self, assembly: Assembly) -> list[Operation]:
        """Multiply centred codes, and rescale."""
        output = assembly.output_edge(self)
        others = [assembly.edges[name].scale for name in self.inputs if name not in self.constants]
        left, right = assembly.operands(self, output.scale / others[0])
        target, relative = requantize_tied(
            self.name, left.scale * right.scale / output.scale, output, assembly.options
        )
        assembly.relative[self.outputs[0]] = relative
        return [
            Multiplication(
                name=self.name,
                inputs=assembly.pair(self),
                output=assembly.codes(self.outputs[0]),
                zeros=(left.zero_point, right.zero_point),
                requantize=target,
            )
        ]


@operators.register("multiply")
def recognise(node: ir.Node, context: Context) -> MultiplyStep | None:
    """Recognise a Mul, unless it scales every channel by a constant."""
    if not is_op(node, "Mul") or channel_gains(node) is not None:
        return None
    operands = context.coded_operands(node)
    if len(operands) != 2:
        return None
    return context.own(MultiplyStep(**names_of(node, operands)), node.outputs[0])
