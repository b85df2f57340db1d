"""Max and Min of activations: codes of one encoding compare like the values that they stand for."""

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from dybitq.graph.values import is_op
from dybitq.integer.assembly import Assembly
from dybitq.integer.context import Context, names_of, operators
from dybitq.integer.operators.move import MoveStep
from dybitq.integer.step import EqualScales, IntegerStep, ScaleTie
from dybitq.records.integer_network import Move, Operation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaximumStep(IntegerStep):
    """Largest or smallest of several activations, by the operator's type.

    An operand whose range reaches beyond that of the result may be clipped to it: that changes no result.
    """

    joins: ClassVar[bool] = True

    @property
    def tie(self) -> ScaleTie | None:
        """Every operand becomes codes of the result."""
        return EqualScales()

    def assemble(self, assembly: Assembly) -> list[Operation]:
        """Bring the operands to the encoding of the result, and compare codes."""
        recoded = {name: assembly.recoded(self, name) for name in self.inputs}
        operations = [operation for _, made in recoded.values() for operation in made]
        move = Move(
            name=self.name,
            op_type=self.op_type,
            operands=tuple(recoded[name][0] for name in self.inputs),
            outputs=(assembly.codes(self.outputs[0]),),
        )
        return [*operations, move]


@operators.register("maximum")
def recognise(node: ir.Node, context: Context) -> IntegerStep | None:
    """Recognise a Max or Min of activations; where all of them share an encoding, it is a move."""
    operands = context.coded_operands(node) if is_op(node, "Max", "Min") else ()
    names = names_of(node, operands)
    if len(operands) < 2 or names["constants"]:
        return None
    if len({context.roots[name] for name in names["inputs"]}) == 1:
        return context.carried(MoveStep(**names, operands=names["inputs"]))
    return context.own(MaximumStep(**names), node.outputs[0])
