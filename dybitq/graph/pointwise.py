"""Functions of one value: evaluated by the operator's definition, and recognised among a tensor's readers."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from dybitq.graph.operators import POINTWISE, clamp_bounds
from dybitq.graph.values import is_constant, is_op

Response = Callable[[np.ndarray], np.ndarray]
"""An elementwise function; float64 in and out, any shape."""


def evaluate(node: ir.Node, inputs: np.ndarray) -> np.ndarray:
    """Evaluate the elementwise operator ``node`` on ``inputs`` by the ONNX reference evaluator in float32."""
    names = [f"x{i}" if value is not None else "" for i, value in enumerate(node.inputs)]
    values = {"x0": inputs.astype(np.float32)}
    for name, value in zip(names[1:], node.inputs[1:], strict=True):
        if value is not None and value.const_value is not None:
            values[name] = value.const_value.numpy()
    typed = [
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in values.items()
    ]
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, inputs.shape)
    copy = ir.Node(
        "", node.op_type, [ir.val(n) if n else None for n in names], list(node.attributes.values())
    )
    proto = ir.to_proto(copy)
    del proto.output[:]
    proto.output.append("y")
    graph = onnx.helper.make_graph([proto], "pointwise", typed, [result])
    opset = node.graph.opset_imports[""] if node.graph is not None else 20
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    with np.errstate(over="ignore", invalid="ignore"):  # large arguments of exp, handled by the operator
        (output,) = ReferenceEvaluator(model).run(None, values)
    return np.asarray(output, np.float64)


def response_of(value: ir.Value) -> Response | None:
    """Find the function of one value that all readers of ``value`` together compute, or None.

    Recognised are a single elementwise operator, and ``x * g(x)`` with such an operator ``g`` (SiLU is
    ``x * Sigmoid(x)``, HardSwish may be written ``x * HardSigmoid(x)``).
    """
    readers = {id(use.node): use.node for use in value.uses()}
    if value.is_graph_output():
        return None
    nodes = list(readers.values())
    if len(nodes) == 1 and is_pointwise(nodes[0]):
        only = nodes[0]
        return lambda x: evaluate(only, x)
    if len(nodes) == 2:
        gates = [n for n in nodes if is_pointwise(n)]
        products = [n for n in nodes if is_op(n, "Mul")]
        if len(gates) == 1 and len(products) == 1 and _multiplies(products[0], value, gates[0].outputs[0]):
            gate = gates[0]
            return lambda x: x * evaluate(gate, x)
    return None


def is_pointwise(node: ir.Node) -> bool:
    """Tell if the operator is a function of its first input's value alone."""
    if is_op(node, "Relu", "Clip"):
        return clamp_bounds(node) is not None
    return is_op(node, *POINTWISE) and all(v is None or is_constant(v) for v in node.inputs[1:])


def _multiplies(node: ir.Node, left: ir.Value, right: ir.Value) -> bool:
    operands = list(node.inputs)
    return operands in ([left, right], [right, left])
