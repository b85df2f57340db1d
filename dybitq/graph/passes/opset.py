"""Opsets 11 and 12 are brought to 13, node by node and in subgraphs too.

Between opset 11 and 13 only these operators changed their form or meaning (found by comparing the
schemas of every operator): Dropout, Squeeze, Unsqueeze, ReduceSum and Split take an attribute as an
input; Softmax, LogSoftmax and Hardmax work along one axis instead of on a flattened matrix.
See docs/decisions/opset-conversion.md for why the converter of onnx is not used.
"""

import numpy as np
import onnx_ir as ir

from dybitq.graph.shapes import infer
from dybitq.graph.values import Namer, int_attribute, ints_attribute, is_op, rank_of, take_over

TARGET_OPSET = 13
IR_VERSION = 10  # metadata on nodes needs it; every onnxruntime since 1.18 reads it


def upgrade_opset(model: ir.Model) -> tuple[str, ...]:
    """Convert opset 11 and 12 to 13, and set the IR version that the emitted models use."""
    opsets = model.graph.opset_imports
    if "ai.onnx" in opsets:
        opsets[""] = opsets.pop("ai.onnx")
    version = opsets.get("", TARGET_OPSET)
    opsets.setdefault("", TARGET_OPSET)
    model.ir_version = IR_VERSION
    if version >= TARGET_OPSET:
        return ()
    infer(model)
    namer = Namer(model)
    for node in list(ir.traversal.RecursiveGraphIterator(model.graph)):
        if is_op(node, "Dropout"):
            node.attributes.pop("ratio", None)
            node.attributes.pop("seed", None)
        elif is_op(node, "Squeeze", "Unsqueeze", "ReduceSum"):
            _attribute_to_input(node, "axes", namer)
        elif is_op(node, "Split"):
            _attribute_to_input(node, "split", namer)
        elif is_op(node, "Softmax", "LogSoftmax", "Hardmax"):
            _along_one_axis(node, namer)
    opsets[""] = TARGET_OPSET
    return (f"converted from ONNX opset {version} to {TARGET_OPSET}",)


def _graph_of(node: ir.Node) -> ir.Graph:
    if node.graph is None:
        raise ValueError(f"node {node.name!r} is in no graph")
    return node.graph


def _attribute_to_input(node: ir.Node, attribute: str, namer: Namer) -> None:
    numbers = ints_attribute(node, attribute)
    node.attributes.pop(attribute, None)
    if numbers is None:
        return
    base = f"{node.outputs[0].name}_{attribute}"
    # A Constant node rather than an initializer, because the node may sit in a subgraph.
    tensor = ir.Tensor(np.array(numbers, np.int64))
    constant = namer.node("Constant", [], {"value": tensor}, base=base)
    constant.outputs[0].type = ir.TensorType(ir.DataType.INT64)
    _graph_of(node).insert_before(node, constant)
    node.resize_inputs(2)
    node.replace_input_with(1, constant.outputs[0])


def _along_one_axis(node: ir.Node, namer: Namer) -> None:
    """Flatten to ``[prod(shape[:axis]), prod(shape[axis:])]``, as opset 12 does, and work on its rows."""
    axis = int_attribute(node, "axis", 1)
    data = node.inputs[0]
    rank = rank_of(data)
    node.attributes["axis"] = ir.AttrInt64("axis", -1)
    if axis == -1 or (rank and axis % rank == rank - 1):
        return
    graph = _graph_of(node)
    base = node.name or f"{node.outputs[0].name}"
    shape = namer.node("Shape", [data], base=f"{base}_shape")
    flat = namer.node("Flatten", [data], {"axis": axis}, base=f"{base}_flatten", like=data)
    graph.insert_before(node, [shape, flat])
    node.replace_input_with(0, flat.outputs[0])
    rows = node.outputs[0]
    back = namer.node("Reshape", [rows, shape.outputs[0]], base=f"{base}_rows", like=rows)
    graph.insert_after(node, back)
    spare = back.outputs[0].name or ""
    take_over(back.outputs[0], rows, keep=back, renamed=spare)
    rows.shape = None
