"""Pad with a constant other than zero, whose code is that of the result's encoding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from dybitq.graph.operators import Role, role
from dybitq.graph.values import constant, is_op
from dybitq.integer.assembly import Assembly
from dybitq.integer.context import Context, names_of, operators, plain_attributes
from dybitq.integer.step import EqualScales, IntegerStep, ScaleTie
from dybitq.records.integer_network import AttributeValue, Move, Operation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PadStep(IntegerStep):
    """Padding with a constant; one of zero, or by repetition, is a move.

    The result has an encoding of its own, because the constant may lie outside the range of the input.

    Attributes:
        value: of the padding.
        places: extents of the padding, and the axes if they are given.
        attributes: of the operator.
    """

    joins: ClassVar[bool] = True

    value: float
    places: tuple[np.ndarray, ...]
    attributes: Mapping[str, AttributeValue]

    @property
    def tie(self) -> ScaleTie | None:
        """The input becomes codes of the result."""
        return EqualScales()

    def assemble(self, assembly: Assembly) -> list[Operation]:
        """Bring the input to the encoding of the result, and pad with the code nearest to the constant."""
        codes, operations = assembly.recoded(self, self.inputs[0])
        output = assembly.output_edge(self)
        code = np.clip(np.rint(self.value / output.scale) + output.zero_point, output.low, output.high)
        extents, *axes = self.places
        move = Move(
            name=self.name,
            op_type=self.op_type,
            operands=(codes, extents, np.array(code, np.uint8), *axes),
            outputs=(assembly.codes(self.outputs[0]),),
            attributes=self.attributes,
        )
        return [*operations, move]


@operators.register("pad")
def recognise(node: ir.Node, context: Context) -> PadStep | None:
    """Recognise a Pad whose constant is finite and whose extents are known."""
    if not is_op(node, "Pad") or role(node, context.layers) is not Role.FLOAT:
        return None
    value, extents, axes = (
        constant(node.inputs[index]) if len(node.inputs) > index else None for index in (2, 1, 3)
    )
    known_axes = axes is not None or len(node.inputs) < 4 or node.inputs[3] is None
    if value is None or extents is None or not known_axes or not np.isfinite(value).all():
        return None
    if not context.is_coded(node.inputs[0]):
        return None
    step = PadStep(
        **names_of(node, node.inputs[:1]),
        value=float(value.reshape(())),
        places=(extents,) if axes is None else (extents, axes),
        attributes=plain_attributes(node),
    )
    return context.own(step, node.outputs[0])
