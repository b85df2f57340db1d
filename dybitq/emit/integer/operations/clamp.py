"""Clamps, the same in both flavours."""

import numpy as np

from dybitq.emit.integer.graph import IntegerGraph
from dybitq.emit.integer.writers import Writers, operations
from dybitq.records.integer_network import Clamp


def write(graph: IntegerGraph, operation: Clamp) -> None:
    """Write a Clip of codes."""
    source = graph.get(operation.input)
    bounds = [graph.scalar(b, np.uint8) for b in (operation.low, operation.high)]
    graph.put_codes(operation.output, graph.node("Clip", [source, *bounds], label=operation.name))


operations.register(Clamp.kind)(Writers(fast=write, explicit=write))
