"""Weighted layers: codes, scales and corrected bias of one layer, from its moments."""

from dataclasses import dataclass

import numpy as np

from dybitq.encodings import codec, formats
from dybitq.fit.scales import scale_methods
from dybitq.patches import from_matrix, row_channels, to_matrix
from dybitq.records import FittedWeight, LayerPlan, LayerWork, Moment, MomentKind, NumberFormat

_BIAS_LIMIT = 2.0**29  # largest int32 bias code: leaves room for the products beside it
_IMPORTANCE_FLOOR = 1e-4  # inputs that calibration never saw alive still count this much of the mean


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerArrays:
    """The float parameters of one layer.

    Attributes:
        weight: float32, shape of the initializer.
        bias: float32 ``[channels]`` or None.
        input_scale: scale of the static 8-bit input codes, or None.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    input_scale: float | None


def fit_layer(
    layer: LayerWork, plan: LayerPlan, arrays: LayerArrays, moment: Moment | None, *, correct_bias: bool
) -> FittedWeight:
    """Fit one layer.

    The scale of every channel (or of the whole tensor) minimises the squared error of the weights,
    each weighted with the second moment of the input it meets; without moments all count alike.
    With ``correct_bias`` the bias takes up the mean error ``(W - Q(W)) E[x]``.
    """
    fmt = formats.get(plan.weights)
    matrix = to_matrix(arrays.weight, layer).astype(np.float32)
    importance = importance_of(matrix.shape, moment)
    scale = _fit_scale(layer, plan, fmt, matrix, importance)
    scale = _floor(scale, arrays)
    channels = row_channels(layer)
    row_scale = (scale[channels] if scale.size > 1 else np.broadcast_to(scale, channels.shape))[..., None]
    codes = codec.encode(matrix / row_scale, fmt)
    rounded = fmt.table[codes].astype(np.float32) * row_scale
    bias = arrays.bias
    if correct_bias and moment is not None:
        bias = corrected_bias(layer, matrix - rounded, moment, bias)
    return FittedWeight(
        format=fmt,
        codes=from_matrix(codes, layer),
        scale=scale,
        axis=layer.channel_axis if scale.size > 1 or plan.granularity == "channel" else None,
        bias=bias,
        error=relative_error(matrix, rounded, moment),
    )


def importance_of(shape: tuple[int, ...], moment: Moment | None) -> np.ndarray:
    """Diagonal of the second moment as float32 ``[groups, 1, K]``, mean 1, floored; ones without moments."""
    groups, _, width = shape
    if moment is None:
        return np.ones((groups, 1, width), np.float32)
    diagonal = diagonal_of(moment)[:, :width] / max(1, moment.rows)
    mean = diagonal.mean()
    if not mean > 0:
        return np.ones((groups, 1, width), np.float32)
    floored = np.maximum(diagonal / mean, _IMPORTANCE_FLOOR)
    return np.broadcast_to(floored[:, None, :], (groups, 1, width)).astype(np.float32)


def diagonal_of(moment: Moment) -> np.ndarray:
    """Diagonal of the summed second moment, float64 ``[groups, K]`` (K padded for BLOCK)."""
    if moment.kind is MomentKind.DIAGONAL:
        return moment.second
    diagonal = np.diagonal(moment.second, axis1=-2, axis2=-1)
    return diagonal.reshape(len(diagonal), -1)


def _fit_scale(
    layer: LayerWork, plan: LayerPlan, fmt: NumberFormat, matrix: np.ndarray, importance: np.ndarray
) -> np.ndarray:
    method = scale_methods.get(plan.scale)
    weights = np.broadcast_to(importance, matrix.shape)
    if plan.granularity == "tensor":
        return method(matrix.reshape(1, -1), weights.reshape(1, -1), fmt)
    channels = row_channels(layer)
    count = int(channels.max()) + 1
    if channels.size == count:  # one matrix row a channel: the usual case
        order = np.argsort(channels.reshape(-1))
        width = matrix.shape[-1]
        return method(matrix.reshape(-1, width)[order], weights.reshape(-1, width)[order], fmt)
    rows = np.stack([matrix[channels == c].reshape(-1) for c in range(count)])
    return method(rows, np.stack([weights[channels == c].reshape(-1) for c in range(count)]), fmt)


def _floor(scale: np.ndarray, arrays: LayerArrays) -> np.ndarray:
    """Give dead channels a usable scale, and keep every bias inside int32 at ``input scale * scale``."""
    alive = scale > 0
    usual = float(np.median(scale[alive])) if alive.any() else 1.0
    floored = np.where(alive, scale, usual)
    if arrays.bias is not None and arrays.input_scale:
        needed = np.abs(arrays.bias) / (arrays.input_scale * _BIAS_LIMIT)
        floored = np.maximum(floored, needed if scale.size > 1 else needed.max(initial=0))
    return np.maximum(floored, np.finfo(np.float32).tiny).astype(np.float32)


def corrected_bias(
    layer: LayerWork, difference: np.ndarray, moment: Moment, bias: np.ndarray | None
) -> np.ndarray | None:
    """Bias plus the mean of ``difference @ x``; layers without a single bias per row keep theirs.

    Args:
        layer: the layer.
        difference: float weights minus rounded ones, ``[groups, rows, K]``.
        moment: gives ``E[x]``.
        bias: float32 ``[channels]`` or None.
    """
    channels = row_channels(layer)
    count = int(channels.max()) + 1
    if channels.size != count or moment.rows == 0:
        return bias
    mean = moment.first[:, : difference.shape[-1]] / moment.rows
    shift = np.zeros(count)
    shift[channels.reshape(-1)] = np.einsum("grk,gk->gr", difference.astype(np.float64), mean).reshape(-1)
    return (shift + (0 if bias is None else bias)).astype(np.float32)


def relative_error(matrix: np.ndarray, rounded: np.ndarray, moment: Moment | None) -> float:
    """``E|dW x|^2 / E|W x|^2`` with the diagonal of the second moment; nan where the output is zero."""
    weights = importance_of(matrix.shape, moment)
    over = np.sum(weights * (matrix - rounded) ** 2, dtype=np.float64)
    under = np.sum(weights * matrix**2, dtype=np.float64)
    return float(over / under) if under > 0 else float("nan")
