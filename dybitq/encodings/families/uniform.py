"""Uniform integers: ``int2`` to ``int8`` symmetric with 2^b - 1 levels, ``uint1`` to ``uint8`` from zero.

Signed codes are two's complement. The most negative one would break the symmetry, so it is reserved and
repeats its neighbour: code 1000 of ``int4`` decodes to -7, as code 1001 does.
"""

import numpy as np

from dybitq.encodings.formats import BOTH, SIGNED, Table, family


@family("int", bits=range(2, 9), signs=BOTH)
def integers(bits: int, signed: bool) -> Table:
    """Tabulate the integers of ``bits`` bits, code by code."""
    codes = np.arange(2**bits, dtype=np.int64)
    if not signed:
        return codes
    half = 2 ** (bits - 1)
    table = np.where(codes < half, codes, codes - 2 * half)
    return np.maximum(table, 1 - half), (half,)


@family("int", bits=[1], signs=[False])
def one_bit(bits: int, signed: bool) -> Table:
    """Tabulate ``uint1``, zero and one; a signed integer of one bit would be always zero."""
    return integers(bits, signed)


@family("ternary", bits=[2], signs=SIGNED, name="ternary")
def ternary(bits: int, signed: bool) -> Table:
    """Tabulate minus one, zero and one in two bits: the same codes as ``int2``."""
    return integers(bits, signed)
