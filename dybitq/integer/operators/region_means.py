"""AveragePool that leaves its padding out: one average for every region, put together again.

Places whose windows reach over the border average fewer values than those inside. Along one axis they fall
into a few segments with one number of values each; every combination of segments is a region that is an
average over windows of one size, without padding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby, product
from math import prod

import numpy as np
import onnx_ir as ir

from dybitq.graph.values import int_attribute, ints_attribute, is_op, shape_of
from dybitq.integer.assembly import Assembly
from dybitq.integer.context import Context, names_of, operators
from dybitq.integer.factors import requantize
from dybitq.integer.operators.window_mean import window_of
from dybitq.integer.polyphase import whole_numbers
from dybitq.integer.step import IntegerStep
from dybitq.records.geometry.windows import Window
from dybitq.records.integer_network import Convolution, Move, Operation

_MOST_REGIONS = 25  # 5 x 5 windows with two rows of padding


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Places along one axis whose windows hold the same number of values.

    Attributes:
        first: the first value that the first window reads.
        taps: values of a window.
        places: how many windows.
        stride, dilation: distance of windows, and of the values of a window.
    """

    first: int
    taps: int
    places: int
    stride: int
    dilation: int

    @property
    def end(self) -> int:
        """Place after the last value that is read."""
        return self.first + (self.places - 1) * self.stride + (self.taps - 1) * self.dilation + 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegionMeansStep(IntegerStep):
    """Averages over windows of several sizes.

    Attributes:
        channels: of the input.
        segments: along every spatial axis.
    """

    channels: int
    segments: tuple[tuple[Segment, ...], ...]

    def assemble(self, assembly: Assembly) -> list[Operation]:
        """Cut every region out and average it without padding, then join rows and columns.

        The regions' sizes differ by more than powers of two, so that their reciprocals are dyadic numbers
        with any options.
        """
        output = assembly.codes(self.outputs[0])
        assembly.relative[self.outputs[0]] = 0.0
        operations: list[Operation] = []
        single = all(len(segments) == 1 for segments in self.segments)
        names: dict[tuple[int, ...], str] = {}
        for place in product(*(range(len(segments)) for segments in self.segments)):
            parts = tuple(segments[index] for segments, index in zip(self.segments, place, strict=True))
            label = "_".join(map(str, place))
            names[place] = output if single else f"{output}_{label}"
            operations += _region(assembly, self, parts, names[place], label)
        for axis in reversed(range(len(self.segments))):
            names, joins = _joined(self, output, names, axis)
            operations += joins
        return operations


@operators.register("region means")
def recognise(node: ir.Node, context: Context) -> RegionMeansStep | None:
    """Recognise an AveragePool whose windows at the border average fewer values."""
    if not is_op(node, "AveragePool") or window_of(node) is not None:
        return None
    segments = segments_of(node)
    channels = None if segments is None else context.coded_channels(node)
    if segments is None or channels is None:
        return None
    step = RegionMeansStep(**names_of(node, node.inputs[:1]), channels=channels, segments=segments)
    return context.own(step, node.outputs[0])


def segments_of(node: ir.Node) -> tuple[tuple[Segment, ...], ...] | None:
    """Return the segments of an AveragePool along every spatial axis.

    None where the extents are not known, where padding counts (so that windows have one size), or where there
    would be very many regions.
    """
    kernel, shape = ints_attribute(node, "kernel_shape"), shape_of(node.inputs[0])
    if kernel is None or shape is None or int_attribute(node, "count_include_pad", 0):
        return None
    rank = len(kernel)
    strides = ints_attribute(node, "strides") or (1,) * rank
    dilations = ints_attribute(node, "dilations") or (1,) * rank
    pads = ints_attribute(node, "pads") or (0,) * 2 * rank
    ceil = bool(int_attribute(node, "ceil_mode", 0))
    found = []
    for axis, extent in enumerate(shape[2:]):
        if extent is None:
            return None
        window = kernel[axis], strides[axis], dilations[axis]
        found.append(_segments(extent, window, (pads[axis], pads[rank + axis]), ceil=ceil))
    return tuple(found) if prod(len(s) for s in found) <= _MOST_REGIONS and all(found) else None


def _segments(
    extent: int, window: tuple[int, int, int], pads: tuple[int, int], *, ceil: bool
) -> tuple[Segment, ...]:
    taps, stride, dilation = window
    reach = extent + sum(pads) - (taps - 1) * dilation - 1
    last = -(-reach // stride) if ceil else reach // stride
    if last * stride >= extent + pads[0]:  # a window that would start after the padding is dropped
        last -= 1
    seen = []
    for place in range(last + 1):
        start = place * stride - pads[0]
        inside = [start + t * dilation for t in range(taps) if 0 <= start + t * dilation < extent]
        if not inside:
            return ()
        seen.append((len(inside), inside[0] - start, inside[0]))
    grouped = [list(group) for _, group in groupby(seen, key=lambda entry: entry[:2])]
    return tuple(
        Segment(first=g[0][2], taps=g[0][0], places=len(g), stride=stride, dilation=dilation) for g in grouped
    )


def _joined(
    step: RegionMeansStep, output: str, names: Mapping[tuple[int, ...], str], axis: int
) -> tuple[dict[tuple[int, ...], str], list[Operation]]:
    """Join along one spatial axis what agrees in its place along the axes before it."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for place, name in names.items():
        groups.setdefault(place[:axis], []).append(name)
    whole = all(len(segments) == 1 for segments in step.segments[:axis])
    found: dict[tuple[int, ...], str] = {}
    joins: list[Operation] = []
    for place, members in groups.items():
        if len(members) == 1:
            found[place] = members[0]
            continue
        label = "_".join(map(str, place))
        found[place] = output if whole else f"{output}_{label}_joined"
        joins.append(
            Move(
                name=f"{step.name}/join_{label}",
                op_type="Concat",
                operands=tuple(members),
                outputs=(found[place],),
                attributes={"axis": axis + 2},
            )
        )
    return found, joins


def _region(
    assembly: Assembly, step: RegionMeansStep, parts: tuple[Segment, ...], name: str, label: str
) -> list[Operation]:
    source, target_edge = assembly.input_edge(step), assembly.output_edge(step)
    kernel = tuple(part.taps for part in parts)
    factor = source.scale / (target_edge.scale * prod(kernel))
    options = replace(assembly.options, scales="free")
    target, relative = requantize(f"AveragePool {step.name}", factor, target_edge, options)
    assembly.relative[step.outputs[0]] = max(assembly.relative[step.outputs[0]], relative)
    ends = [np.array(values, np.int64) for values in ([p.first for p in parts], [p.end for p in parts])]
    axes = np.arange(2, 2 + len(parts), dtype=np.int64)
    return [
        Move(
            name=f"{step.name}/cut_{label}",
            op_type="Slice",
            operands=(assembly.codes(step.inputs[0]), *ends, axes),
            outputs=(f"{name}_cut",),
        ),
        Convolution(
            name=f"{step.name}/{label}",
            input=f"{name}_cut",
            output=name,
            input_zero=source.zero_point,
            weight=whole_numbers(np.ones((step.channels, 1, *kernel), np.int64)),
            bias=None,
            window=Window(
                kernel=kernel,
                strides=tuple(part.stride for part in parts),
                dilations=tuple(part.dilation for part in parts),
                pads=(0,) * 2 * len(parts),
                group=step.channels,
            ),
            requantize=target,
        ),
    ]
