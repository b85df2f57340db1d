"""Nearest level of an integer table by one look-up, fast enough to search scales with.

The mid-points between integer levels are multiples of one half, so ``floor(2 x)`` names the interval
that x lies in, and a table over those names holds the nearest level. Ties go to the larger level here,
which changes no error; the codes that are stored come from ``encodings.codec``.
"""

from dataclasses import dataclass

import numpy as np

from dybitq.records import NumberFormat


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Levels:
    """Nearest-level look-up of one format.

    Attributes:
        lowest: the interval name of the first entry.
        nearest: float32, nearest level for every interval from ``lowest`` on.
        integers: float64, the distinct levels, ascending.
    """

    lowest: int
    nearest: np.ndarray
    integers: np.ndarray

    @staticmethod
    def of(fmt: NumberFormat) -> "Levels":
        """Build the look-up of ``fmt``."""
        integers = np.unique(fmt.table).astype(np.float64)
        lowest, highest = int(2 * integers[0]) - 1, int(2 * integers[-1])
        centres = (np.arange(lowest, highest + 1) + 0.5) / 2
        middles = (integers[1:] + integers[:-1]) / 2
        nearest = integers[np.searchsorted(middles, centres)]
        return Levels(lowest=lowest, nearest=nearest.astype(np.float32), integers=integers)

    def round(self, values: np.ndarray) -> np.ndarray:
        """Nearest levels, saturating; float32, shape of ``values`` (in units of the scale)."""
        index = np.floor(values * 2)
        np.clip(index, self.lowest, self.lowest + len(self.nearest) - 1, out=index)
        return self.nearest[index.astype(np.int32) - self.lowest]
