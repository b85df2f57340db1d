"""``auto4`` and its like: the format of the given width with the smallest fitted error, layer by layer."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from dybitq.encodings import formats
from dybitq.errors import ConfigError, listed, unknown
from dybitq.fit.fit import layer_arrays, moment_of
from dybitq.fit.shared import joined_moment, sharing
from dybitq.fit.weights.kernel_range import weight_format
from dybitq.fit.weights.layers import LayerArrays, first_scale, hessian_of, round_matrix
from dybitq.fit.weights.moments import Hessian
from dybitq.graph.load import Network
from dybitq.graph.tensors import Tensors
from dybitq.records.formats import NumberFormat
from dybitq.records.layers import LayerWork
from dybitq.records.plan import ActivationMode, LayerPlan, Plan
from dybitq.records.statistics import Moment, Statistics

_CHANNELS = 64  # that formats are compared on
_FINALISTS = 3  # formats that are compared after the rounding that is asked for
_AUTO = re.compile(r"auto([2-8])")


def is_auto(weights: str) -> bool:
    """Return whether a weight format is a request to choose."""
    return _AUTO.fullmatch(weights) is not None


def check_weight_format(weights: str) -> None:
    """Refuse what is neither a number format for weights, nor ``autoN``, nor ``float``.

    Raises:
        ConfigError: with the known names.
    """
    signed = formats.names(signed=True)
    if weights in ("float", *signed) or is_auto(weights):
        return
    if weights in formats.names(signed=False):
        other = weights.removeprefix("u")
        instead = f"use {other!r}" if other in signed else f"known: {listed(signed)}"
        raise ConfigError(f"the format {weights!r} has no negative numbers, but weights do; {instead}")
    raise unknown("weights", weights, ("float", *(f"auto{bits}" for bits in range(2, 9)), *signed))


def width_of(weights: str) -> int:
    """Bits of a weight format, or of the formats that one is to be chosen from."""
    match = _AUTO.fullmatch(weights)
    return int(match.group(1)) if match else formats.get(weights).bits


Carries = Callable[[NumberFormat], bool]
"""Tells whether weights in a format can be written."""


def any_format(_fmt: NumberFormat) -> bool:
    """Tell that every format can be written."""
    return True


def candidates(weights: str, mode: ActivationMode, carries: Carries = any_format) -> list[str]:
    """Signed formats of the width that ``weights`` names, of equal tables the first by name.

    Only those that can be written, with int8-sized tables unless ``mode`` is float.
    """
    bits = width_of(weights)
    found: dict[bytes, str] = {}
    for name in formats.names(signed=True):
        fmt = formats.get(name)
        if fmt.bits == bits and (fmt.fits_int8 or mode is ActivationMode.FLOAT) and carries(fmt):
            found.setdefault(np.unique(fmt.table).tobytes(), name)
    return list(found.values())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sample:
    """Some output channels of a layer: enough to compare formats with; see ``layers.round_matrix``."""

    matrix: np.ndarray
    bounded: bool
    channels: np.ndarray
    hessian: Hessian
    scales: dict[str, np.ndarray] = field(default_factory=dict)  # found so far, by format

    def error(self, plan: LayerPlan) -> float:
        """Energy of the output error over that of the output."""
        free = LayerArrays(weight=self.matrix, bias=None, input_scale=None, bounded=self.bounded)
        if plan.weights not in self.scales:
            fmt = weight_format(plan.weights, bounded=self.bounded)
            self.scales[plan.weights] = first_scale(plan, fmt, self.matrix, self.channels, self.hessian)
        start = self.scales[plan.weights]
        return round_matrix(
            plan, free, self.matrix, self.channels, self.hessian, start=start, thorough=False
        ).error


def _sample(
    layer: LayerWork, plan: LayerPlan, arrays: LayerArrays, moment: Moment | None, *, correct_bias: bool
) -> _Sample:
    matrix = layer.geometry.to_matrix(arrays.weight).astype(np.float32)
    channels = layer.geometry.row_channels()
    centred = correct_bias and moment is not None and layer.geometry.has_own_rows()
    hessian = hessian_of(matrix, moment, centred=centred)
    count = int(channels.max()) + 1
    if plan.granularity == "tensor" or len(matrix) > 1 or count <= _CHANNELS:
        return _Sample(matrix=matrix, bounded=arrays.bounded, channels=channels, hessian=hessian)
    # Errors add up where the output is large, which may be in very few channels: half are the largest ones.
    energy = np.bincount(channels[0], weights=hessian.energy(matrix)[0], minlength=count)
    order = np.argsort(-energy, kind="stable")
    largest, others = order[: _CHANNELS // 2], np.sort(order[_CHANNELS // 2 :])
    spread = others[np.linspace(0, len(others) - 1, _CHANNELS - len(largest)).astype(np.int64)]
    taken = np.isin(channels[0], np.concatenate([largest, spread]))
    _, renumbered = np.unique(channels[0, taken], return_inverse=True)
    return _Sample(
        matrix=matrix[:, taken], bounded=arrays.bounded, channels=renumbered[None], hessian=hessian
    )


def resolve_auto(
    network: Network,
    layers: Mapping[str, LayerWork],
    plan: Plan,
    statistics: Statistics,
    carries: Carries = any_format,
) -> Plan:
    """Replace every ``autoN`` of the plan by the winner, with the reason beside it.

    All formats are compared by their output error after rounding to the nearest level, and the best few
    of them once more after the rounding that the plan asks for, both on a sample of the output channels.
    Layers that share a weight decide together. Only formats that ``carries`` admits are compared.
    """
    tensors, alike = Tensors(network), sharing(layers, plan)
    decided: list[LayerPlan] = []
    for layer_plan in plan.layers:
        if not is_auto(layer_plan.weights):
            decided.append(layer_plan)
            continue
        layer = layers[layer_plan.layer]
        arrays = layer_arrays(tensors, layer, layer_plan, {})
        names = alike.get(layer.name, (layer.name,))
        moment = joined_moment([moment_of(layers[name], statistics) for name in names])
        sample = _sample(layer, layer_plan, arrays, moment, correct_bias=plan.bias_correction)

        def error(name: str, rounding: str, base: LayerPlan = layer_plan, sample: _Sample = sample) -> float:
            found = sample.error(replace(base, weights=name, rounding=rounding))
            return math.inf if math.isnan(found) else found

        tried = candidates(layer_plan.weights, layer_plan.activations, carries)
        first = sorted(tried, key=lambda name: (error(name, "nearest"), name))[:_FINALISTS]
        errors = {name: error(name, layer_plan.rounding) for name in first}
        ranked = sorted(errors, key=lambda name: (errors[name], name))
        reason = f"output error {errors[ranked[0]]:.2e}"
        if len(ranked) > 1:
            reason += f", next {ranked[1]} {errors[ranked[1]]:.2e}"
        decided.append(replace(layer_plan, weights=ranked[0], reason=reason))
    return replace(plan, layers=tuple(decided))
