"""Statistics of a layer's output channels: sums and histograms over fixed subsets of positions, extremes."""

from dataclasses import dataclass

import numpy as np

from dybitq import log_histogram
from dybitq.calibration.sampling import stride
from dybitq.records.layers import LayerWork
from dybitq.records.statistics import ChannelStatistics

POSITIONS_PER_SAMPLE = 16
HISTOGRAM_POSITIONS = 64


@dataclass(slots=True, eq=False)
class ChannelTotal:
    """State of :func:`update`; same meaning as the fields of ChannelStatistics."""

    count: int
    total: np.ndarray
    squares: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    histogram: np.ndarray | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelPart:
    """Sums of one batch; ``[channels]`` each, ``[channels, values]`` for the bins."""

    count: int
    total: np.ndarray
    squares: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    bins: np.ndarray | None


def init(channels: int, *, shaped: bool = False) -> ChannelTotal:
    """Start with no samples; ``shaped`` adds histograms."""
    return ChannelTotal(
        count=0,
        total=np.zeros(channels),
        squares=np.zeros(channels),
        minimum=np.full(channels, np.inf),
        maximum=np.full(channels, -np.inf),
        histogram=np.zeros((channels, log_histogram.BINS), np.int32) if shaped else None,
    )


def measure(
    value: np.ndarray,
    layer: LayerWork,
    batch: int,
    count: int,
    real: np.ndarray | None = None,
    *,
    shaped: bool = False,
) -> ChannelPart | None:
    """Measure an output ``[batch, ...]`` of the layer: ``count`` samples of a run of ``batch``.

    Of a sequence ``[batch, length, features]`` only the positions in ``real`` count.
    """
    if value.size == 0 or value.ndim == 0:
        return None
    in_rows = value.ndim == 3 and layer.geometry.output_axis == -1
    if real is not None and in_rows and value.shape[:2] == real.shape:
        value = value[:count][real[:count]]
    elif value.shape[0] % batch == 0 and value.ndim > 1:
        value = value[: count * (value.shape[0] // batch)]
    axis = layer.geometry.output_axis % value.ndim
    others = tuple(i for i in range(value.ndim) if i != axis)
    rows = np.moveaxis(value, axis, 0)
    channels = rows.shape[0]
    rows = rows.reshape(channels, rows.shape[1] if rows.ndim > 1 else 1, -1)
    within = value.shape[2:] if value.ndim > 2 else (1,)
    chosen = rows[:, :, :: stride(within, POSITIONS_PER_SAMPLE)].astype(np.float64).reshape(channels, -1)
    bins = None
    if shaped:
        bins = log_histogram.bin_of(rows[:, :, :: stride(within, HISTOGRAM_POSITIONS)].reshape(channels, -1))
    return ChannelPart(
        count=chosen.shape[1],
        total=chosen.sum(axis=1),
        squares=np.einsum("cr,cr->c", chosen, chosen),
        minimum=value.min(axis=others, initial=np.inf),
        maximum=value.max(axis=others, initial=-np.inf),
        bins=bins,
    )


def update(total: ChannelTotal, part: ChannelPart) -> None:
    """Add the part of one batch."""
    total.count += part.count
    total.total += part.total
    total.squares += part.squares
    np.minimum(total.minimum, part.minimum, out=total.minimum)
    np.maximum(total.maximum, part.maximum, out=total.maximum)
    if total.histogram is not None and part.bins is not None:
        rows = np.arange(len(total.histogram))[:, None]
        np.add.at(total.histogram, (rows, part.bins), 1)


def result(total: ChannelTotal) -> ChannelStatistics:
    """Return the statistics so far."""
    return ChannelStatistics(
        count=total.count,
        total=total.total,
        squares=total.squares,
        minimum=total.minimum,
        maximum=total.maximum,
        histogram=total.histogram,
    )
