"""A stored graph while it is read as an integer network: who writes what, who reads it, what is constant."""

from collections import Counter

import numpy as np

from dybitq.encodings import codec, formats
from dybitq.errors import ConfigError
from dybitq.graph import keys
from dybitq.graph.stored.plain import PlainGraph, PlainNode
from dybitq.records.formats import NumberFormat
from dybitq.records.integer_network import Operation, Weight

_ALL_INT8 = NumberFormat(
    name="int8",
    family="int",
    bits=8,
    signed=True,
    table=np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64),
)


class Reading:
    """Looks up nodes and constants, and collects the operations found.

    Attributes:
        graph: outer form of a stored model.
        found: operation by the name of the tensor that it writes, in the order of the graph.
        covered: outputs of nodes that an operation takes in.
    """

    def __init__(self, graph: PlainGraph) -> None:
        self.graph = graph
        self.found: dict[str, Operation] = {}
        self.covered: set[str] = set()
        self._producers = {name: node for node in graph.nodes for name in node.outputs if name}
        self._uses = Counter(name for node in graph.nodes for name in node.inputs if name)
        self._uses.update(graph.outputs)

    def producer(self, name: str, *op_types: str) -> PlainNode | None:
        """Return the node that writes ``name`` if it is one of ``op_types`` and the tensor has one reader."""
        node = self._producers.get(name)
        if node is None or node.op_type not in op_types or self._uses[name] != 1:
            return None
        return node

    def source(self, name: str, op_type: str) -> PlainNode | None:
        """Return the node that writes ``name`` if it is an ``op_type``, whatever else reads the tensor."""
        node = self._producers.get(name)
        return node if node is not None and node.op_type == op_type else None

    def array(self, name: str) -> np.ndarray | None:
        """Return a constant, or None for what is computed."""
        return self.graph.constants.get(name)

    def number(self, name: str) -> int | None:
        """Return a constant of one element as an integer."""
        array = self.array(name)
        return None if array is None or array.size != 1 else int(array.reshape(()))

    def cover(self, *nodes: PlainNode) -> None:
        """Note that these nodes are part of an operation found."""
        for node in nodes:
            self.covered.update(node.outputs)

    def constant_operand(self, node: PlainNode) -> tuple[str, np.ndarray] | None:
        """Return the variable operand of a binary operator and its constant one; None if both vary."""
        left, right = node.inputs
        if self.array(right) is not None:
            return left, self.graph.constants[right]
        if self.array(left) is not None:
            return right, self.graph.constants[left]
        return None


def weight_of(node: PlainNode, integers: np.ndarray) -> Weight:
    """Codes behind the integers of a weight, in the format that the node names (int8 if it names none)."""
    fmt = _format(node, integers)
    levels, codes = codec.levels(fmt)
    place = np.clip(np.searchsorted(levels, integers), 0, len(levels) - 1)
    if not np.array_equal(levels[place], integers):  # somebody else's weights, -128 among them
        return Weight(format=_ALL_INT8, codes=integers.astype(np.int8).view(np.uint8))
    return Weight(format=fmt, codes=codes[place])


def _format(node: PlainNode, integers: np.ndarray) -> NumberFormat:
    try:
        return formats.get(node.metadata.get(keys.WEIGHTS, "int8"))
    except ConfigError:  # a format of another version: its integers are what counts
        return formats.get("int8")
