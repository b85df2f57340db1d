"""Linear Resize by a whole factor: one kernel for each phase, interleaved."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from dybitq.graph.values import constant, int_attribute, is_op, shape_of
from dybitq.integer.assembly import Assembly
from dybitq.integer.context import Context, names_of, operators
from dybitq.integer.factors import requantize
from dybitq.integer.polyphase import interleaved, interpolation_kernels, whole_numbers
from dybitq.integer.step import Encoding, IntegerStep
from dybitq.records.integer_network import Move, Operation

_LARGEST_PAIR = 128  # of weights that a kernel may add two products of, see fit/weights/kernel_range.py


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InterpolateStep(IntegerStep):
    """Linear interpolation; the encoding stays.

    Attributes:
        channels: of the input.
        factor: of rows and columns.
        half_pixel: whether pixel centres are aligned (otherwise the first pixels).
    """

    encoding: ClassVar[Encoding] = Encoding.CARRIED
    recodable: ClassVar[bool] = False

    channels: int
    factor: int
    half_pixel: bool

    def assemble(self, assembly: Assembly) -> list[Operation]:
        """Repeat the border, convolve with the kernels of all phases, and interleave them.

        Where the weights' common divisor is no power of two its reciprocal is a dyadic number
        with any options.
        """
        phases = interpolation_kernels(self.channels, self.factor, half_pixel=self.half_pixel)
        options = replace(assembly.options, scales="free")
        target, relative = requantize(self.name, 1 / phases.divisor, assembly.output_edge(self), options)
        assembly.relative[self.outputs[0]] = relative
        padded = f"{assembly.codes(self.outputs[0])}_border"
        border = Move(
            name=f"{self.name}/border",
            op_type="Pad",
            operands=(assembly.codes(self.inputs[0]), np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)),
            outputs=(padded,),
            attributes={"mode": "edge"},
        )
        weight = whole_numbers(phases.kernels)
        return [border, *interleaved(assembly, self, padded, phases, weight, None, target)]


@operators.register("interpolate")
def recognise(node: ir.Node, context: Context) -> InterpolateStep | None:
    """Recognise a linear Resize by a whole factor."""
    found = interpolation(node) if is_op(node, "Resize") else None
    channels = None if found is None else context.coded_channels(node)
    if found is None or channels is None:
        return None
    names = names_of(node, node.inputs[:1])
    return context.carried(InterpolateStep(**names, channels=channels, factor=found[0], half_pixel=found[1]))


def interpolation(node: ir.Node) -> tuple[int, bool] | None:
    """Return factor and alignment of pixel centres of a linear Resize of pictures; None for any other."""
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
