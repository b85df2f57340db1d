"""Damage that protobuf does not notice: nodes, tensors and values that contradict themselves or each other.

A flipped byte in a model file usually still parses. Whatever is found here would end in a failure inside
onnxruntime, or in numpy, with a message about something else.
"""

from collections.abc import Iterator
from typing import Any

import onnx
import onnx_ir as ir
from onnx.onnx_cpp2py_export import checker as native

from dybitq.errors import ModelError


def check_text(message: Any) -> None:
    """Every name and text of a protobuf message is UTF-8; protobuf hands over anything else as bytes.

    Raises:
        ModelError: shows the text and says where it is.
    """
    for field, content in message.ListFields():
        if field.type == field.TYPE_STRING:
            texts = (content,) if isinstance(content, str | bytes) else content
            wrong = next((text for text in texts if not isinstance(text, str)), None)
            if wrong is not None:
                where = f"{message.DESCRIPTOR.name}.{field.name}"
                raise ModelError(f"the file is damaged: {where} {wrong!r} is no text")
        elif field.type == field.TYPE_MESSAGE and field.message_type.name != "TensorProto":
            for inner in (content,) if hasattr(content, "ListFields") else content:
                check_text(inner)


def check_nodes(proto: onnx.ModelProto) -> None:
    """Every node of a known ONNX operator has the inputs, outputs and attributes of its schema.

    Raises:
        ModelError: names the node and says what is wrong with it.
    """
    context = native.CheckerContext()
    context.ir_version = proto.ir_version
    context.opset_imports = {entry.domain: entry.version for entry in proto.opset_import}
    for node in _nodes(proto.graph):
        known = node.domain in ("", "ai.onnx") and onnx.defs.has(node.op_type, "")
        if not known or any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            continue
        try:
            onnx.checker.check_node(node, context)
        except onnx.checker.ValidationError as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"node {node.name or node.op_type!r} is damaged: {reason}") from error


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _nodes(inner)


def check_tensors(model: ir.Model) -> None:
    """Every initializer has a known type and as much data as its shape asks for.

    Raises:
        ModelError: names the tensor.
    """
    for graph in (model.graph, *model.graph.subgraphs()):
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if isinstance(tensor, ir.TensorProtoTensor):
                _check_tensor(name, tensor)


def _check_tensor(name: str, tensor: ir.TensorProtoTensor) -> None:
    proto = tensor.raw
    shape = list(proto.dims)
    if tensor.dtype == ir.DataType.UNDEFINED or any(extent < 0 for extent in shape):
        raise ModelError(f"tensor {name!r} is damaged: type {tensor.dtype.name}, shape {shape}")
    if tensor.dtype == ir.DataType.STRING:
        return
    if proto.HasField("raw_data"):
        if len(proto.raw_data) != tensor.nbytes:
            raise ModelError(
                f"tensor {name!r} is damaged: {tensor.dtype.name} {shape} takes {tensor.nbytes} bytes, "
                f"but {len(proto.raw_data)} are stored"
            )
        return
    try:
        tensor.numpy()
    except (ValueError, TypeError) as error:
        raise ModelError(f"tensor {name!r} is damaged: {tensor.dtype.name} {shape}: {error}") from error


def check_values(model: ir.Model) -> None:
    """Every value has one source, which the node that reads it can see, and inputs have a type.

    Raises:
        ModelError: names the value and the node.
    """
    _check_graph(model.graph, frozenset())
    for value in model.graph.inputs:
        if value.type is None or value.type.dtype == ir.DataType.UNDEFINED:
            raise ModelError(f"input {value.name!r} has no element type")


def _check_graph(graph: ir.Graph, outside: frozenset[ir.Value]) -> None:
    own: dict[str, ir.Value] = {}
    stored = [*graph.inputs, *graph.initializers.values()]
    for value in (*stored, *(value for node in graph for value in node.outputs)):
        if value.name and own.setdefault(value.name, value) is not value:
            raise ModelError(f"value {value.name!r} has two sources")
    visible = outside | set(own.values())
    for node in graph:
        missing = next((v for v in node.inputs if v is not None and v not in visible), None)
        if missing is not None:
            raise ModelError(
                f"node {node.name or node.op_type!r} reads {missing.name!r}, which no input, initializer "
                "or node provides"
            )
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                _check_graph(attribute.as_graph(), visible)
            elif attribute.type == ir.AttributeType.GRAPHS:
                for inner in attribute.as_graphs():
                    _check_graph(inner, visible)
    for value in graph.outputs:
        if value not in visible:
            raise ModelError(f"output {value.name!r} is produced by no node")
