"""Encodings of activations for integer-only arithmetic: a scale, and zero point 0 or 128.

Zero point 0 is for tensors without negative values, or whose few negative values cost less when clipped
than the bit they would take; 128 for all others. Ranges are chosen by the same methods as elsewhere; the
squared error is searched over symmetric ranges directly.
"""

import math
from dataclasses import dataclass

import numpy as np

from dybitq.encodings import formats
from dybitq.errors import StatisticsError
from dybitq.fit.activations.ranges import Profile, profile, range_methods
from dybitq.graph.pointwise import Response
from dybitq.integer.assembly import SIGNED_ZERO
from dybitq.records.fitted import FittedEdge
from dybitq.records.plan import EdgePlan
from dybitq.records.statistics import TensorStatistics

_SMALLEST_RANGE = 1e-30
_FRACTIONS = np.concatenate([np.linspace(1.0, 0.5, 51), np.geomspace(0.49, 0.01, 40)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Encodings:
    """The encodings that one tensor could have.

    Attributes:
        plan: format and range method.
        seen: what calibration saw of the tensor.
        bounds: of the Relu or Clip that writes it.
    """

    plan: EdgePlan
    seen: Profile
    bounds: tuple[float, float] | None = None

    @property
    def levels(self) -> int:
        """Number of codes."""
        return int(2 ** formats.get(self.plan.format).bits)

    def limits(self, zero_point: int) -> tuple[int, int]:
        """First and last code."""
        half = self.levels // 2
        return (SIGNED_ZERO - half, SIGNED_ZERO + half - 1) if zero_point else (0, self.levels - 1)

    def edge(self, scale: float, zero_point: int) -> FittedEdge:
        """Return the encoding with this scale and zero point, clamped to its levels and bounds."""
        first, last = self.limits(zero_point)
        low, high = code_bounds(self.bounds, scale, zero_point)
        return FittedEdge(
            format=self.plan.format,
            scale=scale,
            zero_point=zero_point,
            low=max(first, low),
            high=min(last, high),
        )

    def error(self, scale: float, zero_point: int) -> float:
        """Return the expected sum of squared errors."""
        half = self.levels // 2
        low, high = (-half * scale, (half - 1) * scale) if zero_point else (0.0, (self.levels - 1) * scale)
        return self.seen.error(low, high, self.levels)

    def best(self) -> FittedEdge:
        """Return the encoding of the plan's range method, with the zero point of the smaller error."""
        nonnegative = self.seen.low >= 0 or (self.bounds is not None and self.bounds[0] >= 0)
        found = [(self._scale(0), 0)] if self.seen.high > 0 or self.seen.low >= 0 else []
        if not nonnegative or not found:
            found.append((self._scale(SIGNED_ZERO), SIGNED_ZERO))
        return self.edge(*min(found, key=lambda pair: self.error(*pair)))

    def _scale(self, zero_point: int) -> float:
        half = self.levels // 2
        up, down = (half - 1, half) if zero_point else (self.levels - 1, 0)

        def reaching(low: float, high: float) -> float:
            scale = max(high / up, -low / down if down else 0.0)
            return scale if scale >= _SMALLEST_RANGE else 1.0 / up

        if self.plan.range != "mse":
            return float(np.float32(reaching(*range_methods.get(self.plan.range)(self.seen, self.levels))))
        largest = reaching(self.seen.low, self.seen.high)
        scales = [largest * float(fraction) for fraction in _FRACTIONS]
        return float(np.float32(min(scales, key=lambda scale: self.error(scale, zero_point))))


def encodings_of(
    plan: EdgePlan,
    statistics: TensorStatistics,
    response: Response | None,
    bounds: tuple[float, float] | None = None,
) -> Encodings:
    """Return the encodings that a tensor could have.

    Args:
        plan: format and range method.
        statistics: what calibration saw of the tensor.
        response: what all readers together make of its values, or None.
        bounds: of the Relu or Clip that writes it.

    Raises:
        StatisticsError: the calibrated range is not finite.
    """
    seen = profile(statistics, response)
    if not (math.isfinite(seen.low) and math.isfinite(seen.high)):
        raise StatisticsError(
            f"tensor {plan.tensor}: calibrated range {seen.low}..{seen.high} is not finite; recalibrate"
        )
    return Encodings(plan=plan, seen=seen, bounds=bounds)


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
