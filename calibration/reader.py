"""A reader to copy: hands out batches for calibration and evaluation.

Replace what makes the samples; keep ``get_next``. A subclass of onnxruntime's ``CalibrationDataReader`` works
as it stands.
"""

import numpy as np


class Reader:
    """Batches of eight random images, with labels.

    Args:
        seed: of the random numbers.
        batches: how many batches to hand out.
    """

    def __init__(self, seed: int, batches: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._left = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch: arrays ``[batch, ...]`` by model input, and the labels; None at the end."""
        if self._left == 0:
            return None
        self._left -= 1
        return {
            "input": self._rng.standard_normal((8, 3, 32, 32)).astype(np.float32),
            "label": self._rng.integers(0, 10, 8),
        }
