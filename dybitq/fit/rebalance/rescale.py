"""Layers whose input channels have other factors: their weights, their moments, what rounding then costs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from dybitq.fit.auto import width_of
from dybitq.fit.weights.kernel_range import bounds_weights
from dybitq.fit.weights.layers import LayerArrays, round_matrix
from dybitq.fit.weights.moments import Hessian, hessian_from
from dybitq.patches import row_channels, to_matrix
from dybitq.records.layers import LayerKind, LayerWork
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
    matrix = to_matrix(weight, layer).astype(np.float32)
    channels, share = row_channels(layer), 1
    if plan.granularity == "channel" and len(matrix) == 1 and matrix.shape[1] > _ROWS:
        share = -(-matrix.shape[1] // _ROWS)
        matrix = matrix[:, ::share]
        channels = np.arange(matrix.shape[1])[None]
    arrays = LayerArrays(weight=matrix, bias=None, input_scale=None, bounded=bounds_weights(layer, plan))
    trial = replace(plan, weights=f"int{max(2, width_of(plan.weights))}")
    found = round_matrix(trial, arrays, matrix, channels, hessian, thorough=False)
    return hessian.energy(matrix - found.rounded) * share


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reader:
    """A layer that reads a tensor whose channels are divided; errors are relative to its output's energy.

    Attributes:
        signal: energy of its output around the mean.
    """

    layer: LayerWork
    plan: LayerPlan
    weight: np.ndarray
    signal: float

    @classmethod
    def of(cls, layer: LayerWork, plan: LayerPlan, weight: np.ndarray, hessian: Hessian) -> "Reader":
        """A layer with its weight and H as they are."""
        signal = float(hessian.energy(to_matrix(weight, layer)).sum())
        return cls(layer=layer, plan=plan, weight=weight, signal=signal)

    def left(self, hessian: Hessian) -> float:
        """Share of the error of nearest rounding that the plan's own rounding leaves."""
        plans = replace(self.plan, rounding="nearest"), self.plan
        most, left = (float(rounding_error(self.layer, p, self.weight, hessian).sum()) for p in plans)
        return left / most if most > 0 else 1.0

    def lost(self, scale: np.ndarray, hessian: Hessian) -> float:
        """What nearest rounding of its weights costs, which needs no factorisation of H.

        ``hessian`` is that of the tensor divided by ``scale``.
        """
        if self.signal <= 0:
            return 0.0
        weight, nearest = by_input(self.weight, scale, self.layer), replace(self.plan, rounding="nearest")
        return float(rounding_error(self.layer, nearest, weight, hessian).sum()) / self.signal

    def gain(self, scale: np.ndarray) -> np.ndarray:
        """What a squared error of 1 in each channel of the divided tensor costs, float64 ``[channels]``."""
        weight = by_input(self.weight, scale, self.layer).astype(np.float64)
        return per_input(weight**2, self.layer) / self.signal if self.signal > 0 else np.zeros(len(scale))


def input_channels(layer: LayerWork) -> int:
    """Channels of the layer's input, over all groups."""
    group = layer.window.group if layer.window is not None else 1
    return int(layer.weight_shape[input_axis(layer)] or 1) * group


def input_axis(layer: LayerWork) -> int:
    """Axis of the weight along which its input channels lie."""
    return 1 - layer.channel_axis if layer.kind in (LayerKind.GEMM, LayerKind.MATMUL) else 1


def scaled_moment(moment: Moment, layer: LayerWork, scale: np.ndarray) -> Moment:
    """The moment of a layer's patches after its input channels were divided by ``scale``."""
    groups, width = moment.first.shape
    channels = input_channels(layer) // groups
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


def by_output(weight: np.ndarray, factor: np.ndarray, layer: LayerWork) -> np.ndarray:
    """``weight`` with output channel c multiplied by ``factor[c]``."""
    shape = [1] * weight.ndim
    shape[layer.channel_axis] = -1
    return weight * factor.reshape(shape)


def by_input(weight: np.ndarray, factor: np.ndarray, layer: LayerWork) -> np.ndarray:
    """``weight`` with input channel c multiplied by ``factor[c]``; channels are counted over all groups."""
    if layer.window is None:
        shape = [1] * weight.ndim
        shape[input_axis(layer)] = -1
        return weight * factor.reshape(shape)
    group, inner = layer.window.group, weight.shape[1]
    grouped = weight.reshape(group, -1, inner, int(np.prod(weight.shape[2:])))
    return (grouped * factor.reshape(group, 1, inner, 1)).reshape(weight.shape)


def per_input(values: np.ndarray, layer: LayerWork, *, largest: bool = False) -> np.ndarray:
    """Sum (or largest) of the values of every input channel of a weight, ``[n]``."""
    if layer.window is None:
        axis = input_axis(layer)
        grouped = np.moveaxis(values, axis, 0).reshape(1, values.shape[axis], -1)
        return (grouped.max(axis=2) if largest else grouped.sum(axis=2)).reshape(-1)
    group, inner = layer.window.group, values.shape[1]
    shaped = values.reshape(group, -1, inner, int(np.prod(values.shape[2:])))
    found = shaped.max(axis=(1, 3)) if largest else shaped.sum(axis=(1, 3))
    return found.reshape(-1)
