"""The weight scales at which a requantization factor is dyadic."""

from dataclasses import dataclass

import numpy as np

from dybitq.encodings import dyadic

_NEIGHBOURS = (0, -1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleGrid:
    """Scales ``unit * b * 2^-c``: with ``unit = s_y / s_x`` the factor ``s_x * s_w / s_y`` is ``b * 2^-c``.

    Attributes:
        unit: scale of the output over scale of the input.
        pow2: only powers of two, b = 1.
        max_shift: largest c.
    """

    unit: float
    pow2: bool = False
    max_shift: int = dyadic.MAX_SHIFT

    def factors(self, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Multiplier b and shift c of the grid point nearest to each scale, int64."""
        wanted = np.asarray(scale, np.float64) / self.unit
        if self.pow2:
            return dyadic.snap_pow2(wanted, self.max_shift)
        return dyadic.snap(wanted, self.max_shift)

    def snap(self, scale: np.ndarray) -> np.ndarray:
        """Return the nearest grid point to each scale, float32 (to whose precision it is on the grid)."""
        return (dyadic.value(*self.factors(scale)) * self.unit).astype(np.float32)

    def neighbours(self, scale: np.ndarray) -> np.ndarray:
        """Grid points around each scale, float32 ``[3, *scale.shape]``, the nearest first."""
        b, c = self.factors(scale)
        steps = np.array(_NEIGHBOURS).reshape(-1, *[1] * b.ndim)
        if self.pow2:
            points = np.ldexp(dyadic.value(b, c), steps)
        else:
            coarse = np.maximum(c, np.minimum(self.max_shift, dyadic.MULTIPLIER_BITS - _bits(b) + c))
            points = dyadic.value(np.maximum((b << (coarse - c)) + steps, 1), coarse)
        return self.snap(points * self.unit)


def _bits(values: np.ndarray) -> np.ndarray:
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)
