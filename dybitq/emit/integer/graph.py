"""A graph under construction from an integer network: values by the names that the network uses."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from dybitq.emit.builder import Attribute, Builder
from dybitq.graph import keys
from dybitq.graph.load import Network
from dybitq.graph.values import nodes_by_name
from dybitq.records.integer_network import IntegerNetwork, outputs_of

_IR_VERSION = 10  # node metadata came with it
CONTRIB = "com.microsoft"


class IntegerGraph:
    """A new graph with the inputs of the float network, and the nodes written into it so far.

    Nodes stand in the order in which they are made. Beside codes stands what one step of them is worth.
    """

    def __init__(self, network: Network, integers: IntegerNetwork) -> None:
        source = network.model
        self.source = source
        self._nodes = nodes_by_name(source)
        self._scales = integers.scales
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
        """Return the value called ``name``; initializers of the float network are taken over on demand."""
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
        """Return a scalar constant that equal ones share."""
        return self.builder.constant(np.array(number, dtype), "c")

    def array(self, array: np.ndarray) -> ir.Value:
        """Return a constant that equal ones share."""
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

    def original(self, name: str) -> ir.Node:
        """Return the operator of the float network called ``name``."""
        return self._nodes[name]

    def put_codes(self, name: str, codes: ir.Value, *, label: str = "") -> None:
        """Call uint8 ``codes`` by ``name``; ``label`` names the node that makes them."""
        codes.type = ir.TensorType(ir.DataType.UINT8)
        node = codes.producer()
        if label and node is not None:
            node.name = label
        if name in self._scales and node is not None:
            node.metadata_props[keys.STEP] = f"{self._scales[name]:.9g}"
        self.put(name, codes)

    def clipped(self, codes: ir.Value, low: int, high: int) -> ir.Value:
        """Codes clamped to ``low .. high``, by a Clip unless they cannot be outside."""
        if low <= 0 and high >= 255:
            return codes
        bounds = [self.scalar(b, np.uint8) for b in (low, high)]
        return self.node("Clip", [codes, *bounds])

    def finish(self) -> ir.Model:
        """Declare the outputs, and return the model."""
        for value in self.source.graph.outputs:
            made = self.get(str(value.name))
            made.shape, made.type = value.shape, value.type
            self.model.graph.outputs.append(made)
        return self.model
