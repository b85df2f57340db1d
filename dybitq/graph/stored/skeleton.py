"""Models of any quantized style as float skeletons: the same nodes with standard operators.

Quantized operators (of ONNX and of onnxruntime's own domain) become the float operators that they stand
for, so that shape inference and the survey see one kind of graph. The skeleton is never run: its
weights are placeholders of the right shape.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from dybitq.graph.passes.auto_pad import resolve_auto_pad
from dybitq.graph.passes.constants import lift_constants
from dybitq.graph.passes.functions import inline_functions
from dybitq.graph.passes.names import unique_names
from dybitq.graph.passes.opset import upgrade_opset
from dybitq.graph.passes.tidy import remove_unused, sort_nodes
from dybitq.graph.shapes import infer
from dybitq.graph.values import int_attribute

MICROSOFT = "com.microsoft"

AS_FLOAT: Mapping[tuple[str, str], tuple[str, tuple[int, ...]]] = {
    ("", "QLinearConv"): ("Conv", (0, 3, 8)),
    ("", "ConvInteger"): ("Conv", (0, 1)),
    ("", "QLinearMatMul"): ("MatMul", (0, 3)),
    ("", "MatMulInteger"): ("MatMul", (0, 1)),
    (MICROSOFT, "QLinearConv"): ("Conv", (0, 3, 8)),
    (MICROSOFT, "QGemm"): ("Gemm", (0, 3, 6)),
    (MICROSOFT, "DynamicQuantizeMatMul"): ("MatMul", (0, 1)),
    (MICROSOFT, "MatMulIntegerToFloat"): ("MatMul", (0, 1)),
    (MICROSOFT, "MatMulNBits"): ("MatMul", (0, 1)),
    (MICROSOFT, "FusedConv"): ("Conv", (0, 1, 2)),
    (MICROSOFT, "FusedGemm"): ("Gemm", (0, 1, 2)),
    (MICROSOFT, "FusedMatMul"): ("MatMul", (0, 1)),
    (MICROSOFT, "QLinearAdd"): ("Add", (0, 3)),
    (MICROSOFT, "QLinearMul"): ("Mul", (0, 3)),
    (MICROSOFT, "QLinearSigmoid"): ("Sigmoid", (0,)),
    (MICROSOFT, "QLinearLeakyRelu"): ("LeakyRelu", (0,)),
    (MICROSOFT, "QLinearSoftmax"): ("Softmax", (0,)),
    (MICROSOFT, "QLinearAveragePool"): ("AveragePool", (0,)),
    (MICROSOFT, "QLinearGlobalAveragePool"): ("GlobalAveragePool", (0,)),
    (MICROSOFT, "QLinearReduceMean"): ("ReduceMean", (0,)),
    (MICROSOFT, "QLinearWhere"): ("Where", (0, 1, 4)),
    (MICROSOFT, "Gelu"): ("Gelu", (0,)),
    (MICROSOFT, "QuantizeLinear"): ("QuantizeLinear", (0, 1, 2)),
    (MICROSOFT, "DequantizeLinear"): ("DequantizeLinear", (0, 1, 2)),
}
"""By quantized operator the float operator, and the inputs that it takes."""

_FLOAT_RESULTS = ("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "DequantizeLinear")


def prepare(model: ir.Model) -> ir.Model:
    """Copy a model with inlined functions, unique names, no Constant nodes, and shapes where they are known.

    Nothing is folded, so all stored tensors remain.

    Raises:
        ModelError: the graph contains a cycle.
        UnsupportedError: functions that cannot be inlined.
    """
    sort_nodes(model)
    copy = model.clone()
    for step in (inline_functions, upgrade_opset, unique_names, lift_constants):
        step(copy)
    infer(copy, values=False)  # weights are decoded here, and their values are not needed
    _type_foreign_outputs(copy)
    return copy


def _type_foreign_outputs(model: ir.Model) -> None:
    """Give the results of onnxruntime's own operators, which inference does not know, their types."""
    for node in model.graph:
        if node.domain != MICROSOFT or not node.inputs or not node.outputs:
            continue
        if node.op_type in _FLOAT_RESULTS or (node.op_type == "QGemm" and len(node.inputs) < 8):
            kind: ir.DataType | None = ir.DataType.FLOAT
        else:
            data = node.inputs[2] if node.op_type == "QLinearConcat" else node.inputs[0]
            kind = None if data is None else data.dtype
        if kind is not None and node.outputs[0].type is None:
            node.outputs[0].type = ir.TensorType(kind)


def to_float_operators(model: ir.Model) -> None:
    """Replace the quantized operators of a prepared model in place; node names stay.

    The result is a skeleton for shapes and geometry: its types are not consistent everywhere.
    """
    for node in model.graph:
        if (node.domain, node.op_type) == (MICROSOFT, "QLinearConcat"):
            _become(node, "Concat", list(node.inputs[2::3]))
            continue
        replacement = AS_FLOAT.get((node.domain, node.op_type))
        if replacement is None:
            continue
        op_type, positions = replacement
        inputs = [node.inputs[i] if i < len(node.inputs) else None for i in positions]
        _become(node, op_type, inputs)
        if node.op_type == "Gemm":
            node.attributes.pop("activation", None)


def _become(node: ir.Node, op_type: str, inputs: list[ir.Value | None]) -> None:
    while inputs and inputs[-1] is None:
        inputs.pop()
    node.op_type, node.domain = op_type, ""
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        node.replace_input_with(index, value)
    if op_type not in ("QuantizeLinear", "DequantizeLinear"):
        for value in node.outputs:
            value.type = ir.TensorType(ir.DataType.FLOAT)


def placeholder(model: ir.Model, name: str, shape: tuple[int, ...]) -> ir.Value:
    """Make an initializer of zeros that takes no memory."""
    zeros = np.broadcast_to(np.zeros((), np.float32), shape)
    tensor = ir.LazyTensor(
        lambda: ir.Tensor(zeros), dtype=ir.DataType.FLOAT, shape=ir.Shape(shape), name=name
    )
    value = ir.val(name, const_value=tensor)
    model.graph.register_initializer(value)
    return value


def refresh_shapes(model: ir.Model) -> None:
    """Drop unused nodes and infer the shapes again, after operators and weights were replaced."""
    remove_unused(model)
    infer(model)
    resolve_auto_pad(model)


def packed_matmul_shape(node: ir.Node) -> tuple[int, int]:
    """Return the shape ``[K, N]`` of the weight of a MatMulNBits."""
    return int_attribute(node, "K", 1), int_attribute(node, "N", 1)
