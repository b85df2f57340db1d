"""Activation edges: scale, zero point and clamp of every coded tensor, from its histogram."""

import math
from collections.abc import Sequence

import numpy as np

from dybitq.encodings import formats
from dybitq.errors import StatisticsError
from dybitq.fit.activations.ranges import Profile, profile, range_methods
from dybitq.graph.pointwise import Response
from dybitq.records.fitted import FittedEdge
from dybitq.records.plan import EdgePlan
from dybitq.records.statistics import TensorStatistics

_COARSER = 1.25  # how much coarser a concatenation may be coded to spare one of its parts a rounding
_SMALLEST_RANGE = 1e-30  # below it a tensor is taken as constant zero: 255 steps would underflow


def fit_edge(
    plan: EdgePlan,
    statistics: TensorStatistics,
    clamp: tuple[float, float] | None = None,
    response: Response | None = None,
) -> FittedEdge:
    """Choose scale and zero point of one tensor.

    Codes are uint8. The scale is rounded to float32, the zero point is the nearest integer to where
    zero falls, and widths below 8 bits use codes ``0 .. 2**bits - 1``.

    Args:
        plan: what was decided for the tensor.
        statistics: what calibration saw of it.
        clamp: bounds of the Relu or Clip that writes it, which narrow the codes, or None.
        response: elementwise function that all readers of the tensor compute, or None.
    """
    return edge_within(plan, profile(statistics, response), clamp)


def edge_within(plan: EdgePlan, seen: Profile, clamp: tuple[float, float] | None = None) -> FittedEdge:
    """:func:`fit_edge` of a profile, which is the same for every format of a tensor."""
    levels = 2 ** formats.get(plan.format).bits
    low, high = range_methods.get(plan.range)(seen, levels)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise StatisticsError(
            f"tensor {plan.tensor}: calibrated range {low}..{high} is not finite; recalibrate"
        )
    width = high - low
    if width < _SMALLEST_RANGE:
        low, high, width = 0.0, 1.0, 1.0
    scale = float(np.float32(width / (levels - 1)))
    zero_point = min(levels - 1, max(0, round(-low / scale)))
    first, last = clamp_codes(clamp, scale, zero_point)
    return FittedEdge(
        format=plan.format,
        scale=scale,
        zero_point=zero_point,
        low=max(0, first),
        high=min(levels - 1, last),
    )


def joined_edge(own: FittedEdge, parts: Sequence[FittedEdge]) -> FittedEdge:
    """Return the encoding of a concatenation: that of the part whose range covers all others, if one does.

    The codes of that part are then copied as they are: no second rounding, and no table to look them up in.
    An encoding much coarser than ``own``, which was fitted to the concatenation itself, is not taken.
    """
    widest = max(parts, key=lambda part: part.scale * (part.high - part.low), default=own)
    (low, high), step = widest.real_range, widest.scale
    ranges = [part.real_range for part in parts]
    covers = all(low <= first + step / 2 and last <= high + step / 2 for first, last in ranges)
    if not parts or not covers or widest.format != own.format or step > own.scale * _COARSER:
        return own
    return widest


def clamp_codes(bounds: tuple[float, float] | None, scale: float, zero_point: int) -> tuple[int, int]:
    """Codes nearest to the real-valued ``bounds``, within 0..255; 0..255 without bounds."""
    if bounds is None:
        return 0, 255
    codes = [
        255 if b == math.inf else 0 if b == -math.inf else min(255, max(0, round(b / scale) + zero_point))
        for b in bounds
    ]
    return codes[0], codes[1]
