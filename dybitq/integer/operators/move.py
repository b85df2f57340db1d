"""Operators that only move or compare values, which run on the codes as they stand."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from dybitq.graph.operators import Role, role
from dybitq.graph.values import constant, is_constant
from dybitq.integer.assembly import Assembly
from dybitq.integer.context import Context, names_of, operators, plain_attributes
from dybitq.integer.step import Encoding, IntegerStep
from dybitq.records.integer_network import AttributeValue, Move, Operation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MoveStep(IntegerStep):
    """Operator on codes.

    Attributes:
        operands: names, constants, and None for what is left out, in ONNX order.
        attributes: of the operator.
    """

    encoding: ClassVar[Encoding] = Encoding.CARRIED
    any_width: ClassVar[bool] = True

    operands: tuple[str | np.ndarray | None, ...]
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)

    def assemble(self, assembly: Assembly) -> list[Operation]:
        """Run the operator on the codes; padding holds the zero point."""
        operands: list[str | np.ndarray | None] = [
            assembly.codes(o)
            if isinstance(o, str) and (o in assembly.edges or o in assembly.accumulators)
            else o
            for o in self.operands
        ]
        if self.op_type == "Pad" and self.attributes.get("mode", "constant") == "constant":
            operands += [None] * (3 - len(operands))
            operands[2] = np.array(assembly.input_edge(self).zero_point, np.uint8)
        return [
            Move(
                name=self.name,
                op_type=self.op_type,
                operands=tuple(operands),
                outputs=tuple(assembly.codes(name) for name in self.outputs),
                attributes=self.attributes,
            )
        ]


@operators.register("move")
def recognise(node: ir.Node, context: Context) -> MoveStep | None:
    """Recognise a reshape, a transposition, a slice, a MaxPool and the like."""
    return move_of(node, context) if role(node, context.layers) is Role.CODES else None


def move_of(node: ir.Node, context: Context) -> MoveStep | None:
    """Return the step of a node that runs on codes as it stands; None where its input has none."""
    source = node.inputs[0]
    if source is None or not context.is_coded(source):
        return None
    read = (source, *(v for v in node.inputs[1:] if v is not None and not is_constant(v)))
    step = MoveStep(
        **names_of(node, read),
        operands=tuple(_operand(v) for v in node.inputs),
        attributes=plain_attributes(node),
    )
    return context.carried(step)


def _operand(value: ir.Value | None) -> str | np.ndarray | None:
    array = constant(value)
    return array if value is None or array is not None else str(value.name)
