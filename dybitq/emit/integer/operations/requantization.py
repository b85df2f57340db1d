"""The same values in other codes: QLinearConcat of one operand, which rescales it, or a requantization."""

from dybitq.emit.integer.explicit import centred, requantized
from dybitq.emit.integer.fast import joined_codes
from dybitq.emit.integer.graph import IntegerGraph
from dybitq.emit.integer.writers import Writers, operations
from dybitq.records.integer_network import Concatenation, Requantization


def fast(graph: IntegerGraph, operation: Requantization) -> None:
    """Write a QLinearConcat of one operand."""
    joined_codes(
        graph,
        Concatenation(
            name=operation.name,
            inputs=(operation.input,),
            output=operation.output,
            zeros=(operation.input_zero,),
            requantize=(operation.requantize,),
            axis=0,
        ),
    )


def explicit(graph: IntegerGraph, operation: Requantization) -> None:
    """Centre the codes, and rescale them."""
    value = requantized(graph, centred(graph, operation.input, operation.input_zero), operation.requantize, 0)
    graph.put_codes(operation.output, value, label=operation.name)


operations.register(Requantization.kind)(Writers(fast=fast, explicit=explicit))
