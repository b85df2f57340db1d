"""Tensors that an ONNX file holds, in all its graphs and functions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from dybitq.graph.stored.storage import type_name
from dybitq.graph.values import is_op


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """One tensor that a file holds.

    Attributes:
        name: of the initializer; constants in functions are called ``<function>/<value>``.
        element_type: in numpy's spelling (``float32``, ``uint8``, ``int4``).
        shape: static.
        size_bytes: bytes of its data in the file.
        layer: the first layer that uses it for its weight or bias; None for all others.
    """

    name: str
    element_type: str
    shape: tuple[int, ...]
    size_bytes: int
    layer: str | None


def stored_tensors(model: ir.Model, users: Mapping[str, str]) -> tuple[StoredTensor, ...]:
    """List initializers and Constant nodes of the graph, then those of its subgraphs and functions.

    Args:
        model: exactly as read.
        users: layer by the name of an initializer of the main graph.
    """
    tensors = []
    for prefix, graph in _graphs(model):
        for name, tensor in _held(graph):
            tensors.append(
                StoredTensor(
                    name=prefix + name,
                    element_type=type_name(tensor.dtype),
                    shape=tuple(tensor.shape.numpy()),
                    size_bytes=tensor.nbytes,
                    layer=None if prefix else users.get(name),
                )
            )
    return tuple(tensors)


def _held(graph: ir.Graph) -> Iterator[tuple[str, ir.TensorProtocol]]:
    for name, value in graph.initializers.items():
        if value.const_value is not None:
            yield name, value.const_value
    for node in graph:
        if is_op(node, "Constant") and "value" in node.attributes:
            yield node.outputs[0].name or "", node.attributes["value"].as_tensor()


def _graphs(model: ir.Model) -> Iterator[tuple[str, ir.Graph]]:
    yield "", model.graph
    for graph in model.graph.subgraphs():
        yield f"{graph.name}/", graph
    for function in model.functions.values():
        yield f"{function.name}/", function.graph
