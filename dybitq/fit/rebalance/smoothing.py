"""Smoothing: factors moved from a tensor with one range at run time to the weights that read it.

Where the 8-bit range of a MatMul's input is found at every run, a few features that are far larger than the
others make the step coarse for all of them; Transformers have such features after every LayerNorm. Two
things leave the network as it is and the range smaller. Feature c can be divided by s_c, and row c of the
weights multiplied by it (SmoothQuant, Xiao et al., arXiv:2211.10438). Or it can be read r times, each copy
divided by r, against the same row of the weights each time (outlier channel splitting, Zhao et al., ICML
2019): that costs r - 1 more features, and the weights nothing. One Mul in front of the quantizer divides, and
all layers that read the tensor share it.

Divisors of what is not split are powers of two, so that the float network stays the same to the last bit. The
published method hands half of every feature's range to the weights. Here several shares are tried, as well
as cutting down the largest features only, both with the largest features split and not, and what makes
the error at the outputs of the layers smallest is taken. That error has two parts: the rounding of the
weights, and that of the tensor, whose step is that of its range.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dybitq.encodings import formats
from dybitq.errors import counted
from dybitq.fit.auto import is_auto
from dybitq.fit.rebalance.rescale import (
    OverlaidMoments,
    RescaledReader,
    form_of_moment,
    scaled_moment,
)
from dybitq.graph.load import Network
from dybitq.graph.rewrites.smoothed import Features, with_features
from dybitq.graph.tensors import Tensors
from dybitq.records.layers import LayerWork
from dybitq.records.plan import ActivationMode, LayerPlan, Plan
from dybitq.records.statistics import Moment, MomentKind, Statistics

_SHARES = (0.25, 0.5)  # of the logarithm of a feature's range
_CUTS = (1, 2, 3)  # powers of two that the largest feature is divided by
_MOST = 10  # power of two that a feature is divided by
_WORTH = 0.95  # of the error before: below it the Mul earns its time
_EXTRA = 0.02  # of the features, rounded down: how many copies may be added
_SPLIT_WORTH = 0.95  # of the error without copies


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
    features = {}
    for names, plans in groups.items():
        moment = statistics.moments[layers[names[0]].moment_key]
        hessian = form_of_moment(moment, correct_bias=plan.bias_correction)
        readers = [
            RescaledReader.of(layers[n], p, tensors.array(layers[n].weight or ""), hessian)
            for n, p in zip(names, plans, strict=True)
        ]
        read = _best({r: r.left(hessian) for r in readers}, moment, correct_bias=plan.bias_correction)
        if read is not None:
            features[names] = read
    count = f"{counted(len(groups), 'input')} with ranges of the run"
    split = sum(read.split for read in features.values())
    with_split = f", {split} of them with split features" if split else ""
    notes = (f"smoothing: {count} found, {len(features)} smoothed{with_split}",)
    if not features:
        return replace(unchanged, notes=notes)
    changed, found = with_features(network, layers, features)
    moments: dict[str, Moment] = {}
    for names, read in features.items():
        before = statistics.moments[layers[names[0]].moment_key]
        moments[found[names[0]].moment_key] = _moment_of(before, layers[names[0]], read)
    kept = OverlaidMoments(moments, statistics.moments)
    return Smoothed(
        network=changed,
        layers=found,
        statistics=replace(statistics, moments=kept),
        rescaled=tuple(found[names[0]].input for names in features),
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
        dynamic = layer_plan.activations is ActivationMode.DYNAMIC and not layer_plan.recodes
        known = layer.moment_key in statistics.moments
        if dynamic and known and _has_codes(layer_plan.weights):
            found.setdefault(layer.input, []).append(layer_plan)
    return {
        tuple(p.layer for p in plans): plans
        for plans in found.values()
        if all(shared[layers[p.layer].weight] == 1 for p in plans)
    }


def _has_codes(weights: str) -> bool:
    """Return whether a layer with these weights multiplies codes: tables beyond int8 compute in float."""
    return weights != "float" and (is_auto(weights) or formats.get(weights).fits_int8)


def _best(readers: Mapping[RescaledReader, float], moment: Moment, *, correct_bias: bool) -> Features | None:
    """Return the features with the smallest sum of errors; None if they are not worth it.

    Args:
        readers: with the share of the error of nearest rounding that their own rounding leaves.
        moment: of the tensor.
        correct_bias: whether errors of the mean are taken out.
    """
    layer = next(iter(readers)).layer
    largest = np.maximum(-np.minimum(moment.minimum[0], 0), np.maximum(moment.maximum[0], 0))

    def error(read: Features) -> float:
        seen = _moment_of(moment, layer, read)
        hessian = form_of_moment(seen, correct_bias=correct_bias)
        step = float(np.maximum(seen.maximum, 0).max() - np.minimum(seen.minimum, 0).min()) / 255
        total = 0.0
        for reader, left in readers.items():
            changed = replace(reader, weight=read.rows(reader.weight))
            unit = np.ones(len(read.index))
            total += left * changed.lost(unit, hessian) + step**2 / 12 * float(changed.gain(unit).sum())
        return total

    whole = _whole(len(largest))
    before = error(whole)
    best, least = whole, before
    for split, worth in ((whole, 1.0), (_split(largest, moment.kind), _SPLIT_WORTH)):
        if split is None:
            continue
        tried = [(error(read), read) for read in _candidates(split, largest)]
        lowest, found = min(tried, key=lambda pair: pair[0], default=(before, whole))
        if lowest < worth * least:
            best, least = found, lowest
    return best if least < _WORTH * before else None


def _whole(width: int) -> Features:
    """Every feature once, as it is."""
    return Features(index=np.arange(width), scale=np.ones(width))


def _split(largest: np.ndarray, kind: MomentKind) -> Features | None:
    """Split the largest features into the copies that make the largest smallest; None if nothing is split."""
    extra = int(_EXTRA * len(largest))
    if kind is MomentKind.BLOCK or not extra or not largest.max() > 0:
        return None
    copies = np.ones(len(largest), np.int64)
    for _ in range(extra):
        copies[np.argmax(largest / copies)] += 1
    # Copies that do not make the range smaller are given back.
    needed = np.ceil(largest / (largest / copies).max() * (1 - 1e-9)).astype(np.int64)
    copies = np.clip(needed, 1, copies)
    more = np.repeat(np.arange(len(largest)), copies - 1)
    index = np.concatenate([np.arange(len(largest)), more])
    return Features(index=index, scale=copies[index].astype(np.float64)) if more.size else None


def _moment_of(moment: Moment, layer: LayerWork, read: Features) -> Moment:
    """Return the moment of what is read of the tensor that ``layer`` read as it was."""
    if len(read.index) == moment.first.shape[1]:
        return scaled_moment(moment, layer, read.scale)
    index, scale = read.index, read.scale  # which a moment in blocks is not given
    if moment.kind is MomentKind.DIAGONAL:
        second = moment.second[:, index] / scale**2
    else:
        second = moment.second[:, index[:, None], index] / np.outer(scale, scale)
    return replace(
        moment,
        first=moment.first[:, index] / scale,
        second=second,
        minimum=moment.minimum[:, index] / scale,
        maximum=moment.maximum[:, index] / scale,
    )


def _candidates(split: Features, largest: np.ndarray) -> list[Features]:
    """Return the encodings to try: features below the usual size divided by 1, others by powers of two.

    None is multiplied: a feature that was small in calibration may be larger at run time, and would set the
    range for all.
    """
    largest = largest[split.index] / split.copies
    alive = largest > 0
    if not alive.any():
        return []
    usual = np.median(largest[alive])
    above_usual = np.log2(np.maximum(largest, usual) / usual)
    below_top = np.log2(np.maximum(largest, usual) / largest.max())
    exponents = [np.rint(share * above_usual) for share in _SHARES]
    exponents += [np.ceil(below_top + cut) for cut in _CUTS]
    if split.split:
        exponents.append(np.zeros_like(largest))
    scales = {np.exp2(np.clip(e, 0, _MOST)).tobytes(): np.exp2(np.clip(e, 0, _MOST)) for e in exponents}
    return [replace(split, scale=split.scale * scale) for scale in scales.values()]
