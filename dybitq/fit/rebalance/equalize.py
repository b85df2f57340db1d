"""Cross-layer equalization: factors moved between two layers so that one scale serves all channels.

Between a layer and its only reader stands at most a Relu, or another function that is linear on both sides of
zero (LeakyRelu, PRelu), which commutes with positive factors: dividing
output channel c of the first by s_c and multiplying input channel c of the second by it leaves the network
as it is (Nagel et al., arXiv:1906.04721, section 4.1). It serves two ends:

- One scale for all channels of the tensor between: channels of small values are multiplied until they fill
  the range that was chosen for the tensor, and are coded that much finer. None leaves the range, so a Clip
  cuts off none that it did not cut off before.
- One scale for a whole weight tensor: channels of large weights are divided. Factors are at least 1 there, so
  that what calibration saw of the tensor between still bounds it, and no Clip may ever have cut it off.

Factors are powers of two, so that the float network stays the same to the last bit, and a pair is equalized
only if the error at the output of its second layer becomes smaller. That error has three parts: the weights
of the first layer, those of the second, and the rounding of the tensor between them, whose step is that of
its range.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dybitq import log_histogram
from dybitq.errors import counted
from dybitq.fit.activations.edges import fit_edge
from dybitq.fit.rebalance.rescale import (
    OverlaidMoments,
    form_of_moment,
    rounding_error,
    scaled_moment,
    takes_factors,
)
from dybitq.graph.load import Network
from dybitq.graph.rewrites.chains import Chain, chains, with_parameters
from dybitq.graph.tensors import Tensors
from dybitq.records.fitted import FittedEdge
from dybitq.records.layers import LayerWork
from dybitq.records.plan import LayerPlan, Plan
from dybitq.records.statistics import ChannelStatistics, Moment, Statistics

_TRIALS = ((1.0, 10), (1.0, 4), (0.5, 10))  # share of the full exponent, and the largest power of two
_SHARES, _MOST = (1.0, 0.5), 4  # the same for channels that fill a range: others may wake up
_WORTH = 0.98  # of the error before: below it a pair is equalized


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Equalized:
    """The same network with other factors.

    Attributes:
        network: with rescaled weights, or the one that was given.
        statistics: moments and channel values rescaled; histograms between equalized layers are those from
            before: their ranges are the ones that the channels were made to fill.
        found: number of pairs of layers that could be equalized exactly.
        used: names of the pairs that were.
        rescaled: names of the tensors between them.
        notes: one sentence, or none where no pair was found.
    """

    network: Network
    statistics: Statistics
    found: int
    used: tuple[tuple[str, str], ...]
    rescaled: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pair:
    """Two layers; ``shrinks`` if channels may be divided for the sake of weights with one scale."""

    first: LayerWork
    second: LayerWork
    plans: tuple[LayerPlan, LayerPlan]
    chain: Chain
    shrinks: bool


def equalize(
    network: Network, layers: Mapping[str, LayerWork], plan: Plan, statistics: Statistics
) -> Equalized:
    """Equalize the pairs of layers where that makes the error smaller."""
    plans = {p.layer: p for p in plan.layers}
    unchanged = Equalized(network=network, statistics=statistics, found=0, used=(), rescaled=(), notes=())
    pairs = _pairs(network, layers, plans, statistics)
    if not pairs:
        return unchanged
    work = _Work(network, plan, statistics)
    done = [pair for pair in pairs if work.equalize(pair)]
    count = f"{counted(len(pairs), 'pair')} of layers"
    notes = (f"cross-layer equalization: {count} found, {len(done)} equalized",)
    if not done:
        return replace(unchanged, found=len(pairs), notes=notes)
    return Equalized(
        network=with_parameters(network, work.changed),
        statistics=replace(
            statistics, moments=OverlaidMoments(work.moments, statistics.moments), channels=work.channels
        ),
        found=len(pairs),
        used=tuple((pair.first.name, pair.second.name) for pair in done),
        rescaled=tuple(n for p in done for n in dict.fromkeys((p.first.output, p.chain.between))),
        notes=notes,
    )


def _pairs(
    network: Network,
    layers: Mapping[str, LayerWork],
    plans: Mapping[str, LayerPlan],
    statistics: Statistics,
) -> list[_Pair]:
    found = []
    for chain in chains(network, layers):
        if not {chain.first, chain.second} <= set(plans):
            continue
        first, second = layers[chain.first], layers[chain.second]
        both = plans[chain.first], plans[chain.second]
        fits = all(p.has_coded_weights for p in both)
        one_scale = any(p.granularity == "tensor" for p in both) and all(not p.recodes for p in both)
        known = all(layer.moment_key in statistics.moments for layer in (first, second))
        alike = first.geometry.output_channels == second.geometry.input_channels
        if fits and known and alike and takes_factors(first) and takes_factors(second):
            shrinks = one_scale and not _cut_off(chain, statistics)
            found.append(_Pair(first=first, second=second, plans=both, chain=chain, shrinks=shrinks))
    return found


def _cut_off(chain: Chain, statistics: Statistics) -> bool:
    """Return whether calibration saw the bound of a Clip reached: factors do not commute with it then."""
    seen = statistics.tensors.get(chain.between)
    return chain.bound < np.inf and (seen is None or seen.maximum >= chain.bound)


class _Work:
    """A network whose weights change, with moments and channel sums that follow."""

    def __init__(self, network: Network, plan: Plan, statistics: Statistics) -> None:
        self.tensors = Tensors(network)
        self.changed: dict[str, np.ndarray] = {}
        self.edges = {edge.tensor: edge for edge in plan.edges}
        self.statistics = statistics
        self.moments: dict[str, Moment] = {}
        self._at_hand: dict[str, Moment] = {}
        self.channels = dict(statistics.channels)
        self.bias_correction = plan.bias_correction

    def array(self, name: str) -> np.ndarray:
        """Return a parameter as it is now."""
        return self.changed[name] if name in self.changed else self.tensors.array(name)

    def equalize(self, pair: _Pair) -> bool:
        """Equalize a pair if that lowers its error."""
        self._at_hand.clear()
        first, second = (self._weight(layer) for layer in (pair.first, pair.second))
        before = self._error(pair, first, second, np.ones(pair.first.geometry.output_channels))
        tried = [factors(first, second, *trial, pair) for trial in _TRIALS] if pair.shrinks else []
        tried += self._filling(pair)
        scales = [s for s in {e.tobytes(): e for e in tried}.values() if (s != 1).any()]
        if not scales:
            return False
        errors = [self._error(pair, first, second, scale) for scale in scales]
        if min(errors) > _WORTH * before:
            return False
        self._apply(pair, scales[int(np.argmin(errors))])
        return True

    def _moment(self, layer: LayerWork) -> Moment:
        """As it is now; what is read from the file is kept for the pair in work."""
        key = layer.moment_key
        if key in self.moments:
            return self.moments[key]
        if key not in self._at_hand:
            self._at_hand[key] = self.statistics.moments[key]
        return self._at_hand[key]

    def _weight(self, layer: LayerWork) -> np.ndarray:
        return self.array(layer.weight)

    def _error(self, pair: _Pair, first: np.ndarray, second: np.ndarray, scale: np.ndarray) -> float:
        """Squared error at the output of the second layer, in its units, summed over its channels."""
        turned = pair.second.geometry.times_inputs(second, scale)
        weight = pair.second.geometry.per_input(turned**2)
        moment = scaled_moment(self._moment(pair.second), pair.second, scale)
        total = float(self._lost(pair.second, pair.plans[1], turned, moment).sum())
        if pair.plans[0].granularity == "tensor":  # a channel with its own scale follows any factor
            divided = pair.first.geometry.times_outputs(first, 1 / scale)
            lost = self._lost(pair.first, pair.plans[0], divided, self._moment(pair.first))
            total += float((lost.reshape(-1) * weight).sum())
        edges = (self._edge(name) for name in self._coded(pair))
        return total + sum(edge.scale**2 for edge in edges) / 12 * float(weight.sum())

    def _filling(self, pair: _Pair) -> list[np.ndarray]:
        """Factors with which every channel fills the range of the tensor between, powers of two up to 1."""
        coded, seen = self._coded(pair), self.channels.get(pair.first.name)
        if not coded or seen is None:
            return []
        room = np.full(pair.first.geometry.output_channels, np.inf)
        for name in coded:
            edge, low, high = self._edge(name), seen.minimum, np.minimum(seen.maximum, pair.chain.bound)
            if name == pair.second.input:
                low = np.where(low < 0, low * pair.chain.slope, low)
            for end, code in ((low, edge.low), (high, edge.high)):
                limit = (code - edge.zero_point) * edge.scale
                inside = (end != 0) & np.isfinite(end) & (np.sign(end) == np.sign(limit))
                room[inside] = np.minimum(room[inside], limit / end[inside])
        room = np.where(np.isfinite(room), np.maximum(room, 1), 1)
        return [np.exp2(-np.minimum(np.floor(share * np.log2(room)), _MOST)) for share in _SHARES]

    def _lost(self, layer: LayerWork, plan: LayerPlan, weight: np.ndarray, moment: Moment) -> np.ndarray:
        hessian = form_of_moment(moment, correct_bias=self.bias_correction)
        return rounding_error(layer, plan, weight, hessian)

    def _coded(self, pair: _Pair) -> tuple[str, ...]:
        """List the coded tensors between the layers: what the second reads, and what the first writes."""
        roots = {
            name: self.tensors.coded_root(name, self.edges) for name in (pair.second.input, pair.first.output)
        }
        known = {name: root for name, root in roots.items() if root in self.statistics.tensors}
        return tuple({root: name for name, root in reversed(known.items())}.values())

    def _edge(self, name: str) -> FittedEdge:
        """Codes of a coded tensor."""
        root = self.tensors.coded_root(name, self.edges)
        assert root is not None
        seen = self.statistics.tensors[root]
        return fit_edge(self.edges[root], seen, self.tensors.clamp(root), self.tensors.response(root))

    def _apply(self, pair: _Pair, scale: np.ndarray) -> None:
        first, second = pair.first, pair.second
        self._set(first.weight, first.geometry.times_outputs(self.array(first.weight), 1 / scale))
        if first.bias is not None:
            bias = self.array(first.bias)
            self._set(first.bias, bias / scale.reshape((-1,) if bias.ndim == 1 else bias.shape))
        self._set(second.weight, second.geometry.times_inputs(self.array(second.weight), scale))
        self.moments[second.moment_key] = scaled_moment(self._moment(second), second, scale)
        sums = self.channels.get(first.name)
        if sums is not None:
            self.channels[first.name] = ChannelStatistics(
                count=sums.count,
                total=sums.total / scale,
                squares=sums.squares / scale**2,
                minimum=sums.minimum / scale,
                maximum=sums.maximum / scale,
                histogram=None if sums.histogram is None else log_histogram.divided(sums.histogram, scale),
            )

    def _set(self, name: str, array: np.ndarray) -> None:
        self.changed[name] = array.astype(np.float32)


def factors(first: np.ndarray, second: np.ndarray, share: float, most: int, pair: _Pair) -> np.ndarray:
    """Divisors of the first layer's channels, powers of two from 1 to ``2**most``; float64 ``[n]``.

    With a share of 1 the largest weights of an output channel of the first layer and of the same input
    channel of the second become equal, up to a power of two and to a factor common to all channels.
    """
    axes = tuple(i for i in range(first.ndim) if i != pair.first.geometry.channel_axis)
    wide = np.abs(first).max(axis=axes).astype(np.float64)
    read = np.sqrt(pair.second.geometry.per_input(second.astype(np.float64) ** 2, largest=True))
    alive = (wide > 0) & (read > 0)
    if not alive.any():
        return np.ones_like(wide)
    exponent = np.zeros_like(wide)
    exponent[alive] = np.rint(share / 2 * np.log2(wide[alive] / read[alive]))
    exponent[alive] -= exponent[alive].min()
    return np.exp2(np.minimum(exponent, most))
