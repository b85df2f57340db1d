"""Small tools to add nodes and constants to a graph: shared constants, fresh names, places to insert."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from dybitq.graph.values import all_value_names

Attribute = int | float | str | Sequence[int]


class Builder:
    """Adds to one model. Constants with equal content share one initializer."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.graph = model.graph
        self._names = all_value_names(model)
        self._count: Counter[str] = Counter()
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self._head: ir.Node | None = None  # last of the nodes that stand before everything else
        self._first = next(iter(self.graph), None)

    def fresh(self, base: str) -> str:
        """Return a value name that is not taken: ``base`` and a number, short as names are stored often."""
        while True:
            self._count[base] += 1
            name = f"{base}{self._count[base]}"
            if name not in self._names:
                return name

    def reserve(self, names: Iterable[str]) -> None:
        """Never hand out these names: they will be given to values later."""
        self._names.update(names)

    def append(self, node: ir.Node) -> None:
        """Put a node after all that were put at the head; its outputs get names of their own."""
        for value in node.outputs:
            value.name = self.fresh("t")
        self._insert_at_head(node)

    def constant(self, array: np.ndarray, base: str) -> ir.Value:
        """Return an initializer that holds ``array``; an equal one is used again."""
        array = np.asarray(array, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.own_constant(array, base)
        return self._constants[key]

    def own_constant(self, array: np.ndarray, base: str) -> ir.Value:
        """Return an initializer that holds ``array`` and is not shared with another user."""
        name = self.fresh(base)
        value = ir.val(name, const_value=ir.tensor(np.asarray(array, order="C"), name=name))
        self.graph.register_initializer(value)
        return value

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        *,
        output: str,
        attributes: Mapping[str, Attribute] | None = None,
        domain: str = "",
        before: ir.Node | None = None,
        after: ir.Node | None = None,
    ) -> ir.Value:
        """Insert a node with one output before or after a node, or at the head of the graph.

        Nodes put at the head keep the order in which they were put there.
        """
        made = ir.node(op_type, inputs, dict(attributes or {}), domain=domain, num_outputs=1, name="")
        made.outputs[0].name = self.fresh(output)
        if before is not None:
            self.graph.insert_before(before, made)
        elif after is not None:
            self.graph.insert_after(after, made)
            if after is self._head:  # what is put at the head next may read it
                self._head = made
        else:
            self._insert_at_head(made)
        return made.outputs[0]

    def _insert_at_head(self, made: ir.Node) -> None:
        if self._head is not None:
            self.graph.insert_after(self._head, made)
        elif self._first is not None:
            self.graph.insert_before(self._first, made)
        else:
            self.graph.append(made)
        self._head = made

    def stand_in(self, old: ir.Value, new: ir.Value, readers: Sequence[tuple[ir.Node, int]]) -> None:
        """Let ``new`` take the name and the type of ``old``, for ``readers`` and as output of the graph."""
        new.type, new.shape = old.type, old.shape
        for reader, index in readers:
            reader.replace_input_with(index, new)
        for position, output in enumerate(self.graph.outputs):
            if output is old:
                self.graph.outputs[position] = new
        name = old.name
        old.name = self.fresh("f")
        new.name = name

    def add_function(self, function: ir.Function) -> None:
        """Make a model-local function known to the model (once per name)."""
        if function.identifier() not in self.model.functions:
            self.model.functions[function.identifier()] = function
            self.model.graph.opset_imports.setdefault(function.domain, 1)


def remove_unused(model: ir.Model) -> None:
    """Drop nodes whose outputs are not read, then initializers that are not read."""
    graph = model.graph
    for node in reversed(list(graph)):
        if not any(v.uses() or v.is_graph_output() for v in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del graph.initializers[name]
