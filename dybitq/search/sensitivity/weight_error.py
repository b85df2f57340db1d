"""Errors of one weight matrix: DyBit's nRMSE of the weights, and the closed-form error of the output.

The first is spec ``dybit`` section 1.5, the second the trace of ``dW H dW^T`` (see ``dybitq.fit.moments``).
"""

import numpy as np

from dybitq.fit.moments import Quadratic


def normalised_rmse(matrix: np.ndarray, rounded: np.ndarray) -> float:
    """Root mean square of the rounding error in units of the weights' standard deviation.

    Args:
        matrix, rounded: float, any equal shape.

    Returns:
        0 for a constant matrix that is kept, infinity for one that is not.
    """
    error = float(np.sqrt(np.mean((matrix.astype(np.float64) - rounded) ** 2)))
    sigma = float(np.std(matrix.astype(np.float64)))
    if sigma > 0:
        return error / sigma
    return 0.0 if error == 0 else float("inf")


def output_error(matrix: np.ndarray, rounded: np.ndarray, form: Quadratic) -> float:
    """``tr(dW H dW^T) / tr(W H W^T)``: energy of the output's error over that of the output.

    Args:
        matrix, rounded: float32 ``[groups, rows, K]``.
        form: H of the layer's input.

    Returns:
        At least 0; 0 for a layer whose output carries no energy.
    """
    signal = float(form.energy(matrix).sum())
    noise = float(form.energy(matrix.astype(np.float64) - rounded).sum())
    return noise / signal if signal > 0 else 0.0
