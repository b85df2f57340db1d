"""In which arithmetic a network is emitted, and the options of integer-only arithmetic."""

from dataclasses import dataclass
from enum import StrEnum

FLOAT_RESCALE = "float-rescale"
INTEGER_FAST = "integer-fast"
INTEGER_EXPLICIT = "integer-explicit"
ARITHMETICS = (FLOAT_RESCALE, INTEGER_FAST, INTEGER_EXPLICIT)


class TieRounding(StrEnum):
    """Rounding of a value half way between two integers."""

    HALF_EVEN = "half-even"  # to the even one, as float kernels and numpy's rint do
    HALF_UP = "half-up"  # to the larger one, as adding a half and shifting does


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerOptions:
    """Options of integer-only arithmetic; see docs/integer-only.md.

    Attributes:
        only: ``strict`` refuses operators that have no integer form, ``report`` leaves them in float.
        rounding: what becomes of ties: ``half-even``, or ``half-up`` (explicit flavour only).
        scales: ``free`` dyadic factors, or ``pow2``: every scale a power of two, every factor a shift.
        multiplier_bits: 0 snaps the weight scales to factors with shifts of at most 16; 8 to 31 leaves the
            scales as they are fitted and rounds the factors to multipliers this wide (explicit only).
        residual_bits: width of the sums of residual branches: 8, or 16 (explicit only).
        residual_rounding: ``sum`` rounds the exact sum once, ``branch`` rounds each term before they are
            added, as HAWQ-V3 does (explicit only).
    """

    only: str = "strict"
    rounding: str = "half-even"
    scales: str = "free"
    multiplier_bits: int = 0
    residual_bits: int = 8
    residual_rounding: str = "sum"


DEFAULT_OPTIONS = IntegerOptions()
