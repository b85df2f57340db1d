"""Steps at the boundary of the integers: the quantizer, and operators that stay as they are."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dybitq.integer.step import Encoding, IntegerStep
from dybitq.records.integer_network import Operation, Other, Quantize

if TYPE_CHECKING:
    from dybitq.integer.assembly import Assembly


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantizeStep(IntegerStep):
    """Float tensor to codes."""

    recodable: ClassVar[bool] = False
    any_width: ClassVar[bool] = True

    def assemble(self, assembly: "Assembly") -> list[Operation]:
        """Quantize the tensor once, in float32."""
        name, edge = self.inputs[0], assembly.input_edge(self)
        assembly.note_float(name)
        return [
            Quantize(
                name=f"{name}/quantize",
                input=name,
                output=assembly.codes(name),
                scale=edge.scale,
                zero_point=edge.zero_point,
                low=edge.low,
                high=edge.high,
            )
        ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShapeStep(IntegerStep):
    """Arithmetic on shapes, which no activation value enters."""

    encoding: ClassVar[Encoding] = Encoding.NONE

    def assemble(self, assembly: "Assembly") -> list[Operation]:
        """Keep the operator; a shape can be taken of codes as well."""
        return [_kept(self, tuple(assembly.either(name) for name in self.inputs))]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FloatStep(IntegerStep):
    """An operator that stays in float.

    Attributes:
        reason: why it does.
    """

    encoding: ClassVar[Encoding] = Encoding.NONE

    reason: str

    def assemble(self, assembly: "Assembly") -> list[Operation]:
        """Keep the operator, on float tensors."""
        return [_kept(self, tuple(assembly.in_float(name) for name in self.inputs), self.reason)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TailStep(IntegerStep):
    """An operator that moves values after the output's dequantizer."""

    encoding: ClassVar[Encoding] = Encoding.NONE

    def assemble(self, assembly: "Assembly") -> list[Operation]:
        """Keep the operator, on float tensors."""
        return [_kept(self, tuple(assembly.in_float(name) for name in self.inputs))]


def _kept(step: IntegerStep, inputs: tuple[str, ...], reason: str = "") -> Other:
    return Other(name=step.name, op_type=step.op_type, inputs=inputs, outputs=step.outputs, reason=reason)
