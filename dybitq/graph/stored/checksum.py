"""Checksum of a written model, by which later changes of its numbers and nodes are found.

A network with a changed weight is as integer as the original, so an examination of the file alone cannot find
the change. The checksum is a hash of every initializer, and one of the nodes, functions, inputs and outputs.
It finds damage and edits; it is no signature, since an editor of the file can write a new one. Loading and
saving a model without changes keeps the checksum valid.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from dybitq.graph import keys

_TENSOR_DIGITS = 8  # enough to name what was changed
_GRAPH_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference from what was written.

    Attributes:
        operator: name of the operator that reads the initializer; empty for differences of the graph.
        problem: a sentence.
    """

    operator: str
    problem: str


def write_checksum(model: ir.Model) -> None:
    """Write the checksum into the metadata of a finished model."""
    model.metadata_props[keys.CHECKSUM] = json.dumps(_hashes(model), separators=(",", ":"), sort_keys=True)


def changes(model: ir.Model) -> tuple[Change, ...]:
    """List differences from the checksum; none for a model without one.

    Args:
        model: exactly as stored.
    """
    written = model.metadata_props.get(keys.CHECKSUM)
    if written is None:
        return ()
    try:
        expected = json.loads(written)
        tensors, graph = dict(expected["tensors"]), str(expected["graph"])
    except (ValueError, TypeError, KeyError):
        return (Change(operator="", problem=f"the metadata {keys.CHECKSUM!r} cannot be read"),)
    present = _hashes(model)
    assert isinstance(present["tensors"], dict)
    names = sorted(tensors.keys() | present["tensors"].keys())
    differing = [name for name in names if tensors.get(name) != present["tensors"].get(name)]
    readers = {name: _reader(model, name) for name in differing}
    result = [
        Change(operator=readers[name], problem=f"initializer {name!r} is not what dybitq wrote")
        for name in differing
    ]
    if graph != present["graph"]:
        result.append(Change(operator="", problem="nodes, inputs or outputs are not what dybitq wrote"))
    return tuple(result)


def _hashes(model: ir.Model) -> dict[str, str | dict[str, str]]:
    tensors = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None:
            head = f"{tensor.dtype.name} {list(tensor.shape.numpy())} ".encode()
            tensors[name] = hashlib.sha256(head + tensor.tobytes()).hexdigest()[:_TENSOR_DIGITS]
    digest = hashlib.sha256()
    for part in _graph_parts(model):
        digest.update(f"{len(part)} ".encode() + part)
    return {"graph": digest.hexdigest()[:_GRAPH_DIGITS], "tensors": tensors}


def _graph_parts(model: ir.Model) -> Iterator[bytes]:
    yield repr(sorted(model.graph.opset_imports.items())).encode()
    for value in (*model.graph.inputs, *model.graph.outputs):
        yield repr((value.name, str(value.type), None if value.shape is None else str(value.shape))).encode()
    graphs: list[ir.Graph | ir.Function] = [model.graph]
    graphs += [model.functions[key] for key in sorted(model.functions)]
    for graph in graphs:
        yield repr([value.name for value in (*graph.inputs, *graph.outputs)]).encode()
        for node in graph:
            names = [None if value is None else value.name for value in (*node.inputs, *node.outputs)]
            yield repr((node.domain, node.op_type, node.overload, names, len(node.outputs))).encode()
            for name in sorted(node.attributes):
                yield ir.to_proto(node.attributes[name]).SerializeToString(deterministic=True)


def _reader(model: ir.Model, name: str) -> str:
    """Find the operator that reads an initializer, through constant nodes without a name."""
    value = model.graph.initializers.get(name)
    for _ in range(len(model.graph)):
        use = None if value is None else next(iter(value.uses()), None)
        if use is None:
            return ""
        node = use.node
        if node.name:
            return node.name
        value = node.outputs[0]
    return ""
