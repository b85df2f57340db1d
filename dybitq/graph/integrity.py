"""Checks for damage that protobuf does not notice: contradictions in nodes, tensors and values.

A file with a flipped byte usually still parses. Without these checks it would fail inside onnxruntime or
numpy, with a message about something else.
"""

from collections.abc import Iterator
from typing import Any

import onnx
import onnx_ir as ir
from onnx.onnx_cpp2py_export import checker as native

from dybitq.errors import ModelError


def check_text(message: Any) -> None:
    """Check that every text of a protobuf message is UTF-8; protobuf returns any other as bytes.

    Raises:
        ModelError: with the text and its place.
    """
    for field, content in message.ListFields():
        if field.type == field.TYPE_STRING:
            texts = (content,) if isinstance(content, str | bytes) else content
            wrong = next((text for text in texts if not isinstance(text, str)), None)
            if wrong is not None:
                where = f"{message.DESCRIPTOR.name}.{field.name}"
                raise ModelError(
                    f"the file is damaged: {where} {wrong!r} is not a UTF-8 text; export it again"
                )
        elif field.type == field.TYPE_MESSAGE and field.message_type.name != "TensorProto":
            for inner in (content,) if hasattr(content, "ListFields") else content:
                check_text(inner)


def check_nodes(proto: onnx.ModelProto) -> None:
    """Check the inputs, outputs and attributes of every node of a known ONNX operator against its schema.

    Raises:
        ModelError: with the node and the mistake.
    """
    context = native.CheckerContext()
    context.ir_version = proto.ir_version
    context.opset_imports = {entry.domain: entry.version for entry in proto.opset_import}
    opset = context.opset_imports.get("", context.opset_imports.get("ai.onnx", 0))
    for node in _nodes(proto.graph):
        untyped = next((a.name for a in node.attribute if a.type == onnx.AttributeProto.UNDEFINED), None)
        if untyped is not None:
            raise ModelError(
                f"node {node.name or node.op_type!r} is damaged: attribute {untyped!r} has no type"
            )
        has_graph = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
        if has_graph or not _has_schema(node, opset):
            continue
        try:
            onnx.checker.check_node(node, context)
        except onnx.checker.ValidationError as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"node {node.name or node.op_type!r} is damaged: {reason}") from error


def _has_schema(node: onnx.NodeProto, opset: int) -> bool:
    """Tell if the operator is one of ONNX at this opset; others are left to onnxruntime."""
    if node.domain not in ("", "ai.onnx"):
        return False
    try:
        return not onnx.defs.get_schema(node.op_type, opset, "").deprecated
    except onnx.defs.SchemaError:
        return False


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _nodes(inner)


def check_tensors(model: ir.Model) -> None:
    """Check that every stored tensor has a known type and as much data as its shape needs.

    Raises:
        ModelError: names the tensor.
    """
    for name, tensor in all_tensors(model):
        _check_tensor(name, tensor)


def all_tensors(model: ir.Model) -> Iterator[tuple[str, ir.TensorProtocol]]:
    """Yield initializers and tensor attributes of all graphs and functions, with a name for messages."""
    for graph in _graphs(model):
        for name, value in graph.initializers.items():
            if value.const_value is not None:
                yield name, value.const_value
        for node in graph:
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                    yield f"{node.name or node.op_type}.{attribute.name}", attribute.value


def _graphs(model: ir.Model) -> Iterator[ir.Graph]:
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        yield graph
        yield from graph.subgraphs()


def _check_tensor(name: str, tensor: ir.TensorProtocol) -> None:
    shape = list(tensor.shape.numpy())
    if tensor.dtype == ir.DataType.UNDEFINED or any(extent < 0 for extent in shape):
        raise ModelError(f"tensor {name!r} is damaged: type {tensor.dtype.name}, shape {shape}")
    if not isinstance(tensor, ir.TensorProtoTensor):
        return  # external data is checked where its file is
    proto = tensor.raw
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
    """Check that every value that is read has a source in its reader's scope, and that inputs have a type.

    Raises:
        ModelError: names the value and the node.
    """
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        _check_graph(graph, frozenset())
    for value in model.graph.inputs:
        if value.type is None or value.type.dtype == ir.DataType.UNDEFINED:
            raise ModelError(f"the model is damaged: input {value.name!r} has no element type")


def _check_graph(graph: ir.Graph, outside: frozenset[ir.Value]) -> None:
    values = [*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs)]
    visible = outside.union(values)
    for node in graph:
        missing = next((v for v in node.inputs if v is not None and v not in visible), None)
        if missing is not None:
            raise ModelError(
                f"the model is damaged: node {node.name or node.op_type!r} reads {missing.name!r}, which no "
                "input, initializer or node provides"
            )
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                _check_graph(attribute.as_graph(), visible)
            elif attribute.type == ir.AttributeType.GRAPHS:
                for inner in attribute.as_graphs():
                    _check_graph(inner, visible)
    for value in graph.outputs:
        if value not in visible:
            raise ModelError(f"the model is damaged: output {value.name!r} is produced by no node")
