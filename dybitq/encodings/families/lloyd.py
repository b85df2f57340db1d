"""Levels of least squared error for normal and Laplace tensors: ``normal2`` to ``normal5``, ``laplace2`` on.

They are the levels of Max (IRE Transactions on Information Theory, 1960) and Lloyd (IEEE Transactions on
Information Theory, 1982) for the density, symmetric, all 2^b of them used and none at zero, as integers:
multiplied so that the largest becomes the integer up to 64 at which rounding costs least. Decoding by table
does not need regular levels. Integers of 64 at most keep pairs of uint8 x int8 products inside int16, which
x86 kernels without VNNI rely on.

Codes are a sign bit and the index of the magnitude. The numbers are constants because codes in files depend
on them; a test derives them again.
"""

import numpy as np

from dybitq.encodings.formats import SIGNED, Table, family, sign_magnitude

NORMAL = {
    2: (3, 10),
    3: (7, 22, 39, 62),
    4: (3, 9, 15, 21, 28, 36, 46, 61),
    5: (1, 3, 5, 7, 9, 11, 13, 15, 17, 20, 23, 26, 29, 33, 39, 47),
}
LAPLACE = {
    2: (11, 48),
    3: (2, 7, 14, 26),
    4: (2, 6, 11, 16, 23, 31, 44, 64),
    5: (1, 2, 4, 5, 7, 9, 11, 13, 16, 19, 22, 26, 31, 37, 46, 61),
}


@family("normal", bits=NORMAL, signs=SIGNED)
def normal(bits: int, signed: bool) -> Table:
    """Levels for a normal source."""
    return sign_magnitude(np.array(NORMAL[bits], np.int64))


@family("laplace", bits=LAPLACE, signs=SIGNED)
def laplace(bits: int, signed: bool) -> Table:
    """Levels for a Laplace source, finer near zero and wider outside."""
    return sign_magnitude(np.array(LAPLACE[bits], np.int64))
