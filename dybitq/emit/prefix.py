"""The first part of a quantized network, up to one tensor: what the next layer will be fed."""

from collections.abc import Mapping

import onnx_ir as ir

from dybitq.emit.emit import emit
from dybitq.graph.export import to_bytes
from dybitq.graph.load import Network
from dybitq.records import Fitted, LayerWork, Plan


def prefix(
    network: Network, layers: Mapping[str, LayerWork], plan: Plan, fitted: Fitted, tensor: str
) -> bytes:
    """The emitted model cut off behind ``tensor``, as bytes.

    Layers without fitted arrays stay in float, so ``fitted`` may hold the first few layers only.
    """
    model = emit(network, layers, plan, fitted)
    names = [value.name for value in model.graph.inputs if value.name]
    graph = ir.convenience.extract(model.graph, names, [tensor])
    for output in graph.outputs:
        output.type = ir.TensorType(ir.DataType.FLOAT)
    part = ir.Model(graph, ir_version=model.ir_version, functions=list(model.functions.values()))
    return to_bytes(part)
