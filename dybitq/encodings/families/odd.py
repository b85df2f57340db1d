"""Odd integers: all 2^b codes are used, symmetric about zero, and zero itself is not a level.

Code c stands for ``2 c - (2^b - 1)``: -1 and 1 at one bit, -3, -1, 1, 3 at two (a mid-rise quantizer). These
are the codes of the {-1, +1} decomposition (Sun et al., AAAI 2019): bit m contributes +2^m or -2^m. At two
bits the fourth level helps much: the error on a normal tensor is 0.34 standard deviations against 0.44
with three levels.
"""

import numpy as np

from dybitq.encodings.formats import SIGNED, Table, family


@family("odd", bits=range(1, 8), signs=SIGNED)
def odd(bits: int, signed: bool) -> Table:
    """Tabulate the odd integers from ``-(2**bits - 1)`` to ``2**bits - 1``."""
    return 2 * np.arange(2**bits, dtype=np.int64) - (2**bits - 1)
