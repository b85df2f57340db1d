"""A function of one value, be it one operator or several: a table of 256 codes."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from dybitq.graph.pointwise import Response
from dybitq.graph.values import is_op
from dybitq.integer.assembly import Assembly
from dybitq.integer.context import Context, names_of
from dybitq.integer.step import IntegerStep
from dybitq.records.integer_network import Lookup, Operation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LookupStep(IntegerStep):
    """Table of a function.

    Attributes:
        function: of one value.
    """

    function: Response

    @property
    def response(self) -> Response | None:
        """The function."""
        return self.function

    def assemble(self, assembly: Assembly) -> list[Operation]:
        """Tabulate the output code of every input code, rounded half to even."""
        source, output = assembly.input_edge(self), assembly.output_edge(self)
        values = self.function((np.arange(256) - source.zero_point) * np.float64(source.scale))
        limit = 512.0 * output.scale
        steps = np.rint(np.nan_to_num(values, nan=0.0, posinf=limit, neginf=-limit) / output.scale)
        return [
            Lookup(
                name=self.name,
                input=assembly.codes(self.inputs[0]),
                output=assembly.codes(self.outputs[0]),
                table=np.clip(steps + output.zero_point, output.low, output.high).astype(np.uint8),
            )
        ]


def recognise(node: ir.Node, context: Context) -> LookupStep | None:
    """Recognise the last node of a stretch of elementwise operators; a Relu or Clip alone is a clamp."""
    group = context.groups.get(str(node.outputs[0].name))
    if group is None or not context.is_coded(group.source):
        return None
    if len(group.nodes) == 1 and is_op(node, "Relu", "Clip"):
        return None
    output = str(group.output.name)
    context.roots[output] = output
    return LookupStep(
        **names_of(group.nodes[-1], [group.source], outputs=(output,)), function=group.function()
    )
