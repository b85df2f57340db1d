"""Writing of models: to bytes and files, with more outputs, or a part as its own model."""

from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from dybitq.errors import UnsupportedError
from dybitq.graph.load import Network
from dybitq.graph.values import values_by_name

# Protobuf refuses messages of 2 GiB and more; the rest of the model needs some room as well.
MESSAGE_LIMIT_BYTES = 2**31 - 2**24

_FLOATS = (ir.DataType.FLOAT,)


def tensor_bytes(model: ir.Model) -> int:
    """Sum the bytes of all initializers, those in subgraphs included."""
    graphs = (model.graph, *model.graph.subgraphs())
    tensors = (value.const_value for graph in graphs for value in graph.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def to_bytes(model: ir.Model) -> bytes:
    """Serialise a model with all its tensors inside; the same model gives the same bytes.

    Raises:
        UnsupportedError: the model is larger than a protobuf message can be; use :func:`save`.
    """
    size = tensor_bytes(model)
    if size > MESSAGE_LIMIT_BYTES:
        raise UnsupportedError(
            f"model {model.graph.name!r} holds {size} bytes of tensors; one ONNX file can hold at most "
            f"{MESSAGE_LIMIT_BYTES}; save it with external data instead"
        )
    proto = ir.serde.serialize_model(_internalised(model))
    return proto.SerializeToString(deterministic=True)


def _internalised(model: ir.Model) -> ir.Model:
    """Return the model, or a copy with external tensors turned into references to the mapped memory."""
    graphs = (model.graph, *model.graph.subgraphs())
    if not any(isinstance(v.const_value, ir.ExternalTensor) for g in graphs for v in g.initializers.values()):
        return model
    copy = model.clone()
    for graph in (copy.graph, *copy.graph.subgraphs()):
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = ir.Tensor(value.const_value.numpy(), name=value.name)
    return copy


def save(model: ir.Model, path: Path) -> None:
    """Write a model: one file below 2 GiB, otherwise with its tensors in ``<name>.data`` beside it."""
    if tensor_bytes(model) <= MESSAGE_LIMIT_BYTES:
        path.write_bytes(to_bytes(model))
    else:
        ir.save(model, path, external_data=path.name + ".data")


def float_tensors(model: ir.Model) -> tuple[str, ...]:
    """List the float32 activations of the main graph (inputs first), in topological order."""
    inputs = [value for value in model.graph.inputs if value.const_value is None]
    produced = [value for node in model.graph for value in node.outputs]
    return tuple(v.name for v in (*inputs, *produced) if v.name and v.dtype in _FLOATS)


def with_outputs(network: Network, names: Sequence[str]) -> bytes:
    """Serialise the normalised model with the tensors ``names`` as additional outputs, after its own.

    Names that are outputs or inputs already, or whose element type is unknown, are skipped.

    Raises:
        KeyError: a name that the graph does not have.
    """
    copy = network.model.clone()
    values = values_by_name(copy)
    present = {value.name for value in (*copy.graph.outputs, *copy.graph.inputs)}
    for name in names:
        value = values[name]
        if name not in present and value.type is not None:
            present.add(name)
            copy.graph.outputs.append(value)
    return to_bytes(copy)


def extract(network: Network, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Serialise the part of the normalised model that computes ``outputs`` from ``inputs``.

    Raises:
        ValueError: a name is unknown, or ``outputs`` depend on something that is not in ``inputs``.
    """
    graph = ir.convenience.extract(network.model.graph, inputs, outputs)
    return to_bytes(ir.Model(graph, ir_version=network.model.ir_version))
