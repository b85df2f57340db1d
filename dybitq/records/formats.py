"""Records of number formats: tables of integers, and the tensors' parts that share one scale."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NumberFormat:
    """A table of integers: code ``c`` stands for the integer ``table[c]``.

    Attributes:
        name: registered name with its width, for example ``dybit4`` or ``int8``.
        family: the name without the width, ``dybit``.
        bits: width of a code, 1 to 8.
        signed: whether the table holds negative integers.
        table: int64 ``[2**bits]``. Codes that an encoder never emits (a negative zero) repeat the
            integer of the code that it emits instead.
        reserved: the codes that an encoder never emits.
    """

    name: str
    family: str
    bits: int
    signed: bool
    table: np.ndarray
    reserved: tuple[int, ...] = ()

    @property
    def max_integer(self) -> int:
        """Largest magnitude in the table."""
        return int(np.abs(self.table).max())

    @property
    def fits_int8(self) -> bool:
        """Return whether every integer fits an int8 (or uint8, if unsigned) kernel."""
        return self.max_integer <= (127 if self.signed else 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatWidths:
    """Widths of a number format or re-coding, in bits.

    Attributes:
        name: of the format or re-coding.
        family: of the format; a decoder is made for a family.
        stored: of a code in memory.
        multiplied: of a code at the multiplier.
        integer: of the integers that codes stand for, which a multiplier without a decoder takes; 0 where
            the codes are the integers.
        windowed: the codes are windows on the stored ones; a multiplier without windows takes those.
    """

    name: str
    family: str
    stored: int
    multiplied: int
    integer: int = 0
    windowed: bool = False


INT8 = FormatWidths(name="int8", family="int", stored=8, multiplied=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class PerTensor:
    """One scale for the whole tensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerChannel:
    """One scale for each index along ``axis``."""

    axis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PerBlock:
    """One scale for each run of ``size`` elements along ``axis``."""

    axis: int
    size: int


Granularity = PerTensor | PerChannel | PerBlock
