"""Notes on parts that stay in float: subgraphs, recurrent layers, operators outside ONNX, other layers."""

import onnx_ir as ir

from dybitq.graph.layers import Sizes, known_shapes, why_float
from dybitq.graph.values import has_subgraph, is_op, shape_of

_RECURRENT = ("LSTM", "GRU", "RNN")
_QUANTIZERS = (
    "QuantizeLinear",
    "DequantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
)


def note_float_parts(model: ir.Model) -> tuple[str, ...]:
    """Note float parts, inputs with defaults, and operators of a model that is quantized already."""
    notes = list(float_parts(model))
    quantized = quantizing_operators(model)
    if quantized:
        notes.append(f"the model is quantized already: its {quantized} quantizing operators were not changed")
    notes.extend(
        f"input {value.name!r} {shape_of(value)} has a default value; it is not treated as a weight, because "
        "a caller can override it"
        for value in model.graph.inputs
        if value.const_value is not None
    )
    return tuple(notes)


def quantizing_operators(model: ir.Model) -> int:
    """Count operators of the graph that make codes, read them or multiply them."""
    return sum(is_op(node, *_QUANTIZERS) for node in model.graph)


def float_parts(model: ir.Model) -> tuple[str, ...]:
    """Write a sentence for each node that multiplies, or may multiply, and is not quantized."""
    notes: list[str] = []
    shapes = known_shapes(model)
    sizes = Sizes(shown=shapes, single=shapes)
    for node in model.graph:
        if has_subgraph(node):
            notes.append(f"{node.op_type} {node.name!r}: its subgraphs stay in float")
        elif is_op(node, *_RECURRENT):
            notes.append(f"{node.op_type} {node.name!r}: recurrent layers are not quantized")
        elif node.domain not in ("", "ai.onnx"):
            notes.append(f"{node.domain}.{node.op_type} {node.name!r}: not an ONNX operator, stays unchanged")
        elif (reason := why_float(node, sizes)) is not None:
            notes.append(f"{node.op_type} {node.name!r} stays in float: {reason}")
    return tuple(notes)
