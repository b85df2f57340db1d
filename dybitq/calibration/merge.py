"""Merging of statistics of two data sets: integer counts exactly, sums in float64.

Merging is commutative to the bit, and associative in every integer, in the extremes, and in the sums up
to float64 rounding. Statistics of no samples are the identity.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from dybitq.calibration.moments import reduced
from dybitq.errors import StatisticsError
from dybitq.records.statistics import ChannelStatistics, Moment, MomentKind, Statistics, TensorStatistics

_POORER = (MomentKind.FULL, MomentKind.BLOCK, MomentKind.DIAGONAL)


def empty(model_sha256: str) -> Statistics:
    """Statistics of no samples."""
    return Statistics(model_sha256=model_sha256, samples=0, tensors={}, moments={}, channels={})


def merge(a: Statistics, b: Statistics) -> Statistics:
    """Merge the statistics of two data sets.

    Where one side kept a poorer moment, the other is reduced to it; a moment that one side lacks is dropped.

    Raises:
        StatisticsError: they are of different models, or not of the same tensors and layers.
    """
    if a.model_sha256 != b.model_sha256:
        raise StatisticsError(
            f"statistics of different models (sha256 {a.model_sha256[:12]}... and {b.model_sha256[:12]}...) "
            "cannot be merged; calibrate the same file on every machine"
        )
    if a.samples == 0:
        return b
    if b.samples == 0:
        return a
    _require_same("tensors", a.tensors, b.tensors)
    _require_same("layers", a.channels, b.channels)
    return Statistics(
        model_sha256=a.model_sha256,
        samples=a.samples + b.samples,
        tensors={name: merge_tensors(a.tensors[name], b.tensors[name]) for name in a.tensors},
        moments={key: merge_moments(a.moments[key], b.moments[key]) for key in a.moments if key in b.moments},
        channels={name: merge_channels(a.channels[name], b.channels[name]) for name in a.channels},
    )


def merge_all(parts: Sequence[Statistics]) -> Statistics:
    """Merge from left to right; at least one part."""
    total = parts[0]
    for part in parts[1:]:
        total = merge(total, part)
    return total


def merge_tensors(a: TensorStatistics, b: TensorStatistics) -> TensorStatistics:
    """Add counts and sums, extend extremes."""
    return TensorStatistics(
        samples=a.samples + b.samples,
        count=a.count + b.count,
        minimum=min(a.minimum, b.minimum),
        maximum=max(a.maximum, b.maximum),
        sum_sample_max=a.sum_sample_max + b.sum_sample_max,
        sum_sample_min=a.sum_sample_min + b.sum_sample_min,
        histogram=a.histogram + b.histogram,
    )


def merge_moments(a: Moment, b: Moment) -> Moment:
    """Add sums, at the poorer of the two kinds, and extend extremes.

    Raises:
        StatisticsError: the two have not the same K and number of groups.
    """
    if a.first.shape != b.first.shape:
        raise StatisticsError(
            f"moments of {list(a.first.shape)} and {list(b.first.shape)} groups and inputs cannot be merged; "
            "calibrate all parts with the same model and version of dybitq"
        )
    kind = max(a.kind, b.kind, key=_POORER.index)
    a, b = reduced(a, kind), reduced(b, kind)
    return Moment(
        kind=kind,
        rows=a.rows + b.rows,
        first=a.first + b.first,
        second=a.second + b.second,
        minimum=np.minimum(a.minimum, b.minimum),
        maximum=np.maximum(a.maximum, b.maximum),
    )


def merge_channels(a: ChannelStatistics, b: ChannelStatistics) -> ChannelStatistics:
    """Add counts and sums, extend extremes."""
    return ChannelStatistics(
        count=a.count + b.count,
        total=a.total + b.total,
        squares=a.squares + b.squares,
        minimum=np.minimum(a.minimum, b.minimum),
        maximum=np.maximum(a.maximum, b.maximum),
        histogram=None if a.histogram is None or b.histogram is None else a.histogram + b.histogram,
    )


def _require_same(what: str, a: Mapping[str, object], b: Mapping[str, object]) -> None:
    different = sorted(set(a) ^ set(b))
    if different:
        raise StatisticsError(
            f"the statistics do not hold the same {what}: {different[0]!r} is in one of them only; "
            "calibrate all parts with the same version of dybitq"
        )
