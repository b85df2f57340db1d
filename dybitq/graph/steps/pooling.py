"""Pooling and resizing as sums over windows: when they are, and over which."""

from math import prod

import onnx_ir as ir

from dybitq.graph.values import constant, int_attribute, ints_attribute, shape_of
from dybitq.records.geometry.windows import Window

_LARGEST_PAIR = 128  # of weights that a kernel may add two products of, see fit/weights/kernel_range.py


def mean_count(node: ir.Node) -> int | None:
    """How many values a GlobalAveragePool averages; None where the space is not known."""
    shape = shape_of(node.inputs[0])
    if shape is None or len(shape) < 3:
        return None
    space = [extent for extent in shape[2:] if extent is not None]
    return prod(space) if len(space) == len(shape) - 2 else None


def window_of(node: ir.Node) -> Window | None:
    """Window of an AveragePool; None where windows at the border average fewer values."""
    kernel = ints_attribute(node, "kernel_shape")
    if kernel is None:
        return None
    rank = len(kernel)
    pads = ints_attribute(node, "pads") or (0,) * 2 * rank
    if any(pads) and not int_attribute(node, "count_include_pad", 0):
        return None
    shape = shape_of(node.inputs[0])
    channels = None if shape is None or len(shape) < 3 else shape[1]
    if channels is None:
        return None
    window = Window(
        kernel=kernel,
        strides=ints_attribute(node, "strides") or (1,) * rank,
        dilations=ints_attribute(node, "dilations") or (1,) * rank,
        pads=pads,
        group=channels,
    )
    if int_attribute(node, "ceil_mode", 0) and not _tiles(window, shape):
        return None
    return window


def _tiles(window: Window, shape: tuple[int | None, ...] | None) -> bool:
    """Whether the last window ends with the padded input, so that rounding the extent up changes nothing."""
    rank = len(window.kernel)
    for axis, extent in enumerate(() if shape is None else shape[2:]):
        if extent is None:
            return False
        reach = extent + window.pads[axis] + window.pads[rank + axis]
        if (reach - (window.kernel[axis] - 1) * window.dilations[axis] - 1) % window.strides[axis]:
            return False
    return True


def interpolation(node: ir.Node) -> tuple[int, bool] | None:
    """Factor of a linear Resize of pictures, and whether it aligns pixel centres; None for any other."""
    mode = _text(node, "mode", "nearest")
    place = _text(node, "coordinate_transformation_mode", "half_pixel")
    if mode != "linear" or int_attribute(node, "antialias", 0) or "axes" in node.attributes:
        return None
    if place not in ("half_pixel", "pytorch_half_pixel", "asymmetric"):
        return None
    scales = _scales(node)
    if scales is None or len(scales) != 4 or scales[:2] != (1.0, 1.0) or scales[2] != scales[3]:
        return None
    factor = int(scales[2])
    half_pixel = place != "asymmetric"
    largest, next_to_it = (2 * factor - 1, 1) if half_pixel and factor % 2 == 0 else (factor, 0)
    if scales[2] != factor or factor < 1 or largest * (largest + next_to_it) >= _LARGEST_PAIR:
        return None
    return factor, half_pixel


def _scales(node: ir.Node) -> tuple[float, ...] | None:
    """Factors along all axes, from the scales, or from the sizes where all extents are known."""
    scales = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if scales is not None and scales.size:
        return tuple(float(scale) for scale in scales)
    sizes = constant(node.inputs[3]) if len(node.inputs) > 3 else None
    shape = shape_of(node.inputs[0])
    if sizes is None or shape is None or None in shape[2:] or len(sizes) != len(shape):
        return None
    return (1.0, 1.0, *(float(new) / float(old or 1) for new, old in zip(sizes[2:], shape[2:])))


def _text(node: ir.Node, name: str, default: str) -> str:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()
