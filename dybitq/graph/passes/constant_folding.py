"""Nodes whose inputs are all constant are computed once, with the ONNX reference operators.

Shape of a tensor whose extents are all known counts as constant. Only operators that prepare weights,
masks and shapes are folded, and only where the result is not much larger than its operands: see
docs/decisions/constant-folding.md.
"""

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from dybitq.graph.operators import UNCONDITIONAL_MOVES
from dybitq.graph.shapes import infer
from dybitq.graph.values import constant, is_constant, is_op, shape_of

_FOLDED = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Neg", "Abs", "Sign", "Mod", "Pow", "Sqrt", "Reciprocal", "Exp", "Log"),
        *("Floor", "Ceil", "Round", "Clip", "Relu", "Erf", "Sigmoid", "Tanh", "Sin", "Cos", "CumSum"),
        *("Max", "Min", "Sum", "Mean", "MatMul", "Cast", "CastLike", "Where"),
        *("And", "Or", "Xor", "Not", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
        *("IsInf", "IsNaN", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"),
        *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"),
        *("ReduceSumSquare", "ArgMax", "ArgMin"),
        *UNCONDITIONAL_MOVES,
        *("Concat", "Pad", "Trilu", "Range", "ConstantOfShape", "EyeLike"),
        *(
            "Gather",
            "GatherElements",
            "GatherND",
            "ScatterElements",
            "ScatterND",
            "NonZero",
            "OneHot",
            "Size",
        ),
    }
)
"""Operators that prepare weights, masks and shapes, with equal results in the reference and every runtime."""

_SMALL_BYTES = 1 << 16
_GROWTH = 4  # int8 to float32, the widest Cast worth folding
_ROUNDS = 8


def fold_constants(model: ir.Model) -> tuple[str, ...]:
    """Fold until nothing changes; each round may reveal static shapes that the next one uses."""
    for number in range(_ROUNDS):
        # The first round folds weights that are decoded in the graph; following their values is slow.
        inferred = infer(model, values=number > 0)
        changed = [_fold(model, node, inferred) for node in list(model.graph)]
        if number > 0 and not any(changed):
            break
    return ()


def _fold(model: ir.Model, node: ir.Node, inferred: set[str]) -> bool:
    if not is_op(node, "Shape", *_FOLDED):
        return False
    if any(value.is_graph_output() for value in node.outputs):
        return False
    if is_op(node, "Shape"):
        return _fold_shape(model, node, inferred)
    if not node.inputs or not all(value is None or _is_number(value) for value in node.inputs):
        return False
    if not _worth_it(node):
        return False
    results = _evaluate(model, node)
    if results is None:
        return False
    _replace(model, node, results)
    return True


def _is_number(value: ir.Value) -> bool:
    """Tell if the value is a constant of a numeric type, so not of strings."""
    return is_constant(value) and value.dtype is not None and value.dtype != ir.DataType.STRING


def _fold_shape(model: ir.Model, node: ir.Node, inferred: set[str]) -> bool:
    data = node.inputs[0]
    shape = shape_of(data)
    if data is None or shape is None or None in shape:
        return False
    known = data.name in inferred or data.is_graph_input() or data.is_initializer()
    if not known:
        return False
    start = node.attributes["start"].as_int() if "start" in node.attributes else 0
    end = node.attributes["end"].as_int() if "end" in node.attributes else None
    _replace(model, node, [np.array(shape[start:end], np.int64)])
    return True


def _worth_it(node: ir.Node) -> bool:
    """Tell if the results are small, or not much larger than the operands."""
    tensors = [value.const_value for value in node.inputs if value is not None]
    known = sum(tensor.nbytes for tensor in tensors if tensor is not None)
    size = 0.0
    for value in node.outputs:
        shape = shape_of(value)
        if shape is None or value.dtype is None or None in shape:
            return known <= _SMALL_BYTES and not is_op(node, "ConstantOfShape", "Range", "Expand", "Tile")
        size += int(np.prod([extent or 0 for extent in shape], dtype=np.int64)) * value.dtype.itemsize
    return size <= max(_SMALL_BYTES, _GROWTH * known)


def _evaluate(model: ir.Model, node: ir.Node) -> list[np.ndarray] | None:
    """Compute the results of the node; None where the reference cannot."""
    values = {v.name: v for v in node.inputs if v is not None and v.name}
    arrays = {name: constant(value) for name, value in values.items()}
    graph = onnx.helper.make_graph(
        [ir.serde.serialize_node(node)],
        "constant",
        [onnx.helper.make_empty_tensor_value_info(name) for name in values],
        [onnx.helper.make_empty_tensor_value_info(value.name) for value in node.outputs if value.name],
    )
    opsets = [onnx.helper.make_opsetid("", model.graph.opset_imports[""])]
    try:
        with np.errstate(all="ignore"):
            session = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=opsets))
            results = session.run(None, arrays)
    except Exception:  # noqa: BLE001 - an operator or type the reference lacks; the node simply stays
        return None
    named = [value for value in node.outputs if value.name]
    for value, result in zip(named, results, strict=True):
        if not isinstance(result, np.ndarray | np.generic) or result.dtype.kind not in "fiub":
            return None
        if value.dtype is not None and ir.DataType.from_numpy(result.dtype) != value.dtype:
            return None
    return [np.asarray(result) for result in results]


def _replace(model: ir.Model, node: ir.Node, results: list[np.ndarray]) -> None:
    outputs = [value for value in node.outputs if value.name]
    graph = model.graph
    names = [value.name or "" for value in outputs]
    lifted = [
        ir.val(name, const_value=ir.Tensor(np.asarray(array, order="C"), name=name))
        for name, array in zip(names, results, strict=True)
    ]
    for value, new in zip(outputs, lifted, strict=True):
        value.replace_all_uses_with(new)
    graph.remove(node, safe=True)
    for new in lifted:
        graph.register_initializer(new)
