"""Power-of-two levels ``pot``: zero and +-2^k, so that a product is a shift.

Magnitude code 0 is zero and code k stands for 2^(k-1). Three magnitude bits reach 64 and fit int8 kernels;
four reach 2^14; wider codes make no sense. The levels are those of the "pot" type of ANT (Guo et al.,
MICRO 2022) and of a minifloat without mantissa.
"""

import numpy as np

from dybitq.encodings.formats import SIGNED, Table, family, sign_magnitude


@family("pot", bits=range(2, 6), signs=SIGNED)
def signed_powers(bits: int, signed: bool) -> Table:
    """Tabulate codes of a sign bit and ``bits - 1`` magnitude bits."""
    return sign_magnitude(magnitudes(bits - 1)), (2 ** (bits - 1),)


@family("pot", bits=range(2, 5), signs=[False])
def unsigned_powers(bits: int, signed: bool) -> Table:
    """Tabulate codes whose bits are all magnitude."""
    return magnitudes(bits)


def magnitudes(m: int) -> np.ndarray:
    """Zero, then the powers of two from 1 to 2^(2^m - 2), int64 ``[2**m]``."""
    return np.concatenate([[0], 2 ** np.arange(2**m - 1, dtype=np.int64)])
