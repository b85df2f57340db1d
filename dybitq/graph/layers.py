"""Nodes of the normalised graph as LayerWork: operands, geometry, and the work as matrix products."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from dybitq.graph.padding import explicit_pads
from dybitq.graph.values import (
    int_attribute,
    ints_attribute,
    is_constant,
    is_op,
    rank_of,
    shape_of,
    sole_consumer,
)
from dybitq.records.geometry.base import Shape
from dybitq.records.geometry.products import EmbeddingTable, MatrixPair, MatrixProduct
from dybitq.records.geometry.windows import SlidingWindow, TransposedWindow, Window
from dybitq.records.layers import LayerWork

Shapes = Mapping[str, Shape]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Shapes by value name: as given, and with the batch bound to 1."""

    shown: Shapes
    single: Shapes


def known_shapes(model: ir.Model | None) -> dict[str, Shape]:
    """Return the shape of every value of the main graph whose rank is known; none for None."""
    if model is None:
        return {}
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values.extend(value for node in model.graph for value in node.outputs)
    shapes = {value.name or "": shape_of(value) for value in values}
    return {name: shape for name, shape in shapes.items() if shape is not None}


def layer_of(node: ir.Node, sizes: Sizes) -> LayerWork | None:
    """Describe a node as a layer; None where it is none or stays in float (see :func:`why_float`)."""
    if why_float(node, sizes) is not None:
        return None
    if is_op(node, "Conv") and _is_weight(node.inputs[1], 3):
        return _convolution(node, sizes)
    if is_op(node, "ConvTranspose") and _is_weight(node.inputs[1], 3):
        return _transposed_convolution(node, sizes)
    if is_op(node, "Gemm") and _is_weight(node.inputs[1], 2):
        return _gemm(node, sizes)
    if is_op(node, "MatMul"):
        return _matmul(node, sizes)
    if is_op(node, "Gather") and int_attribute(node, "axis", 0) == 0 and _is_weight(node.inputs[0], 2, 2):
        return _embedding(node, sizes)
    return None


def why_float(node: ir.Node, sizes: Sizes) -> str | None:
    """Explain why a node that multiplies and accumulates is no layer of the survey; None for other nodes."""
    if not is_op(node, "Conv", "ConvTranspose", "Gemm", "MatMul"):
        return None
    if node.outputs[0].dtype not in (ir.DataType.FLOAT, None):
        return f"computes in {node.outputs[0].dtype}"
    if is_op(node, "MatMul"):
        vector = next((v for v in node.inputs if is_constant(v) and rank_of(v) == 1), None)
        return None if vector is None else f"its weight {vector.name!r} is a vector"
    source = node.inputs[1].producer() if node.inputs[1] is not None else None
    if is_op(source, "DequantizeLinear"):
        return "its weight is quantized already"
    if not _is_weight(node.inputs[1], 2):
        return "its weight is computed at run time or can be overridden"
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and not is_constant(bias):
        return "its bias is computed at run time or can be overridden"
    if (
        is_op(node, "Conv", "ConvTranspose")
        and explicit_pads(node, sizes.shown.get(_name(node.inputs[0]))) is None
    ):
        return "its padding depends on extents that are not known"
    return None


def _is_weight(value: ir.Value | None, low: int, high: int = 99) -> bool:
    """Tell if a value is a float32 constant of ``low`` to ``high`` axes, none of them empty."""
    if value is None or not is_constant(value) or value.dtype != ir.DataType.FLOAT:
        return False
    shape = shape_of(value)
    return shape is not None and low <= len(shape) <= high and 0 not in shape


def _name(value: ir.Value | None) -> str:
    return "" if value is None else value.name or ""


def _product(extents: tuple[int | None, ...]) -> int | None:
    result = 1
    for extent in extents:
        if extent is None:
            return None
        result *= extent
    return result


def _work(
    groups: int | None, m: int | None, k: int | None, n: int | None
) -> tuple[int, int, int, int] | None:
    if groups is None or m is None or k is None or n is None:
        return None
    return groups, m, k, n


def _convolution(node: ir.Node, sizes: Sizes) -> LayerWork:
    geometry = SlidingWindow(weight_shape=shape_of(node.inputs[1]) or (), window=_window(node, sizes))
    groups, k = geometry.patch_shape
    return _windowed(node, sizes, geometry, node.outputs[0], k, geometry.output_channels // groups)


def _transposed_convolution(node: ir.Node, sizes: Sizes) -> LayerWork:
    geometry = TransposedWindow(weight_shape=shape_of(node.inputs[1]) or (), window=_window(node, sizes))
    groups, k = geometry.patch_shape
    return _windowed(node, sizes, geometry, node.inputs[0], k, geometry.weight_count // (groups * k))


def _windowed(
    node: ir.Node,
    sizes: Sizes,
    geometry: SlidingWindow | TransposedWindow,
    places: ir.Value | None,
    k: int,
    n: int,
) -> LayerWork:
    """Return a layer with one patch for each position of ``places``."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    source, output, extents = _name(node.inputs[0]), _name(node.outputs[0]), sizes.single.get(_name(places))
    return LayerWork(
        name=node.name or "",
        op_type=node.op_type,
        input=source,
        output=output,
        weight=_name(node.inputs[1]),
        bias=_name(bias) or None,
        bias_node=None,
        geometry=geometry,
        input_shape=sizes.shown.get(source, ()),
        output_shape=sizes.shown.get(output, ()),
        gemm=None if extents is None else _work(geometry.window.group, _product(extents[2:]), k, n),
    )


def _window(node: ir.Node, sizes: Sizes) -> Window:
    weight = shape_of(node.inputs[1])
    kernel = tuple(extent or 1 for extent in (weight or ())[2:])
    axes = len(kernel)
    strides = ints_attribute(node, "strides") or (1,) * axes
    dilations = ints_attribute(node, "dilations") or (1,) * axes
    pads = explicit_pads(node, sizes.shown.get(_name(node.inputs[0]))) or (0,) * (2 * axes)
    return Window(
        kernel=kernel,
        strides=strides,
        dilations=dilations,
        pads=pads,
        group=int_attribute(node, "group", 1),
    )


def _gemm(node: ir.Node, sizes: Sizes) -> LayerWork:
    source, output = _name(node.inputs[0]), _name(node.outputs[0])
    geometry = MatrixProduct(
        weight_shape=shape_of(node.inputs[1]) or (),
        gemm=True,
        transposed=bool(int_attribute(node, "transB", 0)),
    )
    rows = sizes.single.get(output)
    m = None if rows is None else rows[0]
    return LayerWork(
        name=node.name or "",
        op_type=node.op_type,
        input=source,
        output=output,
        weight=_name(node.inputs[1]),
        bias=_name(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None,
        bias_node=None,
        geometry=geometry,
        input_shape=sizes.shown.get(source, ()),
        output_shape=sizes.shown.get(output, ()),
        gemm=_work(1, m, geometry.input_channels, geometry.output_channels),
    )


def _matmul(node: ir.Node, sizes: Sizes) -> LayerWork | None:
    left, right = node.inputs[0], node.inputs[1]
    if _is_weight(right, 2) and not is_constant(left):
        return _matmul_weighted(node, sizes, on_left=False)
    if _is_weight(left, 2) and not is_constant(right):
        return _matmul_weighted(node, sizes, on_left=True)
    if is_constant(left) or is_constant(right) or node.outputs[0].dtype != ir.DataType.FLOAT:
        return None
    a, b = sizes.single.get(_name(left)), sizes.single.get(_name(right))
    gemm = None
    if a is not None and b is not None and len(a) >= 2 and len(b) >= 2:
        out = sizes.single.get(_name(node.outputs[0]), (None,))
        gemm = _work(_product(out[:-2]), a[-2], a[-1], b[-1])
    geometry = MatrixPair(weight_shape=sizes.shown.get(_name(right), ()))
    return _matrix_layer(node, sizes, geometry, left, right, gemm)


def _matmul_weighted(node: ir.Node, sizes: Sizes, *, on_left: bool) -> LayerWork:
    """Describe activations ``[m, k]`` times the weight; a batched weight is one group per matrix."""
    weight, source = (node.inputs[0], node.inputs[1]) if on_left else (node.inputs[1], node.inputs[0])
    geometry = MatrixProduct(weight_shape=sizes.shown.get(_name(weight), ()), left=on_left)
    k, n = geometry.input_channels, geometry.output_channels
    matrices = geometry.weight_count // (k * n)
    out = sizes.single.get(_name(node.outputs[0]))
    gemm = None
    if out is not None:
        values = _product(out)
        gemm = _work(matrices, None if values is None else values // (matrices * n), k, n)
    return _matrix_layer(node, sizes, geometry, source, weight, gemm)


def _matrix_layer(
    node: ir.Node,
    sizes: Sizes,
    geometry: MatrixProduct | MatrixPair,
    source: ir.Value | None,
    weight: ir.Value | None,
    gemm: tuple[int, int, int, int] | None,
) -> LayerWork:
    output = _name(node.outputs[0])
    bias, bias_node = (None, None)
    if isinstance(geometry, MatrixProduct) and not geometry.left:
        bias, bias_node = _bias_after(node, geometry.output_channels)
    return LayerWork(
        name=node.name or "",
        op_type=node.op_type,
        input=_name(source),
        output=output,
        weight=_name(weight),
        bias=bias,
        bias_node=bias_node,
        geometry=geometry,
        input_shape=sizes.shown.get(_name(source), ()),
        output_shape=sizes.shown.get(output, ()),
        gemm=gemm,
    )


def _bias_after(node: ir.Node, channels: int | None) -> tuple[str | None, str | None]:
    """Find initializer and node of an Add of a constant vector that is the only reader of a MatMul."""
    add = sole_consumer(node.outputs[0])
    if add is None or not is_op(add, "Add"):
        return None, None
    other = add.inputs[1] if add.inputs[0] is node.outputs[0] else add.inputs[0]
    if not is_constant(other) or shape_of(other) != (channels,):
        return None, None
    return _name(other), add.name


def _embedding(node: ir.Node, sizes: Sizes) -> LayerWork:
    source, output = _name(node.inputs[1]), _name(node.outputs[0])
    return LayerWork(
        name=node.name or "",
        op_type=node.op_type,
        input=source,
        output=output,
        weight=_name(node.inputs[0]),
        bias=None,
        bias_node=None,
        geometry=EmbeddingTable(weight_shape=shape_of(node.inputs[0]) or ()),
        input_shape=sizes.shown.get(source, ()),
        output_shape=sizes.shown.get(output, ()),
        gemm=None,
    )
