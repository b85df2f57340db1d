"""Facts about the tensors of a network for fitting, without access to its graph."""

from collections.abc import Container

import numpy as np
import onnx_ir as ir

from dybitq.graph.load import Network
from dybitq.graph.operators import Role, clamp_bounds, role
from dybitq.graph.pointwise import Response, response_of
from dybitq.graph.values import is_op, require_constant, values_by_name


class Tensors:
    """The named tensors of one network."""

    def __init__(self, network: Network) -> None:
        self._values = values_by_name(network.model)

    def array(self, name: str) -> np.ndarray:
        """Return the initializer called ``name`` as float32."""
        return np.asarray(require_constant(self._values[name]), np.float32)

    def is_graph_input(self, name: str) -> bool:
        """Tell if the tensor is an input of the network."""
        return self._values[name].is_graph_input()

    def clamp(self, name: str) -> tuple[float, float] | None:
        """Return the bounds of the Relu or Clip that produces the tensor; None for any other producer."""
        producer = self._values[name].producer()
        if producer is None or producer.op_type not in ("Relu", "Clip"):
            return None
        return clamp_bounds(producer)

    def response(self, name: str) -> Response | None:
        """Return the elementwise function that all readers of the tensor together compute, if any."""
        return response_of(self._values[name])

    def concatenated(self, name: str) -> tuple[str, ...]:
        """Return the tensors that a Concat joins into ``name``; none for any other producer."""
        node = self._values[name].producer()
        if not is_op(node, "Concat") or node is None:
            return ()
        return tuple(value.name or "" for value in node.inputs if value is not None)

    def coded_root(self, name: str, coded: Container[str]) -> str | None:
        """Find the tensor in ``coded`` whose codes reach ``name`` through operators that only move them."""
        current: ir.Value | None = self._values[name]
        while current is not None and current.name not in coded:
            node = current.producer()
            moved = node is not None and role(node, {}) in (Role.CODES, Role.CLAMP)
            current = node.inputs[0] if node is not None and moved else None
        return None if current is None else current.name
