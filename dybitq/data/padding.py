"""Real and padded positions of a batch.

A sequence model takes batches padded to one length, with a mask that says where a sample ends. Values at
padded positions never reach the output, so they must not count when layers are fitted: in batches of short
sentences most positions are padding.
"""

from collections.abc import Mapping

import numpy as np


def real_positions(feeds: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Mark positions with content, bool ``[batch, length]``; None for models without a mask.

    A mask is an integer or boolean input with two axes, ``mask`` in its name, and no value but 0 and 1.
    Where there are several of one shape, a position is real if all of them mark it.
    """
    real: np.ndarray | None = None
    for name, array in feeds.items():
        if "mask" not in name.lower() or array.ndim != 2 or array.dtype.kind not in "iub":
            continue
        if array.size == 0 or int(array.min()) < 0 or int(array.max()) > 1:
            continue
        mask = array.astype(bool)
        real = mask if real is None or real.shape != mask.shape else real & mask
    return real
