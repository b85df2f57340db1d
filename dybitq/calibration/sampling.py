"""Sampling of positions of a tensor: fixed subsets that miss no row, column or channel.

A subset takes every ``stride``-th element. The stride shares no factor with any extent of the tensor, so
the subset does not fall into step with its axes: a stride of 112 would take a single column of an image
112 wide. Nothing is random, so counts of two shards of the data add up to those of both.
"""

import math
from collections.abc import Sequence

import numpy as np


def stride(extents: Sequence[int], wanted: int) -> int:
    """Find the smallest stride that leaves at most ``wanted`` elements and is coprime to every extent."""
    count = math.prod(extents)
    step = max(1, -(-count // wanted))
    while step > 1 and any(math.gcd(step, extent) > 1 for extent in extents if extent > 1):
        step += 1
    return step


def positions(extents: Sequence[int], wanted: int, sample: int) -> np.ndarray:
    """Choose at most ``wanted`` flat positions of a grid for sample number ``sample``, int64, ascending.

    Successive samples start where the one before stopped, so that together they visit all positions.
    """
    count = math.prod(extents)
    if count <= wanted:
        return np.arange(count)
    # The golden section spreads the starts evenly, whatever the number of samples is.
    step = stride(extents, wanted)
    offset = int((sample * 0.6180339887498949 % 1.0) * min(step, count))
    return np.arange(offset, count, step)
