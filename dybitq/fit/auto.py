"""``auto4`` and its like: the format of the given width with the smallest fitted error, layer by layer."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace

from dybitq.encodings import formats
from dybitq.fit.fit import layer_arrays
from dybitq.fit.layers import fit_layer
from dybitq.graph.load import Network
from dybitq.graph.tensors import Tensors
from dybitq.patches import moment_key
from dybitq.records import ActivationMode, LayerPlan, LayerWork, Plan, Statistics

_AUTO = re.compile(r"auto([2-8])")


def is_auto(weights: str) -> bool:
    """Whether a weight format is a request to choose."""
    return _AUTO.fullmatch(weights) is not None


def candidates(weights: str, mode: ActivationMode) -> list[str]:
    """Signed formats of the width that ``weights`` names; only int8-sized tables unless ``mode`` is float."""
    match = _AUTO.fullmatch(weights)
    assert match is not None
    bits = int(match.group(1))
    found = [formats.get(name) for name in formats.names(signed=True)]
    return [f.name for f in found if f.bits == bits and (f.fits_int8 or mode is ActivationMode.FLOAT)]


def resolve_auto(
    network: Network, layers: Mapping[str, LayerWork], plan: Plan, statistics: Statistics
) -> Plan:
    """Replace every ``autoN`` of the plan by the winner, with the reason beside it."""
    tensors = Tensors(network)
    decided: list[LayerPlan] = []
    for layer_plan in plan.layers:
        if not is_auto(layer_plan.weights):
            decided.append(layer_plan)
            continue
        layer = layers[layer_plan.layer]
        arrays = layer_arrays(tensors, layer, layer_plan, {})
        moment = statistics.moments.get(moment_key(layer))
        errors = {}
        for name in candidates(layer_plan.weights, layer_plan.activations):
            trial = replace(layer_plan, weights=name)
            errors[name] = fit_layer(layer, trial, arrays, moment, correct_bias=False).error
        ranked = sorted(
            errors, key=lambda name: (math.inf if math.isnan(errors[name]) else errors[name], name)
        )
        best, runner_up = ranked[0], ranked[min(1, len(ranked) - 1)]
        reason = f"output error {errors[best]:.2e}, next {runner_up} {errors[runner_up]:.2e}"
        decided.append(replace(layer_plan, weights=best, reason=reason))
    return replace(plan, layers=tuple(decided))
