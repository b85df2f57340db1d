"""Tables, the same in both flavours."""

from dybitq.emit.integer.graph import IntegerGraph
from dybitq.emit.integer.writers import Writers, operations
from dybitq.emit.lookup import add_lookup
from dybitq.records.integer_network import Lookup


def write(graph: IntegerGraph, operation: Lookup) -> None:
    """Write a GatherElements of the table by the flattened codes."""
    codes = add_lookup(graph.builder, graph.get(operation.input), operation.table)
    graph.put_codes(operation.output, codes, label=operation.name)


operations.register(Lookup.kind)(Writers(fast=write, explicit=write))
