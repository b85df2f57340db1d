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
from dybitq.records.layers import LayerKind, LayerWork, Shape, Window

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
        return _convolution(node, sizes, LayerKind.CONV)
    if is_op(node, "ConvTranspose") and _is_weight(node.inputs[1], 3):
        return _convolution(node, sizes, LayerKind.CONV_TRANSPOSE)
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


def _macs(gemm: tuple[int, int, int, int] | None) -> int | None:
    return None if gemm is None else _product(gemm)


def _convolution(node: ir.Node, sizes: Sizes, kind: LayerKind) -> LayerWork:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    weight = shape_of(node.inputs[1]) or ()
    source, output = _name(node.inputs[0]), _name(node.outputs[0])
    window = _window(node, sizes.shown.get(source))
    group = window.group
    taps = _product(weight[2:])
    gemm = None
    if kind is LayerKind.CONV:
        places = sizes.single.get(output)
        if places is not None and taps is not None:
            gemm = _work(group, _product(places[2:]), (weight[1] or 0) * taps, (weight[0] or 0) // group)
    else:
        places = sizes.single.get(source)
        if places is not None and taps is not None:
            gemm = _work(group, _product(places[2:]), (weight[0] or 0) // group, (weight[1] or 0) * taps)
    return LayerWork(
        name=node.name or "",
        kind=kind,
        op_type=node.op_type,
        input=source,
        output=output,
        weight=_name(node.inputs[1]),
        bias=_name(bias) or None,
        bias_node=None,
        weight_shape=weight,
        channel_axis=0 if kind is LayerKind.CONV else 1,
        weight_on_left=False,
        transposed=False,
        window=window,
        input_shape=sizes.shown.get(source, ()),
        output_shape=sizes.shown.get(output, ()),
        gemm=gemm,
        macs=_macs(gemm),
    )


def _window(node: ir.Node, input_shape: Shape | None) -> Window:
    weight = shape_of(node.inputs[1])
    kernel = tuple(extent or 1 for extent in (weight or ())[2:])
    axes = len(kernel)
    strides = ints_attribute(node, "strides") or (1,) * axes
    dilations = ints_attribute(node, "dilations") or (1,) * axes
    pads = explicit_pads(node, input_shape) or (0,) * (2 * axes)
    return Window(
        kernel=kernel,
        strides=strides,
        dilations=dilations,
        pads=pads,
        group=int_attribute(node, "group", 1),
    )


def _gemm(node: ir.Node, sizes: Sizes) -> LayerWork:
    transposed = bool(int_attribute(node, "transB", 0))
    source, output = _name(node.inputs[0]), _name(node.outputs[0])
    weight = shape_of(node.inputs[1]) or ()
    rows = sizes.single.get(output)
    k, n = (weight[1], weight[0]) if transposed else (weight[0], weight[1])
    gemm = _work(1, None if rows is None else rows[0], k, n)
    return LayerWork(
        name=node.name or "",
        kind=LayerKind.GEMM,
        op_type=node.op_type,
        input=source,
        output=output,
        weight=_name(node.inputs[1]),
        bias=_name(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None,
        bias_node=None,
        weight_shape=weight,
        channel_axis=0 if transposed else 1,
        weight_on_left=False,
        transposed=transposed,
        window=None,
        input_shape=sizes.shown.get(source, ()),
        output_shape=sizes.shown.get(output, ()),
        gemm=gemm,
        macs=_macs(gemm),
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
    return _product_layer(node, sizes, LayerKind.MATMUL_DYNAMIC, left, right, gemm)


def _matmul_weighted(node: ir.Node, sizes: Sizes, *, on_left: bool) -> LayerWork:
    """Describe activations ``[m, k]`` times the weight; a batched weight is one group per matrix."""
    weight, source = (node.inputs[0], node.inputs[1]) if on_left else (node.inputs[1], node.inputs[0])
    shape = shape_of(weight) or ()
    matrices = _product(shape[:-2]) or 1
    out = sizes.single.get(_name(node.outputs[0]))
    k, n = (shape[-1], shape[-2]) if on_left else (shape[-2], shape[-1])
    gemm = None
    if out is not None:
        values = _product(out)
        gemm = _work(matrices, None if values is None else values // (matrices * (n or 1)), k, n)
    return _product_layer(node, sizes, LayerKind.MATMUL, source, weight, gemm, on_left=on_left)


def _product_layer(
    node: ir.Node,
    sizes: Sizes,
    kind: LayerKind,
    source: ir.Value | None,
    weight: ir.Value | None,
    gemm: tuple[int, int, int, int] | None,
    *,
    on_left: bool = False,
) -> LayerWork:
    output = _name(node.outputs[0])
    shape = sizes.shown.get(_name(weight), ())
    bias, bias_node = (None, None)
    if kind is LayerKind.MATMUL and not on_left:
        bias, bias_node = _bias_after(node, shape[-1])
    return LayerWork(
        name=node.name or "",
        kind=kind,
        op_type=node.op_type,
        input=_name(source),
        output=output,
        weight=_name(weight),
        bias=bias,
        bias_node=bias_node,
        weight_shape=shape,
        channel_axis=len(shape) - 2 if on_left else len(shape) - 1,
        weight_on_left=on_left,
        transposed=False,
        window=None,
        input_shape=sizes.shown.get(_name(source), ()),
        output_shape=sizes.shown.get(output, ()),
        gemm=gemm,
        macs=_macs(gemm),
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
        kind=LayerKind.GATHER,
        op_type=node.op_type,
        input=source,
        output=output,
        weight=_name(node.inputs[0]),
        bias=None,
        bias_node=None,
        weight_shape=shape_of(node.inputs[0]) or (),
        channel_axis=0,
        weight_on_left=False,
        transposed=False,
        window=None,
        input_shape=sizes.shown.get(source, ()),
        output_shape=sizes.shown.get(output, ()),
        gemm=None,
        macs=0,
    )
