"""DyBit of 2 to 8 bits: a run of leading ones is the exponent, the bits after it are the mantissa.

Format id ``dybit-r1``: the reading of "DyBit: Dynamic Bit-Precision Numbers for Efficient Quantized Neural
Network Inference" (Zhou et al., arXiv 2302.12510) in which a magnitude code of ``m`` bits with ``i`` leading
ones and ``k = m - i - 1`` bits after the zero that ends the run stands for

    i = 0         code / 2^(m-1)                 linear region, includes zero
    1 <= i < m    2^(i-1) * (1 + f / 2^k)        hidden one
    i = m         2^(m-1)                        all ones, the largest value

The table holds these values times 2^(m-1), which makes them integers. Signed codes have a sign bit in front
of m = bits - 1 magnitude bits; unsigned codes are all magnitude. A corrected reading is a change of this
table only.
"""

import numpy as np

from dybitq.encodings.formats import BOTH, Table, family, sign_magnitude

FORMAT_ID = "dybit-r1"
"""Id of the reading of the format that the tables follow."""


@family("dybit", bits=range(2, 9), signs=BOTH)
def dybit(bits: int, signed: bool) -> Table:
    """Tabulate the integers of DyBit codes: values times ``2**(m - 1)``, with m magnitude bits."""
    if not signed:
        return magnitudes(bits)
    return sign_magnitude(magnitudes(bits - 1)), (2 ** (bits - 1),)


def magnitudes(m: int) -> np.ndarray:
    """Integers of all magnitude codes of ``m`` bits, int64 ``[2**m]``, strictly increasing."""
    return np.array([_magnitude(code, m) for code in range(2**m)], np.int64)


def _magnitude(code: int, m: int) -> int:
    ones = m - ((~code) & (2**m - 1)).bit_length()  # length of the run of leading ones
    if ones == 0:
        return code
    if ones == m:
        return 1 << (2 * m - 2)
    k = m - ones - 1
    fraction = code & ((1 << k) - 1)
    return ((1 << k) + fraction) << (2 * ones - 1)
