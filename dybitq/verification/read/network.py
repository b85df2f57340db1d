"""The integer network of a stored model, read back from its nodes and constants alone."""

from dataclasses import replace

import numpy as np

from dybitq.graph import keys
from dybitq.graph.stored.plain import PlainNode, StoredModel
from dybitq.records.integer_network import (
    Clamp,
    Concatenation,
    Dequantize,
    IntegerNetwork,
    Lookup,
    Move,
    Operation,
    Other,
    Product,
    Quantize,
    Requantization,
    inputs_of,
)
from dybitq.verification.read.explicit import read_cast, read_sum, read_total, weighted
from dybitq.verification.read.fast import clamped, read_quantized
from dybitq.verification.read.graph import Reading


def read_network(stored: StoredModel) -> IntegerNetwork:
    """Operations of both flavours, in the names of the file.

    What is neither integer arithmetic nor a way in or out of the integers is an :class:`Other` or a
    :class:`Move`; :mod:`dybitq.verification.static` says whether that is allowed.

    Raises:
        NotDyadicError: scales of a quantized operator give no dyadic factor.
        ValueError: a parameter is computed at run time.
    """
    reading = Reading(stored.outer)
    _find_lookups(reading)
    _find_matrix_products(reading)
    for node in stored.outer.nodes:
        if node.op_type == "Cast":
            _keep(reading, node, read_cast(reading, node))
    for node in stored.outer.nodes:
        if node.op_type == "DequantizeLinear":
            _accumulator(reading, node)
    for node in stored.outer.nodes:
        if not any(name in reading.covered or name in reading.found for name in node.outputs):
            _keep(reading, node, _plain(reading, node))
    names = [name for node in stored.outer.nodes for name in node.outputs if name in reading.found]
    unique = list({id(reading.found[name]): reading.found[name] for name in names}.values())
    constants = {
        name: array
        for name, array in stored.outer.constants.items()
        if array.dtype == np.uint8 and array.ndim > 0 and any(name in inputs_of(op) for op in unique)
    }
    scales = {
        name: float(node.metadata[keys.STEP])
        for node in stored.outer.nodes
        for name in node.outputs
        if keys.STEP in node.metadata
    }
    return IntegerNetwork(operations=tuple(unique), constants=constants, scales=scales)


def _keep(reading: Reading, node: PlainNode, operation: Operation | None) -> None:
    if operation is not None:
        for name in node.outputs:
            reading.found[name] = operation


def _find_lookups(reading: Reading) -> None:
    """``Reshape(GatherElements(table, Cast(Reshape(q, -1))), Shape(q))`` is a table on codes."""
    for node in reading.graph.nodes:
        if node.op_type != "Reshape":
            continue
        gather = reading.producer(node.inputs[0], "GatherElements")
        shape = reading.producer(node.inputs[1], "Shape")
        table = None if gather is None else reading.array(gather.inputs[0])
        if gather is None or shape is None or table is None or table.shape != (256,):
            continue
        cast = reading.producer(gather.inputs[1], "Cast")
        flat = None if cast is None else reading.producer(cast.inputs[0], "Reshape")
        if cast is None or flat is None:
            continue
        reading.cover(gather, shape, cast, flat)
        found = Lookup(name=node.name, input=flat.inputs[0], output=node.outputs[0], table=table)
        reading.found[node.outputs[0]] = found


def _find_matrix_products(reading: Reading) -> None:
    """``Reshape(QGemm(Reshape(q, [-1, K])), shape of q)`` is a product of rows, whatever the rank of q."""
    for node in reading.graph.nodes:
        shape = reading.source(node.inputs[1], "Concat") if node.op_type == "Reshape" else None
        if shape is None:
            continue
        clip = reading.producer(node.inputs[0], "Clip")
        gemm = reading.producer(node.inputs[0] if clip is None else clip.inputs[0], "QGemm")
        flat = None if gemm is None else reading.producer(gemm.inputs[0], "Reshape")
        read = reading.source(shape.inputs[0], "Shape") or reading.source(shape.inputs[0], "Slice")
        if gemm is None or flat is None or read is None:
            continue
        operation = read_quantized(reading, gemm)
        if not isinstance(operation, Product):
            continue
        operation = replace(operation, input=flat.inputs[0], output=node.outputs[0], input_rank=None)
        if clip is not None and operation.requantize is not None:
            low, high = (reading.number(name) for name in clip.inputs[1:3])
            target = replace(operation.requantize, low=low or 0, high=255 if high is None else high)
            operation = replace(operation, requantize=target)
        inner = [reading.source(read.inputs[0], "Shape")] if read.op_type == "Slice" else []
        reading.cover(shape, gemm, flat, read, *(n for n in (clip, *inner) if n is not None))
        reading.found[node.outputs[0]] = operation


def _accumulator(reading: Reading, node: PlainNode) -> None:
    """Read an int32 sum that is dequantized as it is, perhaps reshaped on the way."""
    name = node.inputs[0]
    while (moved := reading.producer(name, "Flatten", "Reshape", "Squeeze", "Unsqueeze")) is not None:
        name = moved.inputs[0]
    total = reading.producer(name, "ReduceSum")
    if total is not None:
        operation = read_total(reading, total)
    else:
        found = read_sum(reading, name)
        operation = None if found is None else weighted(reading, found, name, None)
    if operation is not None:
        reading.found[name] = operation
        reading.covered.discard(name)


def _plain(reading: Reading, node: PlainNode) -> Operation | None:
    """Return the operation of a node that stands for itself."""
    quantized = read_quantized(reading, node)
    if quantized is not None:
        return quantized
    if node.op_type == "QuantizeLinear":
        zero = reading.number(node.inputs[2]) if len(node.inputs) > 2 else 0
        scale = reading.array(node.inputs[1])
        if scale is not None and scale.size == 1 and zero is not None:
            return Quantize(
                name=node.name,
                input=node.inputs[0],
                output=node.outputs[0],
                scale=float(scale.reshape(())),
                zero_point=zero,
            )
    if node.op_type == "DequantizeLinear":
        zero = reading.number(node.inputs[2]) if len(node.inputs) > 2 else 0
        scale = reading.array(node.inputs[1])
        if scale is not None and zero is not None:
            return Dequantize(
                name=node.name,
                input=node.inputs[0],
                output=node.outputs[0],
                scale=scale.reshape(-1),
                zero_point=zero,
            )
    if node.op_type == "Clip":
        return _clip(reading, node)
    if node.op_type == "Concat":
        return _concat(reading, node)
    return _move(reading, node)


def _clip(reading: Reading, node: PlainNode) -> Operation:
    """Read a Clip on codes: part of the operation before it if only it reads that, or one of its own."""
    bounds = [reading.number(name) if name else None for name in node.inputs[1:3]]
    low, high = (
        (0 if bounds[0] is None else bounds[0]),
        (255 if len(bounds) < 2 or bounds[1] is None else bounds[1]),
    )
    source = node.inputs[0]
    before = reading.found.get(source)
    if before is not None and reading.producer(source, *_CLAMPED) is not None:
        if isinstance(before, Quantize):
            taken: Operation | None = replace(before, low=low, high=high, output=node.outputs[0])
        else:
            taken = clamped(before, low, high, node.outputs[0])
        if taken is not None:
            del reading.found[source]
            return taken
    return Clamp(name=node.name, input=source, output=node.outputs[0], low=low, high=high)


_CLAMPED = (
    *("QuantizeLinear", "QLinearConv", "QLinearMatMul", "QGemm", "QLinearAdd", "QLinearMul"),
    *("QLinearConcat", "QLinearGlobalAveragePool"),
)


def _concat(reading: Reading, node: PlainNode) -> Operation:
    """Read a Concat: one operation if its operands were each rescaled for it alone, otherwise a move."""
    parts = [reading.found.get(name) for name in node.inputs]
    branches = [part for part in parts if isinstance(part, Requantization)]
    if len(branches) != len(node.inputs) or not all(reading.producer(n, "Cast") for n in node.inputs):
        return _move(reading, node)
    for name in node.inputs:
        del reading.found[name]
    return Concatenation(
        name=node.name,
        inputs=tuple(branch.input for branch in branches),
        output=node.outputs[0],
        zeros=tuple(branch.input_zero for branch in branches),
        requantize=tuple(branch.requantize for branch in branches),
        axis=int(node.attributes["axis"]),
    )


def _move(reading: Reading, node: PlainNode) -> Operation:
    operands = tuple(None if not name else reading.graph.constants.get(name, name) for name in node.inputs)
    if node.domain == "":
        return Move(
            name=node.name,
            op_type=node.op_type,
            operands=operands,
            outputs=node.outputs,
            attributes=dict(node.attributes),
        )
    return Other(
        name=node.name,
        op_type=node.op_type,
        inputs=tuple(name for name in node.inputs if name),
        outputs=node.outputs,
        reason="",
    )
