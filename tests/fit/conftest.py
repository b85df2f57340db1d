"""Statistics of arrays, as calibration makes them."""

import numpy as np

from dybitq.records.statistics import Moment, MomentKind, TensorStatistics


def statistics_of(values: np.ndarray) -> TensorStatistics:
    """Statistics of one tensor from all of its values, ``[samples, ...]``."""
    values = np.ascontiguousarray(values, np.float32)
    flat = values.reshape(len(values), -1)
    histogram = np.bincount(values.reshape(-1).view(np.uint32) >> 16, minlength=1 << 16)
    return TensorStatistics(
        samples=len(values),
        count=values.size,
        minimum=float(values.min()),
        maximum=float(values.max()),
        sum_sample_max=float(flat.max(axis=1).sum()),
        sum_sample_min=float(flat.min(axis=1).sum()),
        histogram=histogram.astype(np.int64),
    )


def moment_of(patches: np.ndarray, kind: MomentKind = MomentKind.FULL) -> Moment:
    """Moment of patches ``[groups, rows, K]``."""
    patches = patches.astype(np.float64)
    if kind is MomentKind.FULL:
        second = np.einsum("gnk,gnl->gkl", patches, patches)
    else:
        second = (patches**2).sum(axis=1)
    return Moment(
        kind=kind,
        rows=patches.shape[1],
        first=patches.sum(axis=1),
        second=second,
        minimum=patches.min(axis=1),
        maximum=patches.max(axis=1),
    )
