"""Constant nodes of the main graph become initializers."""

import numpy as np
import onnx_ir as ir

from dybitq.graph.values import is_op


def lift_constants(model: ir.Model) -> tuple[str, ...]:
    """Turn Constant nodes into initializers of the same name; one that is a graph output stays."""
    graph = model.graph
    for node in list(graph):
        if not is_op(node, "Constant") or len(node.attributes) != 1:
            continue
        value = node.outputs[0]
        tensor = _tensor_of(next(iter(node.attributes.values())))
        if tensor is None or value.is_graph_output():
            continue
        name = value.name or ""
        tensor.name = name
        lifted = ir.val(name, const_value=tensor)
        value.replace_all_uses_with(lifted)
        graph.remove(node, safe=True)
        graph.register_initializer(lifted)
    return ()


def _tensor_of(attribute: ir.Attr) -> ir.TensorProtocol | None:
    """Return the tensor of a Constant's one attribute, or None for strings and sparse tensors."""
    match attribute.name:
        case "value":
            return attribute.as_tensor()
        case "value_float":
            return ir.Tensor(np.array(attribute.as_float(), np.float32))
        case "value_floats":
            return ir.Tensor(np.array(attribute.as_floats(), np.float32))
        case "value_int":
            return ir.Tensor(np.array(attribute.as_int(), np.int64))
        case "value_ints":
            return ir.Tensor(np.array(attribute.as_ints(), np.int64))
    return None
