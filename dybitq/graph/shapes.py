"""Shape and type inference on a copy without weights, merged back into the model.

Shapes that a file declares for intermediate values are not trusted: a model whose batch was made
dynamic by hand still declares the old ones. They are used only where inference finds nothing.
"""

from collections.abc import Mapping

import onnx
import onnx_ir as ir

# Tensors up to this size travel with the copy, because inference reads shapes and axes from them.
_SMALL_BYTES = 4096

# Inference for Reshape of opset 13 does not look at shapes that the graph computes, that of opset 14 does.
# What else changed in between (allowzero, more types, BatchNormalization in training) does not matter to it.
_RESHAPE_WITHOUT_VALUES = 13


def _light_copy(model: ir.Model, shapes: Mapping[str, ir.Shape]) -> ir.Model:
    """Clone without large tensors and without the shapes and types of intermediate values.

    Results of operators outside ONNX keep their declared type: nothing else gives them one.
    """
    copy = model.clone()
    graph = copy.graph
    inputs = set(graph.inputs)
    for node in graph:
        for value in node.outputs:
            value.shape = None
            if node.domain == "":
                value.type = None
    for value in graph.inputs:
        value.shape = shapes.get(value.name or "", value.shape)
    if copy.opset_imports.get("") == _RESHAPE_WITHOUT_VALUES:
        copy.opset_imports[""] = _RESHAPE_WITHOUT_VALUES + 1
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is not None and tensor.nbytes > _SMALL_BYTES:
            value.const_value = None
            del graph.initializers[name]
            if value not in inputs:
                graph.inputs.append(value)
    return copy


def inferred(
    model: ir.Model, shapes: Mapping[str, ir.Shape] | None = None, *, values: bool = True
) -> ir.Model | None:
    """Clone the model without large weights, with inferred shapes and types on its values.

    Args:
        model: not changed.
        shapes: replaces the shapes of graph inputs.
        values: follow the values of small integer tensors too, which shapes computed in the graph need.
            Slow where large tensors are decoded in the graph.

    Returns:
        The clone, or None where inference failed altogether.
    """
    copy = _light_copy(model, shapes or {})
    try:
        proto = ir.serde.serialize_model(copy)
        result = onnx.shape_inference.infer_shapes(
            proto, check_type=False, strict_mode=False, data_prop=values
        )
    except Exception:  # noqa: BLE001 - the C++ library raises several unrelated types; shapes are optional
        return None
    return ir.serde.deserialize_model(result)


def _merge_dims(found: ir.Shape, declared: ir.Shape) -> ir.Shape:
    """Merge extents: inferred ones, with declared names where inference left an extent anonymous."""
    if len(found) != len(declared):
        return found
    merged: list[int | ir.SymbolicDim] = []
    for new, old in zip(found, declared, strict=True):
        anonymous = isinstance(new, ir.SymbolicDim) and (new.value is None or new.value.startswith("unk__"))
        keep = anonymous and isinstance(old, ir.SymbolicDim)
        merged.append(old if keep else ir.SymbolicDim(None) if anonymous else new)
    return ir.Shape(merged)


def infer(model: ir.Model, *, values: bool = True) -> set[str]:
    """Fill in shapes and types of all values of the main graph.

    Graph inputs and outputs keep what they declare. A value whose shape cannot be inferred keeps the
    shape that the file declares for it.

    Args:
        model: changed in place.
        values: as for :func:`inferred`.

    Returns:
        Names of the values whose shape was really inferred.
    """
    copy = inferred(model, values=values)
    if copy is None:
        return set()
    known = {value.name: value for node in copy.graph for value in node.outputs if value.name}
    trusted: set[str] = set()
    for node in model.graph:
        for value in node.outputs:
            twin = known.get(value.name or "")
            if twin is None:
                continue
            if twin.type is not None and not value.is_graph_output():
                value.type = twin.type
            if twin.shape is None:
                continue
            trusted.add(value.name or "")
            if value.is_graph_output() and value.shape is not None:
                continue
            value.shape = twin.shape if value.shape is None else _merge_dims(twin.shape, value.shape)
    return trusted
