"""An integer network to an ONNX model, in one of two flavours of the same arithmetic."""

import onnx_ir as ir

from dybitq.emit.builder import remove_unused
from dybitq.emit.integer.explicit import ExplicitWriter
from dybitq.emit.integer.fast import FastWriter
from dybitq.emit.integer.graph import Canvas
from dybitq.graph.load import Network
from dybitq.records.arithmetic import INTEGER_FAST
from dybitq.records.integer_network import (
    ActivationProduct,
    Addition,
    Clamp,
    Concatenation,
    Convolution,
    Dequantize,
    IntegerNetwork,
    Lookup,
    Mean,
    Move,
    Multiplication,
    Operation,
    Other,
    Product,
    Quantize,
    Requantization,
)


def emit_integer(network: Network, integers: IntegerNetwork, arithmetic: str) -> ir.Model:
    """Write ``integers`` as a model with the inputs and outputs of ``network``.

    Args:
        network: the float network, for its inputs and outputs and the operators that stay in float.
        integers: the same in integers.
        arithmetic: ``integer-fast`` or ``integer-explicit``.
    """
    canvas = Canvas(network, integers)
    flavour = FastWriter if arithmetic == INTEGER_FAST else ExplicitWriter
    writer = flavour(canvas, integers.scales)
    for operation in integers.operations:
        _write(canvas, writer, operation)
    model = canvas.finish()
    remove_unused(model)
    return model


def _write(canvas: Canvas, writer: FastWriter | ExplicitWriter, operation: Operation) -> None:
    match operation:
        case Quantize():
            writer.quantize(operation)
        case Dequantize():
            writer.dequantize(operation)
        case Convolution():
            writer.convolution(operation)
        case Product():
            writer.product(operation)
        case ActivationProduct():
            writer.activation_product(operation)
        case Addition():
            writer.addition(operation)
        case Multiplication():
            writer.multiplication(operation)
        case Concatenation():
            writer.concatenation(operation)
        case Requantization():
            writer.requantization(operation)
        case Mean():
            writer.mean(operation)
        case Lookup():
            writer.lookup(operation)
        case Clamp():
            writer.clamp(operation)
        case Move():
            canvas.move(operation)
        case Other():
            canvas.other(operation)
