"""Functions of one value as 256-entry tables on codes."""

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from dybitq.records import FittedEdge


def pointwise_table(node: ir.Node, source: FittedEdge, target: FittedEdge) -> np.ndarray:
    """Output code for every input code of an elementwise operator with one activation input.

    Computed in float64 from the definition of the operator, then rounded half to even and clamped once.

    Returns:
        uint8 ``[256]``.
    """
    inputs = (np.arange(256) - source.zero_point) * np.float64(source.scale)
    outputs = _evaluate(node, inputs.astype(np.float32))
    codes = np.rint(outputs.astype(np.float64) / target.scale) + target.zero_point
    return np.clip(codes, target.low, target.high).astype(np.uint8)


def _evaluate(node: ir.Node, inputs: np.ndarray) -> np.ndarray:
    """Run the operator alone in the ONNX reference evaluator."""
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [256])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [256])
    proto = ir.to_proto(
        ir.Node("", node.op_type, [ir.val("x")], list(node.attributes.values()), num_outputs=1)
    )
    proto.output[0] = "y"
    graph = onnx.helper.make_graph([proto], "pointwise", [value], [result])
    opset = node.graph.opset_imports[""] if node.graph is not None else 20
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    (output,) = ReferenceEvaluator(model).run(None, {"x": inputs})
    return np.asarray(output)
