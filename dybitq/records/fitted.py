"""Records of a fit: codes, scales, zero points and biases, by layer and by tensor."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dybitq.records.formats import NumberFormat


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedWeight:
    """Codes and scales of one weight tensor.

    The weight is ``format.table[codes] * scale`` with the scale broadcast along ``axis``.

    Attributes:
        format: the table.
        codes: uint8, shape of the weight tensor as it stands in the graph.
        scale: float32 ``[1]`` (per tensor, ``axis`` is None) or ``[channels]``.
        axis: channel axis of the scale.
        bias: float32 ``[channels]``, the layer's bias after correction; None where it has none.
        error: relative output error predicted by the fit, ``E|dW x|^2 / E|W x|^2`` (nan if unknown).
    """

    format: NumberFormat
    codes: np.ndarray
    scale: np.ndarray
    axis: int | None
    bias: np.ndarray | None
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedEdge:
    """Scale and zero point of one uint8-coded activation tensor: ``x = (code - zero_point) * scale``.

    Codes are clamped to ``low .. high``, which is narrower than 0..255 below 8 bits.
    """

    format: str
    scale: float
    zero_point: int
    low: int = 0
    high: int = 255

    @property
    def real_range(self) -> tuple[float, float]:
        """Smallest and largest real value that a code stands for."""
        return (self.low - self.zero_point) * self.scale, (self.high - self.zero_point) * self.scale

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Nearest codes, uint8, half to even and saturating; the division is in the dtype of ``values``."""
        codes = np.rint(values / np.float32(self.scale)) + self.zero_point
        return np.asarray(np.clip(codes, self.low, self.high).astype(np.uint8))

    def decode(self, codes: np.ndarray, dtype: type[np.floating] = np.float32) -> np.ndarray:
        """Real values of codes, computed in ``dtype``."""
        return np.asarray((codes.astype(dtype) - self.zero_point) * np.float32(self.scale))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recoding:
    """Change of a layer's 8-bit input codes on their way to the multiplier.

    Attributes:
        name: as it stands in a plan.
        single: uint8 ``[256]``, what replaces a code whose partner is zero.
        both: uint8 ``[256]``, what replaces a code whose partner is not zero.
        paired: whether partners are looked at; where not, ``single`` equals ``both``.
        zero_point: the code that stands for zero.
    """

    name: str
    single: np.ndarray
    both: np.ndarray
    paired: bool
    zero_point: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Arrays by layer name, edges by tensor name; ``notes`` says what was done otherwise than asked for."""

    weights: Mapping[str, FittedWeight] = field(default_factory=dict)
    edges: Mapping[str, FittedEdge] = field(default_factory=dict)
    recodings: Mapping[str, Recoding] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
