"""Explicit pads of a convolution from ``auto_pad`` and ``output_shape``, where the sizes are known.

Formulas of the ONNX operators Conv and ConvTranspose; SAME_UPPER puts the odd pixel at the end.
"""

import onnx_ir as ir

from dybitq.graph.values import ints_attribute, is_op, shape_of
from dybitq.records.layers import Shape


def string_attribute(node: ir.Node, name: str, default: str) -> str:
    """Return a string attribute, or its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()


def explicit_pads(node: ir.Node, input_shape: Shape | None) -> tuple[int, ...] | None:
    """Compute the pads of a Conv or ConvTranspose, all begins before all ends.

    Args:
        node: with a weight of known shape.
        input_shape: ``[N, C, *spatial]``; None for unknown extents.

    Returns:
        None where they depend on extents that are not known.
    """
    weight = shape_of(node.inputs[1])
    if weight is None or None in weight:
        return None
    kernel = [extent or 0 for extent in weight[2:]]
    axes = len(kernel)
    strides = ints_attribute(node, "strides") or (1,) * axes
    dilations = ints_attribute(node, "dilations") or (1,) * axes
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    mode = string_attribute(node, "auto_pad", "NOTSET")
    wanted = ints_attribute(node, "output_shape")
    spatial: Shape = (None,) * axes if input_shape is None else input_shape[2:]
    if len(spatial) != axes:
        return None
    if is_op(node, "ConvTranspose"):
        if mode == "NOTSET" and wanted is None:
            return ints_attribute(node, "pads") or (0,) * (2 * axes)
        extra = ints_attribute(node, "output_padding") or (0,) * axes
        totals = _transposed_totals(spatial, strides, spans, extra, wanted, mode)
    elif mode == "NOTSET":
        return ints_attribute(node, "pads") or (0,) * (2 * axes)
    else:
        totals = [_total(n, s, span, mode) for n, s, span in zip(spatial, strides, spans, strict=True)]
    known = [total for total in totals if total is not None and total >= 0]
    if len(known) < axes:
        return None
    small = [total // 2 for total in known]
    large = [total - half for total, half in zip(known, small, strict=True)]
    # ConvTranspose with an output shape and without a mode puts the odd pixel in front.
    upper = mode in ("SAME_UPPER", "VALID")
    return (*small, *large) if upper else (*large, *small)


def _total(extent: int | None, stride: int, span: int, mode: str) -> int | None:
    """Compute the padding of one axis of a Conv, begin and end together."""
    if mode == "VALID":
        return 0
    if extent is None:
        return span - 1 if stride == 1 else None
    return max((-(-extent // stride) - 1) * stride + span - extent, 0)


def _transposed_totals(
    spatial: Shape,
    strides: tuple[int, ...],
    spans: list[int],
    extra: tuple[int, ...],
    wanted: tuple[int, ...] | None,
    mode: str,
) -> list[int | None]:
    """Compute the padding of every axis of a ConvTranspose, begin and end together."""
    totals: list[int | None] = []
    for axis, extent in enumerate(spatial):
        stride, reach = strides[axis], spans[axis] + extra[axis]
        if wanted is not None:
            totals.append(None if extent is None else stride * (extent - 1) + reach - wanted[axis])
        elif mode == "VALID":
            totals.append(0)
        else:  # the output is stride times the input, also where that is unknown
            totals.append(reach - stride)
    return totals
