"""Records of calibration: sufficient statistics of a network on a data set."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from dybitq.errors import StatisticsError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TensorStatistics:
    """Statistics of one float activation tensor from one pass over the data.

    Attributes:
        samples, count: samples seen, and values in the histogram (some positions of every sample).
        minimum, maximum: exact extremes over all values.
        sum_sample_max, sum_sample_min: sums over samples of each one's own extremes; divided by ``samples``
            the first is SPARQ's mean of maxima.
        histogram: int64 ``[65536]``; bin ``i`` counts the float32 values whose upper 16 bits are ``i``.
    """

    samples: int
    count: int
    minimum: float
    maximum: float
    sum_sample_max: float
    sum_sample_min: float
    histogram: np.ndarray


class MomentKind(StrEnum):
    """Part of the second moment that was kept within the memory budget."""

    FULL = "full"
    BLOCK = "block"
    DIAGONAL = "diagonal"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moment:
    """Sums of the patches that a layer multiplies with its weight matrix ``[groups, rows, K]``.

    Attributes:
        kind: FULL, BLOCK or DIAGONAL.
        rows: number of patches summed.
        first: float64 ``[groups, K]``, sum of the patches.
        second: sum of outer products; float64 ``[groups, K, K]`` (FULL), ``[groups, blocks, B, B]``
            (BLOCK; K padded with zeros to ``blocks * B``) or ``[groups, K]`` (DIAGONAL).
        minimum, maximum: float64 ``[groups, K]``, extremes of the patches.
    """

    kind: MomentKind
    rows: int
    first: np.ndarray
    second: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelStatistics:
    """Values of one layer output, float64 ``[channels]`` each.

    Attributes:
        count, total, squares: number, sum and sum of squares over a fixed subset of positions.
        minimum, maximum: extremes over all positions; infinite, the wrong way round, where there were none.
        histogram: counts ``[channels, 768]`` of :mod:`dybitq.log_histogram`; None where no function follows.
    """

    count: int
    total: np.ndarray
    squares: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    histogram: np.ndarray | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Statistics:
    """Sufficient statistics of one model on one data set; a monoid (see ``calibration.merge``).

    Attributes:
        model_sha256: hash of the float32 model file (external data included).
        samples: number of samples.
        tensors: by activation name in the normalised graph.
        moments: by ``moment_key`` of a layer.
        channels: by layer name; statistics of the layer's own raw output.
    """

    model_sha256: str
    samples: int
    tensors: Mapping[str, TensorStatistics]
    moments: Mapping[str, Moment]
    channels: Mapping[str, ChannelStatistics]

    def tensor(self, name: str) -> TensorStatistics:
        """Statistics of a tensor.

        Raises:
            StatisticsError: they lack it.
        """
        found = self.tensors.get(name)
        if found is None:
            raise StatisticsError(
                f"tensor {name}: not in the statistics, which hold {len(self.tensors)} tensors; "
                "calibrate this model again"
            )
        return found
