"""Half-precision models compute in float32; the types of their inputs and outputs stay.

The int8 kernels of onnxruntime read float32, and calibration and fitting are defined on it. Casts stand
at the borders: ``x`` stays float16 and feeds ``Cast -> x_float32``.
"""

import numpy as np
import onnx_ir as ir

from dybitq.graph.values import Namer

_HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")


def widen_float16(model: ir.Model) -> tuple[str, ...]:
    """Convert float16 and bfloat16 tensors, types and attributes to float32 everywhere inside."""
    namer = Namer(model)
    borders = [*_cast_inputs(model, namer), *_cast_outputs(model, namer)]
    graphs = (model.graph, *model.graph.subgraphs())
    tensors = sum(_widen_initializers(graph) for graph in graphs)
    nodes = (n for n in ir.traversal.RecursiveGraphIterator(model.graph) if n not in borders)
    changed = tensors + sum(_widen_node(node) for node in nodes)
    for graph in graphs[1:]:
        for value in graph.inputs:
            _widen_type(value)
    if not changed and not borders:
        return ()
    kept = f"; {len(borders)} inputs and outputs of the model keep their type" if borders else ""
    return (f"half precision is computed in float32 ({tensors} tensors widened{kept})",)


def _widen_type(value: ir.Value) -> bool:
    if value.dtype in _HALF:
        value.type = ir.TensorType(ir.DataType.FLOAT)  # a new one: values may share theirs
        return True
    return False


def _widen_initializers(graph: ir.Graph) -> int:
    inputs = set(graph.inputs)
    count = 0
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype in _HALF and value not in inputs:
            value.const_value = ir.Tensor(tensor.numpy().astype(np.float32), name=value.name)
            value.type = ir.TensorType(ir.DataType.FLOAT)
            count += 1
    return count


def _widen_node(node: ir.Node) -> int:
    changed = sum(_widen_type(value) for value in node.outputs)
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in _HALF:
            wide = attribute.as_tensor().numpy().astype(np.float32)
            node.attributes[name] = ir.AttrTensor(name, ir.Tensor(wide))
            changed += 1
        elif name in _TYPE_ATTRIBUTES and attribute.value in (int(kind) for kind in _HALF):
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT))
            changed += 1
    return changed


def _cast_inputs(model: ir.Model, namer: Namer) -> list[ir.Node]:
    casts = []
    for value in model.graph.inputs:
        if value.dtype in _HALF and value.uses():
            cast = namer.node("Cast", [value], {"to": int(ir.DataType.FLOAT)}, base=f"{value.name}_float32")
            wide = cast.outputs[0]
            wide.type, wide.shape = ir.TensorType(ir.DataType.FLOAT), value.shape
            for usage in tuple(value.uses()):
                if usage.node is not cast:
                    usage.node.replace_input_with(usage.idx, wide)
            model.graph.insert_before(model.graph[0], cast)
            casts.append(cast)
    return casts


def _cast_outputs(model: ir.Model, namer: Namer) -> list[ir.Node]:
    casts = []
    for index, value in enumerate(model.graph.outputs):
        if value.dtype in _HALF and value.producer() is not None:
            cast = namer.node(
                "Cast", [value], {"to": int(value.dtype)}, base=f"{value.name}_float32", like=value
            )
            narrow = cast.outputs[0]
            narrow.shape = value.shape
            model.graph.append(cast)
            model.graph.outputs[index] = narrow
            value.name, narrow.name = narrow.name, value.name
            casts.append(cast)
    return casts
