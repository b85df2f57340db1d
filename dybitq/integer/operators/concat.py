"""Concat: a move where all branches have one encoding, otherwise every branch is rescaled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from dybitq.graph.values import int_attribute, is_op
from dybitq.integer.assembly import Assembly
from dybitq.integer.context import Context, names_of, operators
from dybitq.integer.factors import requantize
from dybitq.integer.operators.move import MoveStep
from dybitq.integer.step import EqualScales, IntegerStep, ScaleTie
from dybitq.records.integer_network import Concatenation, Operation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConcatStep(IntegerStep):
    """Branches side by side.

    Attributes:
        axis: along which they are joined.
    """

    joins: ClassVar[bool] = True

    axis: int

    @property
    def tie(self) -> ScaleTie | None:
        """Every branch becomes codes of the result."""
        return EqualScales()

    def joined(self, roots: Mapping[str, str]) -> IntegerStep:
        """Return the same as a move, if with these ``roots`` every branch has the encoding of the result."""
        if self.bounds is not None or self.constants:
            return self
        if {roots[name] for name in self.inputs} != {roots[self.outputs[0]]}:
            return self
        return MoveStep(
            name=self.name,
            op_type=self.op_type,
            inputs=self.inputs,
            outputs=self.outputs,
            operands=self.inputs,
            attributes={"axis": self.axis},
        )

    def assemble(self, assembly: Assembly) -> list[Operation]:
        """Rescale every branch, and join them."""
        output = assembly.output_edge(self)
        edges = assembly.operands(self, output.scale)
        made = [requantize(self.name, e.scale / output.scale, output, assembly.options) for e in edges]
        assembly.relative[self.outputs[0]] = max(relative for _, relative in made)
        return [
            Concatenation(
                name=self.name,
                inputs=tuple(assembly.codes(name) for name in self.inputs),
                output=assembly.codes(self.outputs[0]),
                zeros=tuple(edge.zero_point for edge in edges),
                requantize=tuple(target for target, _ in made),
                axis=self.axis,
            )
        ]


@operators.register("concat")
def recognise(node: ir.Node, context: Context) -> IntegerStep | None:
    """Recognise a Concat of coded branches and constants, unless it only arranges the outputs."""
    operands = context.coded_operands(node) if is_op(node, "Concat") else ()
    if not operands:
        return None
    step = ConcatStep(**names_of(node, operands), axis=int_attribute(node, "axis", 0))
    if not step.constants and len({context.roots[name] for name in step.inputs}) == 1:
        root = context.roots[step.inputs[0]]
        return context.carried(step.joined({**context.roots, step.outputs[0]: root}))
    return None if node in context.tail else context.own(step, node.outputs[0])
