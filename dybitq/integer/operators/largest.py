"""GlobalMaxPool, which the runtime has in float only: a MaxPool over all of the space."""

from dataclasses import replace

import onnx_ir as ir

from dybitq.graph.values import is_op, shape_of
from dybitq.integer.context import Context, operators
from dybitq.integer.operators.mean import mean_count
from dybitq.integer.operators.move import MoveStep, move_of


@operators.register("largest")
def recognise(node: ir.Node, context: Context) -> MoveStep | None:
    """Recognise a GlobalMaxPool over a space of known extents."""
    if not is_op(node, "GlobalMaxPool") or mean_count(node) is None:
        return None
    step = move_of(node, context)
    if step is None:
        return None
    extents = tuple(int(extent or 1) for extent in (shape_of(node.inputs[0]) or ())[2:])
    return replace(step, op_type="MaxPool", attributes={"kernel_shape": extents})
