"""Encodings of activations for integer-only arithmetic: zero point 0 or 128, a free or a power-of-two scale.

Zero point 0 is for tensors without negative values, or whose few negative values cost less when clipped
than the bit they would take; 128 for all others. Ranges are chosen by the same methods as elsewhere; the
squared error is searched over symmetric ranges directly.
"""

import math

import numpy as np

from dybitq.encodings import formats
from dybitq.errors import StatisticsError
from dybitq.fit.assembly import SIGNED_ZERO
from dybitq.fit.ranges import Profile, profile, range_methods
from dybitq.graph.pointwise import Response
from dybitq.records import EdgePlan, FittedEdge, TensorStatistics

_SMALLEST_RANGE = 1e-30
_FRACTIONS = np.concatenate([np.linspace(1.0, 0.5, 51), np.geomspace(0.49, 0.01, 40)])


def fit_integer_edge(
    plan: EdgePlan,
    statistics: TensorStatistics,
    response: Response | None,
    *,
    bounds: tuple[float, float] | None = None,
    pow2: bool = False,
) -> FittedEdge:
    """Choose scale and zero point of one tensor.

    Args:
        plan: format and range method.
        statistics: what calibration saw of the tensor.
        response: what all readers together make of its values, or None.
        bounds: of the Relu or Clip that writes it.
        pow2: allow powers of two only.

    Raises:
        StatisticsError: the calibrated range is not finite.
    """
    bits = formats.get(plan.format).bits
    levels = 2**bits
    seen = profile(statistics, response)
    if not (math.isfinite(seen.low) and math.isfinite(seen.high)):
        raise StatisticsError(
            f"tensor {plan.tensor}: calibrated range {seen.low}..{seen.high} is not finite; recalibrate"
        )
    nonnegative = seen.low >= 0 or (bounds is not None and bounds[0] >= 0)
    unsigned = _candidates(plan, seen, levels, signed=False, pow2=pow2)
    signed = [] if nonnegative else _candidates(plan, seen, levels, signed=True, pow2=pow2)
    scale, zero_point = min(
        [(s, 0) for s in unsigned] + [(s, SIGNED_ZERO) for s in signed],
        key=lambda found: _error(seen, found[0], levels, signed=found[1] != 0),
    )
    half = levels // 2
    first, last = (SIGNED_ZERO - half, SIGNED_ZERO + half - 1) if zero_point else (0, levels - 1)
    low, high = code_bounds(bounds, scale, zero_point)
    return FittedEdge(
        format=plan.format,
        scale=scale,
        zero_point=zero_point,
        low=max(first, low),
        high=min(last, high),
    )


def code_bounds(bounds: tuple[float, float] | None, scale: float, zero_point: int) -> tuple[int, int]:
    """Codes nearest to real-valued bounds, within 0..255."""
    if bounds is None:
        return 0, 255
    low, high = (
        zero_point
        + (round(b / scale) if math.isfinite(b) and abs(b / scale) < 512 else int(math.copysign(512, b)))
        for b in bounds
    )
    return min(255, max(0, low)), min(255, max(0, high))


def _candidates(plan: EdgePlan, seen: Profile, levels: int, *, signed: bool, pow2: bool) -> list[float]:
    """Scales worth comparing; empty where the sign of the codes makes no sense."""
    up, down = (levels // 2 - 1, levels // 2) if signed else (levels - 1, 0)
    if seen.high <= 0 and not signed:
        return [] if seen.low < 0 else [1.0 / up]
    if plan.range == "mse":
        largest = _scale_of(seen.low, seen.high, up, down)
        scales = [largest * float(f) for f in _FRACTIONS]
        best = min(scales, key=lambda s: _error(seen, s, levels, signed=signed))
    else:
        low, high = range_methods.get(plan.range)(seen, levels)
        best = _scale_of(low, high, up, down)
    if not pow2:
        return [float(np.float32(best))]
    exponent = math.floor(math.log2(best))
    return [2.0**e for e in range(exponent - 1, exponent + 3)]


def _scale_of(low: float, high: float, up: int, down: int) -> float:
    scale = max(high / up, -low / down if down else 0.0)
    return scale if scale >= _SMALLEST_RANGE else 1.0 / up


def _error(seen: Profile, scale: float, levels: int, *, signed: bool) -> float:
    half = levels // 2
    low, high = (-half * scale, (half - 1) * scale) if signed else (0.0, (levels - 1) * scale)
    return seen.error(low, high, levels)
