"""Small floating-point formats ``eXmY``: sign, X exponent bits, Y mantissa bits, with subnormals.

The table holds the values over the smallest subnormal, so all are integers: with exponent field ``e`` and
mantissa field ``f`` it is ``f`` at e = 0 and ``(2^Y + f) << (e - 1)`` above. The scale takes up the exponent
bias. As in the OCP specifications (8-bit floating point and microscaling formats, both 2023), ``e2m1``,
``e2m3`` and ``e3m2`` have neither infinities nor NaN, ``e4m3`` gives one code of each sign to NaN (its "fn"
form), and ``e5m2`` has infinities and NaN at the top exponent. The codes of infinities and NaN are reserved
and decode to the largest finite value, to which an encoder saturates. The widths OCP does not name have no
special codes.

One exponent bit would give plain integers (``e1mY``), no mantissa bits powers of two (``eXm0``): see ``int``
and ``pot``.
"""

import numpy as np

from dybitq.encodings.formats import SIGNED, Table, family, sign_magnitude

SPECIAL_CODES = {(4, 3): 1, (5, 2): 4}
"""Magnitude codes at the top that are no finite number, by (exponent bits, mantissa bits)."""

WIDTHS = ((2, 1), (2, 2), (2, 3), (2, 4), (3, 1), (3, 2), (3, 3), (3, 4), (4, 3), (5, 2))


def minifloat(exponent_bits: int, mantissa_bits: int) -> Table:
    """Integers of a minifloat's codes, sign bit first, in units of the smallest subnormal."""
    codes = np.arange(2 ** (exponent_bits + mantissa_bits), dtype=np.int64)
    exponent = codes >> mantissa_bits
    fraction = codes & (2**mantissa_bits - 1)
    normal = (2**mantissa_bits + fraction) << np.maximum(exponent - 1, 0)
    magnitudes = np.where(exponent == 0, fraction, normal)
    special = SPECIAL_CODES.get((exponent_bits, mantissa_bits), 0)
    if special:
        magnitudes[-special:] = magnitudes[-special - 1]
    sign = codes.size
    top = range(sign - special, sign)
    reserved = (*top, sign, *(sign + code for code in top))
    return sign_magnitude(magnitudes), reserved


def _register(exponent_bits: int, mantissa_bits: int) -> None:
    @family(
        "minifloat",
        bits=[1 + exponent_bits + mantissa_bits],
        signs=SIGNED,
        name=f"e{exponent_bits}m{mantissa_bits}",
    )
    def table(bits: int, signed: bool) -> Table:
        return minifloat(exponent_bits, mantissa_bits)


for _widths in WIDTHS:
    _register(*_widths)
