"""Rounding to the nearest level."""

import numpy as np

from dybitq.encodings import codec
from dybitq.fit.weights.moments import Hessian
from dybitq.fit.weights.rounding import RoundingMethod, roundings
from dybitq.records.formats import NumberFormat


def nearest(
    matrix: np.ndarray, scale: np.ndarray, fmt: NumberFormat, hessian: Hessian
) -> tuple[np.ndarray, np.ndarray]:
    """Every weight to its nearest level."""
    codes = codec.encode(matrix / scale, fmt)
    return codes, hessian.energy(matrix - fmt.table[codes].astype(np.float32) * scale)


roundings.register("nearest")(RoundingMethod(round=nearest))
