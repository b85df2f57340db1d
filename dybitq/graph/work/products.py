"""Operators that multiply and accumulate, as products ``groups x [m, k] x [k, n]`` at the bound batch."""

import math
from dataclasses import dataclass

import onnx_ir as ir

from dybitq.graph.values import int_attribute, ints_attribute
from dybitq.records.workload import ConvWork

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperandPlaces:
    """Positions of the streamed operand and of the weight among a node's inputs."""

    left: int
    right: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductShape:
    """The work of one node; ``swapped`` when its weight stands on the left."""

    groups: int
    m: int
    k: int
    n: int
    conv: ConvWork | None = None
    swapped: bool = False


_PLAIN, _QLINEAR, _QGEMM = (
    OperandPlaces(left=0, right=1),
    OperandPlaces(left=0, right=3),
    OperandPlaces(left=0, right=3),
)

PRODUCTS: dict[str, OperandPlaces] = {
    "Conv": _PLAIN,
    "ConvInteger": _PLAIN,
    "FusedConv": _PLAIN,
    "QLinearConv": _QLINEAR,
    "ConvTranspose": _PLAIN,
    "Gemm": _PLAIN,
    "QGemm": _QGEMM,
    "MatMul": _PLAIN,
    "MatMulInteger": _PLAIN,
    "DynamicQuantizeMatMul": _PLAIN,
    "MatMulIntegerToFloat": _PLAIN,
    "FusedMatMul": _PLAIN,
    "QLinearMatMul": _QLINEAR,
    "MatMulNBits": _PLAIN,
}
"""Operators that are products, of ONNX and of onnxruntime's own domain."""

_CONVOLUTIONS = frozenset({"Conv", "ConvInteger", "FusedConv", "QLinearConv"})


def product(
    node: ir.Node, shapes: tuple[Shape, Shape, Shape], *, weight_on_left: bool
) -> ProductShape | None:
    """Describe the products of a node.

    Args:
        node: one of ``PRODUCTS``.
        shapes: of the two operands and of the output.
        weight_on_left: the left operand is the constant one.

    Returns:
        None where the shapes do not fit the operator.
    """
    left, right, out = shapes
    if node.op_type in _CONVOLUTIONS:
        return _convolution(node, left, right, out)
    if node.op_type == "ConvTranspose":
        group = int_attribute(node, "group", 1)
        if len(left) < 3 or len(right) != len(left):
            return None
        m = left[0] * math.prod(left[2:])
        return ProductShape(groups=group, m=m, k=right[0] // group, n=right[1] * math.prod(right[2:]))
    if node.op_type == "MatMulNBits":
        k, n = int_attribute(node, "K", 1), int_attribute(node, "N", 1)
        return ProductShape(groups=1, m=math.prod(left[:-1]), k=k, n=n)
    if node.op_type in ("Gemm", "QGemm"):
        k = left[0] if int_attribute(node, "transA", 0) else left[-1]
        return ProductShape(groups=1, m=out[0], k=k, n=out[-1]) if len(out) == 2 else None
    return _matmul(left, right, out, weight_on_left=weight_on_left)


def _convolution(node: ir.Node, left: Shape, right: Shape, out: Shape) -> ProductShape | None:
    if len(left) < 3 or len(right) != len(left) or len(out) != len(left):
        return None
    group, taps = int_attribute(node, "group", 1), math.prod(right[2:])
    m, k, n = out[0] * math.prod(out[2:]), right[1] * taps, right[0] // group
    return ProductShape(groups=group, m=m, k=k, n=n, conv=_geometry(node, left, right, out, group))


def _geometry(node: ir.Node, left: Shape, right: Shape, out: Shape, group: int) -> ConvWork | None:
    """Return the window geometry of a 1-D or 2-D convolution; others are priced as plain products."""
    axes = len(left) - 2
    if axes > 2:
        return None
    strides = ints_attribute(node, "strides") or (1,) * axes
    dilations = ints_attribute(node, "dilations") or (1,) * axes
    pads = ints_attribute(node, "pads") or (0,) * (2 * axes)
    lead = (1,) * (2 - axes)
    kernel, extent, result = (*lead, *right[2:]), (*lead, *left[2:]), (*lead, *out[2:])
    strides, dilations, pads = (*lead, *strides), (*lead, *dilations), (*(0,) * (2 - axes), *pads[:axes])
    return ConvWork(
        batch=left[0],
        in_h=extent[0],
        in_w=extent[1],
        in_c=left[1],
        out_h=result[0],
        out_w=result[1],
        out_c=out[1],
        kernel_h=kernel[0],
        kernel_w=kernel[1],
        stride_h=strides[0],
        stride_w=strides[1],
        dilation_h=dilations[0],
        dilation_w=dilations[1],
        pad_top=pads[0],
        pad_left=pads[1],
        group=group,
    )


def _matmul(left: Shape, right: Shape, out: Shape, *, weight_on_left: bool) -> ProductShape | None:
    if not left or not right:
        return None
    m, k = (left[-2] if len(left) > 1 else 1), left[-1]
    n = right[-1] if len(right) > 1 else 1
    if (right[-2] if len(right) > 1 else right[0]) != k:
        return None
    batch = max(math.prod(out) // max(m * n, 1), 1)
    if weight_on_left:
        matrices = math.prod(left[:-2])
        return ProductShape(groups=matrices, m=batch // matrices * n, k=k, n=m, swapped=True)
    matrices = math.prod(right[:-2])
    return ProductShape(groups=matrices, m=batch // matrices * m, k=k, n=n)
