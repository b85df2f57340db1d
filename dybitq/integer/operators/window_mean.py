"""AveragePool over windows of one size: a depthwise convolution with ones."""

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from dybitq.graph.values import int_attribute, ints_attribute, is_op, shape_of
from dybitq.integer.assembly import Assembly
from dybitq.integer.context import Context, names_of, operators
from dybitq.integer.factors import requantize_tied
from dybitq.integer.polyphase import whole_numbers
from dybitq.integer.step import IntegerStep, MeanScale, ScaleTie
from dybitq.records.geometry.windows import Window
from dybitq.records.integer_network import Convolution, Operation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowMeanStep(IntegerStep):
    """Averages over windows.

    Attributes:
        channels: of the input.
        window: its geometry.
    """

    channels: int
    window: Window

    @property
    def tie(self) -> ScaleTie | None:
        """The result's scale is divided by the size of the window."""
        return MeanScale(count=math.prod(self.window.kernel))

    def assemble(self, assembly: Assembly) -> list[Operation]:
        """Sum up, with the reciprocal of the window's size in the factor."""
        source, target_edge = assembly.input_edge(self), assembly.output_edge(self)
        factor = source.scale / (target_edge.scale * math.prod(self.window.kernel))
        target, relative = requantize_tied(self.name, factor, target_edge, assembly.options)
        assembly.relative[self.outputs[0]] = relative
        return [
            Convolution(
                name=self.name,
                input=assembly.codes(self.inputs[0]),
                output=assembly.codes(self.outputs[0]),
                input_zero=source.zero_point,
                weight=whole_numbers(np.ones((self.channels, 1, *self.window.kernel), np.int64)),
                bias=None,
                window=self.window,
                requantize=target,
            )
        ]


@operators.register("window mean")
def recognise(node: ir.Node, context: Context) -> WindowMeanStep | None:
    """Recognise an AveragePool whose windows all average the same number of values."""
    window = window_of(node) if is_op(node, "AveragePool") else None
    channels = None if window is None else context.coded_channels(node)
    if window is None or channels is None:
        return None
    step = WindowMeanStep(**names_of(node, node.inputs[:1]), channels=channels, window=window)
    return context.own(step, node.outputs[0])


def window_of(node: ir.Node) -> Window | None:
    """Return the window of an AveragePool; None where windows at the border average fewer values."""
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
    """Return whether the last window ends with the padded input: rounding the extent up changes nothing."""
    rank = len(window.kernel)
    for axis, extent in enumerate(() if shape is None else shape[2:]):
        if extent is None:
            return False
        reach = extent + window.pads[axis] + window.pads[rank + axis]
        if (reach - (window.kernel[axis] - 1) * window.dilations[axis] - 1) % window.strides[axis]:
            return False
    return True
