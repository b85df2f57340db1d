"""Relu and Clip that no other operator takes in: a clamp of the codes."""

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from dybitq.graph.operators import Role, clamp_bounds, role
from dybitq.integer.assembly import Assembly
from dybitq.integer.context import Context, names_of, operators
from dybitq.integer.step import Encoding, IntegerStep
from dybitq.records.integer_network import Clamp, Operation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClampStep(IntegerStep):
    """Clamp to the step's own ``bounds``."""

    encoding: ClassVar[Encoding] = Encoding.CARRIED
    any_width: ClassVar[bool] = True

    def assemble(self, assembly: Assembly) -> list[Operation]:
        """Clamp the codes to those nearest to the bounds."""
        edge = assembly.output_edge(self)
        return [
            Clamp(
                name=self.name,
                input=assembly.codes(self.inputs[0]),
                output=assembly.codes(self.outputs[0]),
                low=edge.low,
                high=edge.high,
            )
        ]


@operators.register("clamp")
def recognise(node: ir.Node, context: Context) -> ClampStep | None:
    """Recognise a Relu, or a Clip with constant bounds."""
    source = node.inputs[0]
    if role(node, context.layers) is not Role.CLAMP or not context.is_coded(source):
        return None
    bounds = clamp_bounds(node)
    assert bounds is not None  # of what the role calls a clamp
    context.bounds[str(node.outputs[0].name)] = bounds
    return context.carried(ClampStep(**names_of(node, [source]), bounds=bounds))
