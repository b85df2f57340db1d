"""AveragePool that leaves its padding out of the mean: which places average how many values.

Places whose windows reach over the border average fewer values than those inside. Along one axis they fall
into a few segments with one number of values each; every combination of segments is a region that is an
average over windows of one size, without padding.
"""

from dataclasses import dataclass
from itertools import groupby
from math import prod

import onnx_ir as ir

from dybitq.graph.values import int_attribute, ints_attribute, shape_of

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
        """Behind the last value that is read."""
        return self.first + (self.places - 1) * self.stride + (self.taps - 1) * self.dilation + 1


def segments_of(node: ir.Node) -> tuple[tuple[Segment, ...], ...] | None:
    """Segments of an AveragePool along every spatial axis.

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
    if last * stride >= extent + pads[0]:  # a window that would start behind the padding is dropped
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
