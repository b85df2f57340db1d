"""GlobalAveragePool: a sum over space, with the reciprocal of the count in the factor."""

from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx_ir as ir

from dybitq.graph.values import is_op, rank_of, shape_of
from dybitq.integer.assembly import Assembly
from dybitq.integer.context import Context, names_of, operators
from dybitq.integer.factors import requantize_tied
from dybitq.integer.step import IntegerStep, MeanScale, ScaleTie
from dybitq.records.integer_network import Mean, Operation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeanStep(IntegerStep):
    """Mean over space.

    Attributes:
        count: number of values that it averages.
        axes: of the space.
        wide: whether the result stays an int32 sum.
    """

    count: int
    axes: tuple[int, ...]
    wide: bool = False

    @property
    def tie(self) -> ScaleTie | None:
        """The result's scale is divided by the count."""
        return MeanScale(count=self.count)

    def as_sum(self) -> IntegerStep | None:
        """Return the step that leaves the sum as it is."""
        return replace(self, wide=True)

    def sum_unit(self, assembly: Assembly) -> np.ndarray:
        """Value of one unit of the sum."""
        return np.array([assembly.input_edge(self).scale / self.count])

    def assemble(self, assembly: Assembly) -> list[Operation]:
        """Sum up, and rescale unless the sum is the result."""
        source, target = assembly.input_edge(self), None
        if not self.wide:
            output = assembly.output_edge(self)
            factor = source.scale / (output.scale * self.count)
            target, relative = requantize_tied(self.name, factor, output, assembly.options)
            assembly.relative[self.outputs[0]] = relative
        return [
            Mean(
                name=self.name,
                input=assembly.codes(self.inputs[0]),
                output=assembly.codes(self.outputs[0]),
                input_zero=source.zero_point,
                axes=self.axes,
                count=self.count,
                requantize=target,
            )
        ]


@operators.register("mean")
def recognise(node: ir.Node, context: Context) -> MeanStep | None:
    """Recognise a GlobalAveragePool over a space of known extents."""
    count = mean_count(node) if is_op(node, "GlobalAveragePool") else None
    if count is None or context.coded_channels(node) is None:
        return None
    axes = tuple(range(2, rank_of(node.inputs[0]) or 0))
    step = MeanStep(**names_of(node, node.inputs[:1]), count=count, axes=axes)
    return context.own(step, node.outputs[0])


def mean_count(node: ir.Node) -> int | None:
    """Return how many values a pooling over all of the space averages; None where that is not known."""
    shape = shape_of(node.inputs[0])
    if shape is None or len(shape) < 3:
        return None
    space = [extent for extent in shape[2:] if extent is not None]
    return prod(space) if len(space) == len(shape) - 2 else None
