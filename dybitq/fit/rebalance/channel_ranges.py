"""Channel ranges: factors on both sides of a function, so that every channel fills the codes' range.

Between two layers may stand a function that no factor commutes with, such as ``x * Sigmoid(x)``. Its input
and its output are coded in 8 bits with one scale for all channels, and where channels differ much, the
small ones keep a few codes. The channels of the input can be multiplied all the same, if the function is
computed in float and a Mul in front of it takes the factors back: the weights of the layer in front of it,
whose scales are those of single channels, take them up without loss. The channels of the output can be
multiplied after the function, and the weights of its readers divided, as in cross-layer equalization.

Which ranges the channels get follows from their histograms: the error of every range is summed over the bins
and weighted by what the readers make of it. Ranges share a zero point; their steps are a quarter of an
octave apart. The readers' weights pay for the factors of the output with their own rounding, so that
several shares are tried. A stretch is changed only where the error at the outputs of its readers falls by
so much that it is worth a function in float.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dybitq import log_histogram
from dybitq.errors import counted
from dybitq.fit.activations.edges import fit_edge
from dybitq.fit.rebalance.rescale import (
    OverlaidMoments,
    RescaledReader,
    form_of_moment,
    scaled_moment,
    takes_factors,
)
from dybitq.fit.weights.moments import Hessian
from dybitq.graph.load import Network
from dybitq.graph.pointwise import Response
from dybitq.graph.rewrites.chains import with_parameters
from dybitq.graph.rewrites.channel_factors import Stretch, stretches, with_factors_around
from dybitq.graph.tensors import Tensors
from dybitq.records.fitted import FittedEdge
from dybitq.records.layers import LayerWork
from dybitq.records.plan import ActivationMode, LayerPlan, Plan
from dybitq.records.statistics import ChannelStatistics, Moment, Statistics, TensorStatistics

_ZEROS = (0, 8, 16, 32, 48, 64, 96, 128, 160, 192, 255)  # zero points that are tried
_AN_OCTAVE = 4  # steps
_OCTAVES = 12  # that channels may lie apart
_SHARES = (1.0, 0.5)  # of the factors' logarithms after the function
_PHASES = np.array([-3, -1, 1, 3]) / 8  # of a step or a bin: where a value may lie in it
_HUGE = 1e300
_WORTH = 0.03  # of the energy that readers put out: by how much the error has to fall


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelRanges:
    """The same network with other factors.

    Attributes:
        network: with a Mul before and after some functions, or the one that was given.
        plan: without the tensors inside those functions, which have no codes any more.
        statistics: of what is coded now.
        rescaled: names of the tensors whose channels were multiplied.
        notes: one sentence, or none where no function stands between layers.
    """

    network: Network
    plan: Plan
    statistics: Statistics
    rescaled: tuple[str, ...]
    notes: tuple[str, ...]


def give_channel_ranges(
    network: Network, layers: Mapping[str, LayerWork], plan: Plan, statistics: Statistics
) -> ChannelRanges:
    """Multiply the channels around functions where that makes the error smaller."""
    work = _Work(network, layers, plan, statistics)
    found = work.stretches()
    unchanged = ChannelRanges(network=network, plan=plan, statistics=statistics, rescaled=(), notes=())
    if not found:
        return unchanged
    chosen = {stretch: factors for stretch in found if (factors := work.carry_out(stretch)) is not None}
    count = f"{counted(len(found), 'function')} between layers"
    notes = (f"channel ranges: {count} found, {len(chosen)} given ranges of their channels, in float",)
    if not chosen:
        return replace(unchanged, notes=notes)
    inner = {name for stretch in chosen for name in stretch.inner}
    changed = with_factors_around(with_parameters(network, work.parameters), chosen)
    return ChannelRanges(
        network=changed,
        plan=replace(plan, edges=tuple(edge for edge in plan.edges if edge.tensor not in inner)),
        statistics=replace(
            statistics,
            tensors={**statistics.tensors, **work.seen},
            moments=OverlaidMoments(work.moments, statistics.moments),
            channels={**statistics.channels, **work.channels},
        ),
        rescaled=tuple(name for s in chosen for name in (s.source, s.result)),
        notes=notes,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ranges:
    """Ranges with one zero point, and the step of every channel of one of them.

    Attributes:
        zero: zero point.
        steps: float64 ``[channels]``.
        noise: mean squared error after the readers' function, float64 ``[channels]``.
    """

    zero: int
    steps: np.ndarray
    noise: np.ndarray

    @property
    def factors(self) -> np.ndarray:
        """Factors of the channels that give all of them the largest step."""
        return np.asarray(self.steps.max() / self.steps)


class _Work:
    """Changes so far: parameters, moments, and statistics of tensors and channels."""

    def __init__(
        self, network: Network, layers: Mapping[str, LayerWork], plan: Plan, statistics: Statistics
    ) -> None:
        self.network = network
        self.layers = layers
        self.plans = {p.layer: p for p in plan.layers}
        self.edges = {edge.tensor: edge for edge in plan.edges}
        self.bias_correction = plan.bias_correction
        self.statistics = statistics
        self.tensors = Tensors(network)
        self.parameters: dict[str, np.ndarray] = {}
        self.moments: dict[str, Moment] = {}
        self.seen: dict[str, TensorStatistics] = {}
        self.channels: dict[str, ChannelStatistics] = {}

    def stretches(self) -> list[Stretch]:
        """Those whose layers compute on codes, and of which enough is known."""
        return [stretch for stretch in stretches(self.network, self.layers) if self._fits(stretch)]

    def _fits(self, stretch: Stretch) -> bool:
        names = (stretch.first, *stretch.readers)
        if not set(names) <= set(self.plans) or not {stretch.source, stretch.result} <= set(self.edges):
            return False
        if not all(_on_codes(self.layers[n], self.plans[n]) for n in names):
            return False
        first, seen = self.layers[stretch.first], self.statistics.channels.get(stretch.first)
        shaped = seen is not None and _resolved(seen)
        channels = first.geometry.output_channels
        readers = [self.layers[n] for n in stretch.readers]
        known = all(layer.moment_key in self.statistics.moments for layer in readers)
        aligned = all(layer.geometry.input_channels == channels for layer in readers)
        return shaped and known and aligned and self.plans[stretch.first].granularity == "channel"

    def carry_out(self, stretch: Stretch) -> tuple[np.ndarray, np.ndarray] | None:
        """Factors before and after the function if they are worth it; changes what depends on them."""
        readers = {name: self._reader(name) for name in stretch.readers}
        source, result = self._codes(stretch)
        if not np.isfinite(result.values).all():
            return None
        weight = np.sum([reader.gain(np.ones(len(source.counts))) for reader in readers.values()], axis=0)
        noise = float(sum(codes.noise(self._edge(codes.name)) for codes in (source, result)) @ weight)
        if not noise >= _WORTH:
            return None
        before, after = source.best(weight), result.best(weight)
        hessians = {name: self._hessian(self._moment(name)) for name in readers}
        left = {name: reader.left(hessians[name]) for name, reader in readers.items()}

        def lost(scale: np.ndarray) -> float:
            changed = {n: scaled_moment(self._moment(n), self.layers[n], scale) for n in readers}
            return sum(left[n] * r.lost(scale, self._hessian(changed[n])) for n, r in readers.items())

        tried = []
        for share in _SHARES:
            ranges = result.at(after, share)
            tried.append((lost(1 / ranges.factors) + float(ranges.noise @ weight), ranges))
        best, after = min(tried, key=lambda found: found[0])
        fallen = lost(np.ones(len(weight))) + noise - best - float(before.noise @ weight)
        if not fallen >= _WORTH:
            return None
        self._apply(stretch, before.factors, 1 / after.factors)
        for codes, ranges in ((source, before), (result, after)):
            self.seen[codes.name] = codes.statistics(self.statistics.tensors[codes.name], ranges)
        return before.factors, after.factors

    def _codes(self, stretch: Stretch) -> tuple["_Codes", "_Codes"]:
        """Values coded before and after the function, by the bins that occur."""
        seen = self.statistics.channels[stretch.first]
        assert seen.histogram is not None
        counts = seen.histogram.copy()
        for ends in (seen.minimum, seen.maximum):  # the histogram may have missed them
            known = np.flatnonzero(np.isfinite(ends))
            counts[known, log_histogram.bin_of(ends[known])] += 1
        used = counts.any(axis=0)
        values, counts, through = log_histogram.centres()[used], counts[:, used], stretch.function
        within = values[:, None] + log_histogram.widths()[used, None] * _PHASES
        return (
            _Codes(name=stretch.source, values=values, within=within, counts=counts, function=through),
            _Codes(
                name=stretch.result,
                values=through(values),
                within=through(within),
                counts=counts,
                function=_same,
            ),
        )

    def _moment(self, name: str) -> Moment:
        return self.statistics.moments[self.layers[name].moment_key]

    def _reader(self, name: str) -> RescaledReader:
        layer = self.layers[name]
        return RescaledReader.of(
            layer, self.plans[name], self._array(layer.weight), self._hessian(self._moment(name))
        )

    def _hessian(self, moment: Moment) -> Hessian:
        return form_of_moment(moment, correct_bias=self.bias_correction)

    def _edge(self, name: str) -> FittedEdge:
        seen = self.statistics.tensors[name]
        return fit_edge(self.edges[name], seen, self.tensors.clamp(name), self.tensors.response(name))

    def _apply(self, stretch: Stretch, before: np.ndarray, scale: np.ndarray) -> None:
        first = self.layers[stretch.first]
        self._set(first.weight, first.geometry.times_outputs(self._array(first.weight), before))
        if first.bias is not None:
            bias = self._array(first.bias)
            self._set(first.bias, bias * before.reshape((-1,) if bias.ndim == 1 else bias.shape))
        for name in stretch.readers:
            layer = self.layers[name]
            self._set(layer.weight, layer.geometry.times_inputs(self._array(layer.weight), scale))
            key = layer.moment_key
            self.moments[key] = scaled_moment(self.statistics.moments[key], layer, scale)
        sums = self.statistics.channels[stretch.first]
        self.channels[stretch.first] = ChannelStatistics(
            count=sums.count,
            total=sums.total * before,
            squares=sums.squares * before**2,
            minimum=sums.minimum * before,
            maximum=sums.maximum * before,
        )

    def _array(self, name: str) -> np.ndarray:
        """Return a parameter as it is now."""
        return self.parameters[name] if name in self.parameters else self.tensors.array(name)

    def _set(self, name: str, array: np.ndarray) -> None:
        self.parameters[name] = array.astype(np.float32)


def _on_codes(layer: LayerWork, plan: LayerPlan) -> bool:
    return takes_factors(layer) and not plan.in_float and plan.activations is ActivationMode.STATIC


def _resolved(seen: ChannelStatistics) -> bool:
    """Return whether there are histograms, and the values lie where their bins are."""
    if seen.histogram is None:
        return False
    ends = np.concatenate([seen.minimum, seen.maximum])
    largest = np.abs(ends[np.isfinite(ends)]).max(initial=0.0)
    return bool(2.0**_OCTAVES / log_histogram.LARGEST <= largest < log_histogram.LARGEST)


def _same(values: np.ndarray) -> np.ndarray:
    return values


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Codes:
    """Channels of a tensor that is coded.

    Attributes:
        name: of the tensor.
        values: that occur, float64 ``[bins]``.
        within: values spread over each bin, float64 ``[bins, phases]``.
        counts: of each value in each channel, int32 ``[channels, bins]``.
        function: what readers make of a value.
    """

    name: str
    values: np.ndarray
    within: np.ndarray
    counts: np.ndarray
    function: Response

    @property
    def shares(self) -> np.ndarray:
        """Share of each value in a channel, float64 ``[channels, bins]``."""
        return np.asarray(self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1))

    def noise(self, edge: FittedEdge) -> np.ndarray:
        """Mean squared error after the function with one range for all, float64 ``[channels]``."""
        step = np.array([edge.scale])
        return np.asarray(self.shares @ self._clipped(edge.zero_point, step, self._inside(step))[0])

    def best(self, weight: np.ndarray) -> _Ranges:
        """Ranges with the smallest error, channels weighted."""
        largest = float(np.abs(self.values).max(initial=0.0)) or 1.0
        steps = largest / 64 * np.exp2(-np.arange(_OCTAVES * _AN_OCTAVE) / _AN_OCTAVE)
        shares, inside, found = self.shares, self._inside(steps), []
        dead = ~self.counts[:, self.values != 0].any(axis=1)
        for zero in _ZEROS:
            errors = shares @ self._clipped(zero, steps, inside).T
            chosen = steps[errors.argmin(axis=1)]
            # Steps are no matter to a channel that is always zero, but factors are to its readers' weights.
            chosen = np.where(dead, chosen[~dead].min(initial=steps[0]), chosen)
            found.append(_Ranges(zero=zero, steps=chosen, noise=errors.min(axis=1)))
        return min(found, key=lambda ranges: float(ranges.noise @ weight))

    def at(self, ranges: _Ranges, share: float) -> _Ranges:
        """Ranges with only this share of the factors' logarithms."""
        exponents = np.rint(share * _AN_OCTAVE * np.log2(ranges.factors)) / _AN_OCTAVE
        steps = ranges.steps.max() * np.exp2(-exponents)
        errors = self._clipped(ranges.zero, steps, self._inside(steps))
        return _Ranges(zero=ranges.zero, steps=steps, noise=(self.shares * errors).sum(axis=1))

    def _inside(self, steps: np.ndarray) -> np.ndarray:
        """Mean squared errors of values that are not cut off, float64 ``[steps, bins]``.

        A channel may have one value over large parts of an image. Where a bin is narrower than a step, what
        rounding does to its values is known; elsewhere they may lie anywhere between two codes.
        """
        step, exact = steps[:, None], self.function(self.values)
        with np.errstate(all="ignore"):  # what is not finite is no candidate
            moved = [(self.function(self.values + phase * step) - exact) ** 2 for phase in _PHASES]
            coded = steps[:, None, None] * np.rint(self.within / steps[:, None, None])
            known = np.mean((self.function(coded) - self.function(self.within)) ** 2, axis=2)
        narrow = np.ptp(self.within, axis=1) < step
        return np.asarray(np.where(narrow, known, np.mean(moved, axis=0)))

    def _clipped(self, zero: int, steps: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Return the same of all values, with ranges that end."""
        cut = np.clip(self.values, -zero * steps[:, None], (255 - zero) * steps[:, None])
        with np.errstate(all="ignore"):
            lost = (self.function(cut) - self.function(self.values)) ** 2
        return np.nan_to_num(np.where(cut != self.values, lost, inside), nan=_HUGE, posinf=_HUGE)

    def statistics(self, before: TensorStatistics, ranges: _Ranges) -> TensorStatistics:
        """Statistics of the multiplied channels, cut off where their ranges end."""
        low, high = (code * ranges.steps[:, None] for code in (-ranges.zero, 255 - ranges.zero))
        occurs = self.counts > 0
        values = (np.clip(self.values, low, high) * ranges.factors[:, None])[occurs]
        histogram = np.zeros_like(before.histogram)
        np.add.at(histogram, values.astype(np.float32).view(np.uint32) >> np.uint32(16), self.counts[occurs])
        least, most = float(values.min(initial=0.0)), float(values.max(initial=0.0))
        return TensorStatistics(
            samples=before.samples,
            count=int(self.counts.sum()),
            minimum=least,
            maximum=most,
            sum_sample_max=most * before.samples,
            sum_sample_min=least * before.samples,
            histogram=histogram,
        )
