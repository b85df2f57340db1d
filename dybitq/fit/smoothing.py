"""Smoothing: factors moved from a tensor with one range at run time to the weights that read it.

Where the 8-bit range of a MatMul's input is found at every run, a few features that are far larger than the
others make the step coarse for all of them; Transformers have such features behind every LayerNorm. Dividing
feature c by s_c and multiplying row c of the weights by it leaves the network as it is (SmoothQuant, Xiao et
al., arXiv:2211.10438). One Mul in front of the quantizer divides, and all layers that read it share it.

Factors are powers of two, so that the float network stays the same to the last bit. The published method
hands half of every feature's range to the weights. Here several shares are tried, as well as cutting down the
largest features only, and what makes the error at the outputs of the layers smallest is taken. That error
has two parts: the rounding of the weights, and that of the tensor, whose step is that of its range.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dybitq.fit.recode import NONE
from dybitq.fit.rescale import (
    OverlaidMoments,
    Reader,
    form_of_moment,
    scaled_moment,
)
from dybitq.graph.load import Network
from dybitq.graph.smoothed import with_divided_inputs
from dybitq.graph.tensors import Tensors
from dybitq.patches import moment_key
from dybitq.records import ActivationMode, LayerPlan, LayerWork, Moment, Plan, Statistics

_SHARES = (0.25, 0.5)  # of the logarithm of a feature's range
_CUTS = (1, 2, 3)  # powers of two that the largest feature is divided by
_MOST = 10  # power of two that a feature is divided by
_WORTH = 0.8  # of the error before: below it the Mul earns its time


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Smoothed:
    """The same network with other factors.

    Attributes:
        network: with a Mul in front of some layers, or the one that was given.
        layers: its survey.
        statistics: with moments of what the layers read now.
        rescaled: names of the divided tensors.
        notes: one sentence, or none where no layer finds its range at run time.
    """

    network: Network
    layers: Mapping[str, LayerWork]
    statistics: Statistics
    rescaled: tuple[str, ...]
    notes: tuple[str, ...]


def smooth(network: Network, layers: Mapping[str, LayerWork], plan: Plan, statistics: Statistics) -> Smoothed:
    """Smooth the inputs of MatMuls with dynamic ranges where that makes the error smaller."""
    groups = _groups(layers, plan, statistics)
    unchanged = Smoothed(network=network, layers=layers, statistics=statistics, rescaled=(), notes=())
    if not groups:
        return unchanged
    tensors = Tensors(network)
    factors = {}
    for names, plans in groups.items():
        moment = statistics.moments[moment_key(layers[names[0]])]
        form = form_of_moment(moment, correct_bias=plan.bias_correction)
        readers = [
            Reader.of(layers[n], p, tensors.array(layers[n].weight or ""), form)
            for n, p in zip(names, plans, strict=True)
        ]
        scale = _best({r: r.left(form) for r in readers}, moment, correct_bias=plan.bias_correction)
        if scale is not None:
            factors[names] = scale
    count = f"{len(groups)} input{'' if len(groups) == 1 else 's'} with ranges of the run"
    notes = (f"smoothing: {count} found, {len(factors)} smoothed",)
    if not factors:
        return replace(unchanged, notes=notes)
    changed, found = with_divided_inputs(network, layers, factors)
    moments: dict[str, Moment] = {}
    for names, scale in factors.items():
        before = statistics.moments[moment_key(layers[names[0]])]
        moments[moment_key(found[names[0]])] = scaled_moment(before, layers[names[0]], scale)
    kept = OverlaidMoments(moments, statistics.moments)
    return Smoothed(
        network=changed,
        layers=found,
        statistics=replace(statistics, moments=kept),
        rescaled=tuple(found[names[0]].input for names in factors),
        notes=notes,
    )


def _groups(
    layers: Mapping[str, LayerWork], plan: Plan, statistics: Statistics
) -> dict[tuple[str, ...], list[LayerPlan]]:
    """Plans of the layers with dynamic ranges by their names, those that read the same tensor together.

    A weight that another layer reads too stays as it is, and so does what its layer reads.
    """
    found: dict[str, list[LayerPlan]] = {}
    shared = Counter(layer.weight for layer in layers.values())
    for layer_plan in plan.layers:
        layer = layers[layer_plan.layer]
        dynamic = layer_plan.activations is ActivationMode.DYNAMIC and layer_plan.recode == NONE
        known = moment_key(layer) in statistics.moments
        if dynamic and known and layer_plan.weights != "float":
            found.setdefault(layer.input, []).append(layer_plan)
    return {
        tuple(p.layer for p in plans): plans
        for plans in found.values()
        if all(shared[layers[p.layer].weight] == 1 for p in plans)
    }


def _best(readers: Mapping[Reader, float], moment: Moment, *, correct_bias: bool) -> np.ndarray | None:
    """The factors with the smallest sum of errors; None if they are not worth it.

    Args:
        readers: with the share of the error of nearest rounding that their own rounding leaves.
        moment: of the tensor.
        correct_bias: whether errors of the mean are taken out.
    """
    layer = next(iter(readers)).layer
    low, high = np.minimum(moment.minimum[0], 0), np.maximum(moment.maximum[0], 0)
    tried = {scale.tobytes(): scale for scale in _candidates(np.maximum(-low, high))}

    def error(scale: np.ndarray) -> float:
        step = float((high / scale).max() - (low / scale).min()) / 255
        divided = scaled_moment(moment, layer, scale)
        form = form_of_moment(divided, correct_bias=correct_bias)
        return sum(
            left * reader.lost(scale, form) + step**2 / 12 * float(reader.gain(scale).sum())
            for reader, left in readers.items()
        )

    none = np.ones_like(low)
    tried.pop(none.tobytes(), None)
    if not tried:
        return None
    errors = {key: error(scale) for key, scale in tried.items()}
    best = min(errors, key=errors.__getitem__)
    return tried[best] if errors[best] < _WORTH * error(none) else None


def _candidates(largest: np.ndarray) -> list[np.ndarray]:
    """Factors for features of these magnitudes, powers of two, 1 for the usual ones and for smaller ones.

    None is below 1: a feature that was small in calibration may be larger at run time, and multiplied it
    would set the range for all.
    """
    alive = largest > 0
    if not alive.any():
        return []
    usual = np.median(largest[alive])
    above_usual = np.log2(np.maximum(largest, usual) / usual)
    below_top = np.log2(np.maximum(largest, usual) / largest.max())
    exponents = [np.rint(share * above_usual) for share in _SHARES]
    exponents += [np.ceil(below_top + cut) for cut in _CUTS]
    return [np.exp2(np.clip(e, 0, _MOST)) for e in exponents]
