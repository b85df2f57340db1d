"""Sum of two tensors becomes Add, which the runtime has an int8 kernel for."""

import onnx_ir as ir

from dybitq.graph.values import is_op


def two_operand_sums(model: ir.Model) -> tuple[str, ...]:
    """Rename the operator; both broadcast alike. Older exporters write residual networks this way."""
    for node in model.graph:
        if is_op(node, "Sum") and len(node.inputs) == 2:
            node.op_type = "Add"
    return ()
