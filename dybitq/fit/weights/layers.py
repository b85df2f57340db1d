"""Weighted layers: codes, scales and corrected bias of one layer, from its moments."""

from dataclasses import dataclass, replace

import numpy as np

from dybitq.encodings import formats, pow2
from dybitq.fit.weights.grid import ScaleGrid
from dybitq.fit.weights.kernel_range import weight_format
from dybitq.fit.weights.moments import Hessian, hessian_from, uniform_hessian
from dybitq.fit.weights.rounding import roundings
from dybitq.fit.weights.scales import scale_methods
from dybitq.records.fitted import FittedWeight
from dybitq.records.formats import NumberFormat
from dybitq.records.layers import LayerWork
from dybitq.records.plan import LayerPlan
from dybitq.records.statistics import Moment

_BIAS_LIMIT = 2.0**29  # largest int32 bias code: leaves room for the products beside it
_FEW = 5  # of the scales that a rounding can try: enough to compare formats by
_SMALL = 1 << 14  # weights of a matrix that is rounded at many more scales
_IMPORTANCE_FLOOR = 1e-4  # inputs that calibration never saw alive still count this much of the mean


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerArrays:
    """The float parameters of one layer.

    Attributes:
        weight: float32, shape of the initializer.
        bias: float32 ``[channels]`` or None.
        input_scale: scale of the static 8-bit input codes, or None.
        bounded: whether the integers of the weights stay within ``kernel_range.LARGEST``.
        grid: the scales that are allowed, where the arithmetic is to be integer-only; None allows all.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    input_scale: float | None
    bounded: bool = False
    grid: ScaleGrid | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoundedMatrix:
    """Outcome of :func:`round_matrix`.

    Attributes:
        format: table of the codes.
        scale: float32 ``[channels]``, or ``[1]`` per tensor.
        codes: uint8 ``[groups, rows, K]``.
        rounded: float32, the same weights decoded.
        error: energy of the error over energy of the target.
    """

    format: NumberFormat
    scale: np.ndarray
    codes: np.ndarray
    rounded: np.ndarray
    error: float

    def fitted(self, layer: LayerWork, plan: LayerPlan, bias: np.ndarray | None) -> FittedWeight:
        """As the record that emission takes."""
        return FittedWeight(
            format=self.format,
            codes=layer.geometry.from_matrix(self.codes),
            scale=self.scale,
            axis=None if plan.granularity == "tensor" else layer.geometry.channel_axis,
            bias=bias,
            error=self.error,
        )


def fit_layer(
    layer: LayerWork, plan: LayerPlan, arrays: LayerArrays, moment: Moment | None, *, correct_bias: bool
) -> FittedWeight:
    """Fit one layer from its moment (None: every input counts alike).

    With ``correct_bias`` the bias takes up the mean error ``(W - Q(W)) E[x]``.
    """
    matrix = layer.geometry.to_matrix(arrays.weight).astype(np.float32)
    channels = layer.geometry.row_channels()
    takes_mean = correct_bias and moment is not None and layer.geometry.has_own_rows()
    hessian = hessian_of(matrix, moment, centred=takes_mean)
    found = round_matrix(plan, arrays, matrix, channels, hessian)
    if not takes_mean:
        return found.fitted(layer, plan, arrays.bias)
    lost = np.einsum("grk,gk->gr", (matrix - found.rounded).astype(np.float64), hessian.mean)
    return found.fitted(layer, plan, shifted_bias(layer, lost, arrays.bias))


def hessian_of(matrix: np.ndarray, moment: Moment | None, *, centred: bool) -> Hessian:
    """Hessian of the layer with this weight matrix; every input counts alike where nothing was measured."""
    if moment is None or not moment.rows:
        return uniform_hessian(matrix.shape[0], matrix.shape[2])
    return hessian_from(moment, matrix.shape[2], centred=centred)


def round_matrix(
    plan: LayerPlan,
    arrays: LayerArrays,
    matrix: np.ndarray,
    channels: np.ndarray,
    hessian: Hessian,
    *,
    start: np.ndarray | None = None,
    thorough: bool = True,
) -> RoundedMatrix:
    """Scale and codes of a weight matrix.

    The scale of every channel (or of the whole tensor) minimises the squared error of the weights, each
    weighted with the diagonal of H (see ``moments.py``); the rounding then works with all of H, and the
    scale is fitted once more to the codes that came out.

    Args:
        plan: format, granularity, scale method, rounding.
        arrays: for its grid and for what the bias asks of the scale; the weights are not looked at.
        matrix: float32 ``[groups, rows, K]``.
        channels: output channel of every row, int64 ``[groups, rows]``.
        hessian: H.
        start: what :func:`first_scale` gives, where it is known.
        thorough: whether to try all scales and to take the last step of the rounding. Both cost most and
            gain every format about as much: comparisons can do without.
    """
    fmt = weight_format(plan.weights, bounded=arrays.bounded)
    if plan.scale == "pow2" and arrays.grid is None:
        arrays = replace(arrays, grid=ScaleGrid(unit=1.0, pow2=True, max_shift=pow2.MAX_EXPONENT))
    scale = _floor(first_scale(plan, fmt, matrix, channels, hessian) if start is None else start, arrays)
    if plan.granularity == "tensor":
        channels = np.zeros_like(channels)
    trials = _trials(plan, scale, arrays.grid, weights=matrix.size, thorough=thorough)
    scale, codes = _round(plan, fmt, matrix, channels, trials, hessian)
    better = roundings.get(plan.rounding).improve
    if thorough and better is not None:
        codes = better(codes, matrix, scale[channels][..., None], fmt, hessian)
    integers = fmt.table[codes].astype(np.float32)
    moved, moved_integers = hessian.times(matrix), hessian.times(integers)  # what both steps below need of H
    over = _by_channel(_dot(moved, integers), channels)
    under = _by_channel(_dot(moved_integers, integers), channels)
    fits = (over > 0) & (under > 0)  # the codes carry energy; elsewhere the scale stays
    scale = _floor(np.where(fits, over / np.maximum(under, 1e-300), scale).astype(np.float32), arrays)
    by_row = scale[channels][..., None]
    rounded = integers * by_row
    lost = _dot(moved - moved_integers * by_row, matrix - rounded)
    return RoundedMatrix(
        format=formats.get(plan.weights),
        scale=scale,
        codes=codes,
        rounded=rounded,
        error=_ratio(np.maximum(lost, 0).sum(), np.maximum(_dot(moved, matrix), 0).sum()),
    )


def _dot(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Products of the rows of ``[groups, rows, K]``, summed in float64."""
    return np.einsum("grk,grk->gr", left, right, dtype=np.float64)


def importance_of(hessian: Hessian) -> np.ndarray:
    """Diagonal of H as float32 ``[groups, 1, K]``, mean 1, floored; ones where it is all zero."""
    mean = hessian.diagonal.mean()
    if not mean > 0:
        return np.ones((len(hessian.diagonal), 1, hessian.diagonal.shape[1]), np.float32)
    return np.maximum(hessian.diagonal / mean, _IMPORTANCE_FLOOR)[:, None, :].astype(np.float32)


def first_scale(
    plan: LayerPlan, fmt: NumberFormat, matrix: np.ndarray, channels: np.ndarray, hessian: Hessian
) -> np.ndarray:
    """Scale of every channel (or the one of the tensor) by the plan's method; float32 ``[channels]``."""
    if plan.granularity == "tensor":
        channels = np.zeros_like(channels)
    method = scale_methods.get(plan.scale)
    weights = np.broadcast_to(importance_of(hessian), matrix.shape)
    count, width = int(channels.max()) + 1, matrix.shape[2]
    order = np.argsort(channels.reshape(-1), kind="stable")  # all channels have the same number of rows
    rows = matrix.reshape(-1, width)[order].reshape(count, -1)
    return method(rows, weights.reshape(-1, width)[order].reshape(count, -1), fmt)


def _floor(scale: np.ndarray, arrays: LayerArrays) -> np.ndarray:
    """Give dead channels a usable scale, keep every bias inside int32 at ``input scale * scale``; snap."""
    alive = scale > 0
    usual = float(np.median(scale[alive])) if alive.any() else 1.0
    floored = np.where(alive, scale, usual)
    if arrays.bias is not None and arrays.input_scale:
        needed = np.abs(arrays.bias) / (arrays.input_scale * _BIAS_LIMIT)
        floored = np.maximum(floored, needed if needed.size == scale.size else needed.max(initial=0))
    floored = np.maximum(floored, np.finfo(np.float32).tiny).astype(np.float32)
    return floored if arrays.grid is None else arrays.grid.snap(floored)


def _trials(
    plan: LayerPlan, scale: np.ndarray, grid: ScaleGrid | None, *, weights: int, thorough: bool
) -> np.ndarray:
    """Scales that a rounding tries, float32 ``[trials, channels]``; on a grid its points around them."""
    rounding = roundings.get(plan.rounding)
    given = rounding.trials if thorough else rounding.trials[:_FEW]
    if thorough and rounding.finer is not None and weights <= _SMALL:
        given = rounding.finer
    factors = np.array(given, np.float32)
    trials = factors[:, None] * scale
    if grid is None:
        return trials
    if grid.pow2 or len(factors) == 1:
        return grid.neighbours(scale)
    return np.stack([grid.snap(trial) for trial in trials])


def _round(
    plan: LayerPlan,
    fmt: NumberFormat,
    matrix: np.ndarray,
    channels: np.ndarray,
    trials: np.ndarray,
    hessian: Hessian,
) -> tuple[np.ndarray, np.ndarray]:
    """Scale and codes with the least energy of the error among the trial scales ``[trials, channels]``."""
    count = len(trials)
    row_scale = np.moveaxis(trials[:, channels], 0, 1)[..., None]  # [groups, trials, rows, 1]
    groups, rows, width = matrix.shape
    stacked = np.broadcast_to(matrix[:, None], (groups, count, rows, width))
    shape = (groups, count * rows)
    codes, energy = roundings.get(plan.rounding).round(
        stacked.reshape(*shape, width), row_scale.reshape(*shape, 1), fmt, hessian
    )
    codes, energy = codes.reshape(stacked.shape), energy.reshape(groups, count, rows)
    by_channel = np.stack([_by_channel(energy[:, t], channels) for t in range(count)])
    best = np.argmin(by_channel, axis=0)
    chosen = np.take_along_axis(codes, best[channels][:, None, :, None], axis=1)[:, 0]
    return trials[best, np.arange(trials.shape[1])], chosen


def _by_channel(rows: np.ndarray, channels: np.ndarray) -> np.ndarray:
    return np.bincount(channels.reshape(-1), weights=rows.reshape(-1), minlength=int(channels.max()) + 1)


def shifted_bias(layer: LayerWork, shift: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """Bias plus ``shift``, which is given by matrix row ``[groups, rows]``; float32 ``[channels]``."""
    channels = layer.geometry.row_channels()
    total = np.zeros(channels.size)
    total[channels.reshape(-1)] = shift.reshape(-1)
    return (total + (0 if bias is None else bias)).astype(np.float32)


def _ratio(over: float, under: float) -> float:
    return float(over / under) if under > 0 else float("nan")
