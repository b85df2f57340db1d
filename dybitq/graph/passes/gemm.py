"""Every Gemm becomes ``A x B + C`` with a constant matrix B and no or a constant vector C.

alpha and beta are multiplied into B and C, a transposed A gets its own Transpose, any other C its own
Add. A Gemm whose right operand is computed becomes a MatMul.
"""

import numpy as np
import onnx_ir as ir

from dybitq.graph.values import (
    Namer,
    constant,
    float_attribute,
    int_attribute,
    is_constant,
    is_op,
    replace_constant,
    take_over,
)


def canonical_gemm(model: ir.Model) -> tuple[str, ...]:
    """Rewrite every float32 Gemm; transB stays as it is where B is a constant."""
    namer = Namer(model)
    for node in list(model.graph):
        if is_op(node, "Gemm") and node.outputs[0].dtype in (ir.DataType.FLOAT, None):
            _split_bias(model, node, namer)
            _transpose_left(model, node, namer)
            if is_constant(node.inputs[1]):
                _fold_alpha(model, node)
            else:
                _to_matmul(model, node, namer)
    return ()


def _split_bias(model: ir.Model, node: ir.Node, namer: Namer) -> None:
    """Fold beta into C; move a C that is no constant vector into an Add."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    beta = float_attribute(node, "beta", 1.0)
    node.attributes.pop("beta", None)
    weight = constant(node.inputs[1])
    if bias is None or beta == 0.0:
        node.resize_inputs(2)
        return
    array = constant(bias)
    if array is not None and weight is not None and weight.ndim == 2 and array.dtype == np.float32:
        columns = weight.shape[0] if int_attribute(node, "transB", 0) else weight.shape[1]
        if array.size == 1 or (array.size == columns and array.shape[-1] == columns):
            vector = np.broadcast_to(array.reshape(-1) * np.float32(beta), (columns,))
            if array.shape != (columns,) or beta != 1.0:
                replace_constant(model, node, 2, vector)
            return
    nodes = []
    if beta != 1.0 and array is not None:
        bias = replace_constant(model, node, 2, (array * np.float32(beta)).astype(array.dtype))
    elif beta != 1.0:
        factor = namer.initializer(np.array(beta, np.float32), base=f"{node.name}_beta")
        nodes.append(namer.node("Mul", [bias, factor], base=f"{node.name}_scaled_bias", like=bias))
        bias = nodes[0].outputs[0]
    _append(model, node, nodes, "Add", bias, namer)
    node.resize_inputs(2)


def _append(
    model: ir.Model, node: ir.Node, before: list[ir.Node], op_type: str, operand: ir.Value, namer: Namer
) -> None:
    """Let ``op_type(result, operand)`` follow ``node`` and take over its output name."""
    result = node.outputs[0]
    added = namer.node(op_type, [result, operand], base=f"{node.name}_{op_type.lower()}", like=result)
    model.graph.insert_after(node, [*before, added])
    spare = added.outputs[0].name or ""
    take_over(added.outputs[0], result, keep=added, renamed=spare)


def _transpose_left(model: ir.Model, node: ir.Node, namer: Namer) -> None:
    left = node.inputs[0]
    transposed = int_attribute(node, "transA", 0)
    node.attributes.pop("transA", None)
    if not transposed or left is None:
        return
    array = constant(left)
    if array is not None:
        replace_constant(model, node, 0, array.T)
        return
    turned = namer.node("Transpose", [left], {"perm": [1, 0]}, base=f"{node.name}_transposed", like=left)
    model.graph.insert_before(node, turned)
    node.replace_input_with(0, turned.outputs[0])


def _fold_alpha(model: ir.Model, node: ir.Node) -> None:
    alpha = float_attribute(node, "alpha", 1.0)
    node.attributes.pop("alpha", None)
    weight = constant(node.inputs[1])
    if alpha != 1.0 and weight is not None:
        replace_constant(model, node, 1, (weight * np.float32(alpha)).astype(weight.dtype))


def _to_matmul(model: ir.Model, node: ir.Node, namer: Namer) -> None:
    """Rewrite to MatMul(A, B) where B is computed, with a Transpose and a Mul for transB and alpha."""
    right = node.inputs[1]
    if int_attribute(node, "transB", 0) and right is not None:
        turned = namer.node(
            "Transpose", [right], {"perm": [1, 0]}, base=f"{node.name}_transposed", like=right
        )
        model.graph.insert_before(node, turned)
        node.replace_input_with(1, turned.outputs[0])
    node.attributes.pop("transB", None)
    alpha = float_attribute(node, "alpha", 1.0)
    node.attributes.pop("alpha", None)
    node.op_type = "MatMul"
    left = constant(node.inputs[0])
    if alpha == 1.0:
        return
    if left is not None:
        replace_constant(model, node, 0, (left * np.float32(alpha)).astype(left.dtype))
        return
    factor = namer.initializer(np.array(alpha, np.float32), base=f"{node.name}_alpha")
    _append(model, node, [], "Mul", factor, namer)
