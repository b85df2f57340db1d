"""Weights that several layers read: one set of codes for all of them, so that the file stores one copy.

The codes are fitted to what all the layers together are fed. The biases remain each layer's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dybitq.calibration.merge import merge_moments
from dybitq.fit.weights.kernel_range import bounds_weights
from dybitq.fit.weights.layers import LayerArrays, fit_layer, shifted_bias
from dybitq.fit.weights.moments import hessian_from, uniform_hessian
from dybitq.records.fitted import FittedWeight
from dybitq.records.layers import LayerWork
from dybitq.records.plan import LayerPlan, Plan
from dybitq.records.statistics import Moment


def sharing(layers: Mapping[str, LayerWork], plan: Plan) -> dict[str, tuple[str, ...]]:
    """Names of the layers that can have one set of codes, by the name of each of them.

    They read the same initializer in the same layout, and are planned alike.
    """
    found: dict[tuple[object, ...], list[str]] = {}
    for layer_plan in plan.layers:
        layer = layers[layer_plan.layer]
        if layer_plan.has_coded_weights:
            found.setdefault(_key(layer, layer_plan), []).append(layer.name)
    return {name: tuple(names) for names in found.values() if len(names) > 1 for name in names}


def _key(layer: LayerWork, plan: LayerPlan) -> tuple[object, ...]:
    decisions = (plan.weights, plan.granularity, plan.scale, plan.rounding, plan.snap)
    return (layer.weight, *layer.geometry.layout, *decisions, bounds_weights(layer, plan))


def fit_together(
    layers: Sequence[LayerWork],
    plan: LayerPlan,
    arrays: Sequence[LayerArrays],
    moments: Sequence[Moment | None],
    *,
    correct_bias: bool,
) -> dict[str, FittedWeight]:
    """Fit layers that share their weight, or a single layer; by layer name.

    Args:
        layers: as :func:`sharing` found them.
        plan: of any of them.
        arrays, moments: of each.
        correct_bias: see :func:`dybitq.fit.weights.layers.fit_layer`.
    """
    if len(layers) == 1:
        return {layers[0].name: fit_layer(layers[0], plan, arrays[0], moments[0], correct_bias=correct_bias)}
    shared = fit_layer(layers[0], plan, _strictest(arrays), joined_moment(moments), correct_bias=correct_bias)
    return {
        layer.name: with_codes_of(shared, layer, own, moment, correct_bias=correct_bias)
        for layer, own, moment in zip(layers, arrays, moments, strict=True)
    }


def joined_moment(moments: Sequence[Moment | None]) -> Moment | None:
    """Sum of the moments that are known; None without any."""
    total: Moment | None = None
    for moment in moments:
        if moment is not None:
            total = moment if total is None else merge_moments(total, moment)
    return total


def _strictest(arrays: Sequence[LayerArrays]) -> LayerArrays:
    """Give the shared weight a bias and an input scale that ask as much of its scales as any layer."""
    biases = [np.abs(a.bias) for a in arrays if a.bias is not None]
    scales = [a.input_scale for a in arrays if a.input_scale is not None]
    return replace(
        arrays[0],
        bias=np.max(biases, axis=0) if biases else None,
        input_scale=min(scales) if scales else None,
    )


def with_codes_of(
    shared: FittedWeight, layer: LayerWork, arrays: LayerArrays, moment: Moment | None, *, correct_bias: bool
) -> FittedWeight:
    """Return the codes and scales of ``shared`` with the bias and the error of one of the layers."""
    matrix = layer.geometry.to_matrix(arrays.weight).astype(np.float32)
    channels = layer.geometry.row_channels()
    scale = shared.scale[channels if shared.axis is not None else np.zeros_like(channels)]
    integers = shared.format.table[layer.geometry.to_matrix(shared.codes)].astype(np.float32)
    lost = matrix - integers * scale[..., None]
    takes_mean = correct_bias and moment is not None and layer.geometry.has_own_rows()
    known = moment is not None and moment.rows > 0
    hessian = uniform_hessian(matrix.shape[0], matrix.shape[2])
    if moment is not None and known:
        hessian = hessian_from(moment, matrix.shape[2], centred=takes_mean)
    over, under = float(hessian.energy(lost).sum()), float(hessian.energy(matrix).sum())
    bias = arrays.bias
    if takes_mean:
        bias = shifted_bias(layer, np.einsum("grk,gk->gr", lost.astype(np.float64), hessian.mean), bias)
    return replace(shared, bias=bias, error=over / under if under > 0 else float("nan"))
