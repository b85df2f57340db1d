"""An integer network to an ONNX model, in one of two flavours of the same arithmetic."""

import onnx_ir as ir

from dybitq.emit.builder import remove_unused
from dybitq.emit.integer.graph import IntegerGraph
from dybitq.emit.integer.writers import operations
from dybitq.graph.load import Network
from dybitq.records.arithmetic import INTEGER_FAST
from dybitq.records.integer_network import IntegerNetwork


def emit_integer(network: Network, integers: IntegerNetwork, arithmetic: str) -> ir.Model:
    """Write ``integers`` as a model with the inputs and outputs of ``network``.

    Args:
        network: the float network, for its inputs and outputs and the operators that stay in float.
        integers: the same in integers.
        arithmetic: ``integer-fast`` or ``integer-explicit``.
    """
    graph = IntegerGraph(network, integers)
    for operation in integers.operations:
        writers = operations.get(operation.kind)
        write = writers.fast if arithmetic == INTEGER_FAST else writers.explicit
        write(graph, operation)
    model = graph.finish()
    remove_unused(model)
    return model
