"""Layers whose input channels have other factors: their weights, their moments, what rounding then costs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from dybitq.fit.auto import width_of
from dybitq.fit.weights.kernel_range import bounds_weights
from dybitq.fit.weights.layers import LayerArrays, round_matrix
from dybitq.fit.weights.moments import Hessian, hessian_from
from dybitq.records.geometry.products import MatrixProduct
from dybitq.records.geometry.windows import SlidingWindow
from dybitq.records.layers import LayerWork
from dybitq.records.plan import LayerPlan
from dybitq.records.statistics import Moment, MomentKind

_ROWS = 64  # of a weight matrix that errors are compared on where every row has its scale


class OverlaidMoments(Mapping[str, Moment]):
    """``changed`` in front of ``rest``, which may lie in a file and is read when it is asked for."""

    def __init__(self, changed: Mapping[str, Moment], rest: Mapping[str, Moment]) -> None:
        self._changed = changed
        self._rest = rest

    def __getitem__(self, key: str) -> Moment:
        return self._changed[key] if key in self._changed else self._rest[key]

    def __iter__(self) -> Iterator[str]:
        return iter({**dict.fromkeys(self._rest), **dict.fromkeys(self._changed)})

    def __len__(self) -> int:
        return len(set(self._rest) | set(self._changed))


def form_of_moment(moment: Moment, *, correct_bias: bool) -> Hessian:
    """H of a layer with this moment."""
    return hessian_from(moment, moment.first.shape[1], centred=correct_bias)


def rounding_error(layer: LayerWork, plan: LayerPlan, weight: np.ndarray, hessian: Hessian) -> np.ndarray:
    """Energy in H of the rounding error of every row of ``weight``, float64 ``[groups, rows]``.

    Of a large matrix every n-th row stands for n. Every format counts as the integers of its width, so that
    ``auto4`` and what it is resolved to later give the same factors.
    """
    matrix = layer.geometry.to_matrix(weight).astype(np.float32)
    channels, share = layer.geometry.row_channels(), 1
    if plan.granularity == "channel" and len(matrix) == 1 and matrix.shape[1] > _ROWS:
        share = -(-matrix.shape[1] // _ROWS)
        matrix = matrix[:, ::share]
        channels = np.arange(matrix.shape[1])[None]
    arrays = LayerArrays(weight=matrix, bias=None, input_scale=None, bounded=bounds_weights(layer, plan))
    trial = replace(plan, weights=f"int{max(2, width_of(plan.weights))}")
    found = round_matrix(trial, arrays, matrix, channels, hessian, thorough=False)
    return hessian.energy(matrix - found.rounded) * share


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RescaledReader:
    """A layer that reads a tensor whose channels are divided; errors are relative to its output's energy.

    Attributes:
        signal: energy of its output around the mean.
    """

    layer: LayerWork
    plan: LayerPlan
    weight: np.ndarray
    signal: float

    @classmethod
    def of(cls, layer: LayerWork, plan: LayerPlan, weight: np.ndarray, hessian: Hessian) -> "RescaledReader":
        """Return a layer with its weight and H as they are."""
        signal = float(hessian.energy(layer.geometry.to_matrix(weight)).sum())
        return cls(layer=layer, plan=plan, weight=weight, signal=signal)

    def left(self, hessian: Hessian) -> float:
        """Share of the error of nearest rounding that the plan's own rounding leaves."""
        plans = replace(self.plan, rounding="nearest"), self.plan
        most, left = (float(rounding_error(self.layer, p, self.weight, hessian).sum()) for p in plans)
        return left / most if most > 0 else 1.0

    def lost(self, scale: np.ndarray, hessian: Hessian) -> float:
        """Relative error of its weights rounded to nearest, which needs no factorisation of H.

        ``hessian`` is that of the tensor divided by ``scale``.
        """
        if self.signal <= 0:
            return 0.0
        weight, nearest = (
            self.layer.geometry.times_inputs(self.weight, scale),
            replace(self.plan, rounding="nearest"),
        )
        return float(rounding_error(self.layer, nearest, weight, hessian).sum()) / self.signal

    def gain(self, scale: np.ndarray) -> np.ndarray:
        """Cost of a squared error of 1 in each channel of the divided tensor, float64 ``[channels]``."""
        weight = self.layer.geometry.times_inputs(self.weight, scale).astype(np.float64)
        total = self.layer.geometry.per_input(weight**2)
        return total / self.signal if self.signal > 0 else np.zeros(len(scale))


def takes_factors(layer: LayerWork) -> bool:
    """Return whether a layer is a Conv or a Gemm: its own bias takes the factors of its channels."""
    return isinstance(layer.geometry, SlidingWindow | MatrixProduct) and layer.geometry.takes_bias


def scaled_moment(moment: Moment, layer: LayerWork, scale: np.ndarray) -> Moment:
    """Return the moment of a layer's patches after its input channels were divided by ``scale``."""
    groups, width = moment.first.shape
    channels = layer.geometry.input_channels // groups
    factor = 1 / np.repeat(scale.reshape(groups, channels), width // channels, axis=1)
    if moment.kind is MomentKind.DIAGONAL:
        second = moment.second * factor**2
    elif moment.kind is MomentKind.FULL:
        second = moment.second * factor[:, :, None] * factor[:, None, :]
    else:
        _, count, size, _ = moment.second.shape
        padded = np.ones((groups, count * size))
        padded[:, :width] = factor
        blocks = padded.reshape(groups, count, size)
        second = moment.second * blocks[..., :, None] * blocks[..., None, :]
    return replace(
        moment,
        first=moment.first * factor,
        second=second,
        minimum=moment.minimum * factor,
        maximum=moment.maximum * factor,
    )
