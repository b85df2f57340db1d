"""A graph under construction from an integer network: values by the names that the network uses."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from dybitq.emit.builder import Attribute, Builder
from dybitq.graph.load import Network
from dybitq.graph.values import nodes_by_name
from dybitq.records.integer_network import IntegerNetwork, Move, Other, outputs_of

_IR_VERSION = 10  # node metadata came with it
CONTRIB = "com.microsoft"


class Canvas:
    """A new graph with the inputs of the float network, and what has been written into it so far.

    Nodes stand in the order in which they are made.
    """

    def __init__(self, network: Network, integers: IntegerNetwork) -> None:
        source = network.model
        self.source = source
        self._nodes = nodes_by_name(source)
        inputs = [
            ir.Value(name=value.name, shape=value.shape, type=value.type)
            for value in source.graph.inputs
            if value.const_value is None
        ]
        opsets: dict[str, int] = {"": source.graph.opset_imports[""]}
        graph = ir.Graph(inputs, [], nodes=[], opset_imports=opsets, name=source.graph.name)
        self.model = ir.Model(graph, ir_version=max(source.ir_version, _IR_VERSION))
        self.builder = Builder(self.model)
        self.builder.reserve(integers.constants)
        self.builder.reserve(source.graph.initializers)  # operators in float take theirs over by name
        self.builder.reserve(name for operation in integers.operations for name in outputs_of(operation))
        self._values: dict[str, ir.Value] = {str(value.name): value for value in inputs}
        for name, codes in integers.constants.items():
            value = ir.val(name, const_value=ir.tensor(codes, name=name))
            graph.register_initializer(value)
            self._values[name] = value

    def get(self, name: str) -> ir.Value:
        """The value called ``name``; initializers of the float network are taken over when asked for."""
        if name not in self._values:
            initializer = self.source.graph.initializers[name]
            assert initializer.const_value is not None
            value = ir.val(name, const_value=initializer.const_value)
            self.model.graph.register_initializer(value)
            self._values[name] = value
        return self._values[name]

    def put(self, name: str, value: ir.Value) -> None:
        """Call ``value`` by ``name`` from now on."""
        value.name = name
        self._values[name] = value

    def scalar(self, number: float, dtype: type[np.generic]) -> ir.Value:
        """A shared scalar constant."""
        return self.builder.constant(np.array(number, dtype), "c")

    def array(self, array: np.ndarray) -> ir.Value:
        """A shared constant."""
        return self.builder.constant(array, "k")

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        *,
        attributes: Mapping[str, Attribute] | None = None,
        domain: str = "",
        label: str = "",
    ) -> ir.Value:
        """Append a node with one output; ``label`` becomes its name."""
        if domain:
            self.model.graph.opset_imports.setdefault(domain, 1)
        value = self.builder.node(op_type, inputs, output="t", attributes=attributes, domain=domain)
        node = value.producer()
        assert node is not None
        node.name = label
        return value

    def move(self, operation: Move) -> None:
        """Append an operator that runs on codes as it stands."""
        operands = [
            self.get(o) if isinstance(o, str) else None if o is None else self.array(o)
            for o in operation.operands
        ]
        node = ir.node(
            operation.op_type, operands, dict(operation.attributes), num_outputs=len(operation.outputs)
        )
        node.name = operation.name
        self.builder.append(node)
        for name, value in zip(operation.outputs, node.outputs, strict=True):
            self.put(name, value)

    def other(self, operation: Other) -> None:
        """Append an operator of the float network as it stands there."""
        original = self._nodes[operation.name]
        read = iter(operation.inputs)
        operands = []
        for value in original.inputs:
            constant = value is not None and value.const_value is not None and not value.is_graph_input()
            operands.append(None if value is None else self.get(str(value.name) if constant else next(read)))
        node = ir.Node(
            original.domain,
            original.op_type,
            operands,
            list(original.attributes.values()),
            num_outputs=len(original.outputs),
            name=operation.name,
        )
        self.builder.append(node)
        for value, made in zip(original.outputs, node.outputs, strict=True):
            if value.name:
                made.type = value.type
                self.put(value.name, made)

    def finish(self) -> ir.Model:
        """Declare the outputs, and return the model."""
        for value in self.source.graph.outputs:
            made = self.get(str(value.name))
            made.shape, made.type = value.shape, value.type
            self.model.graph.outputs.append(made)
        return self.model
