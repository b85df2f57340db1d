"""Cross-layer equalization: factors moved between two layers so that one scale serves all channels.

Between a layer and its only reader stands at most a Relu, which commutes with positive factors: dividing
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

from dybitq.fit.auto import is_auto
from dybitq.fit.edges import fit_edge
from dybitq.fit.layers import LayerArrays, round_matrix
from dybitq.fit.moments import quadratic
from dybitq.fit.recode import NONE
from dybitq.graph.chains import Chain, chains, with_parameters
from dybitq.graph.load import Network
from dybitq.graph.tensors import Tensors
from dybitq.patches import moment_key, row_channels, to_matrix
from dybitq.records import (
    ChannelStatistics,
    FittedEdge,
    LayerKind,
    LayerPlan,
    LayerWork,
    Moment,
    MomentKind,
    Plan,
    Statistics,
)

_TRIALS = ((1.0, 10), (1.0, 4), (0.5, 10))  # share of the full exponent, and the largest power of two
_SHARES, _MOST = (1.0, 0.5), 4  # the same for channels that fill a range: others may wake up
_ROWS = 64  # of a weight matrix that errors are compared on where every row has its scale
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
    count = f"{len(pairs)} pair{'' if len(pairs) == 1 else 's'} of layers"
    notes = (f"cross-layer equalization: {count} found, {len(done)} equalized",)
    if not done:
        return replace(unchanged, found=len(pairs), notes=notes)
    return Equalized(
        network=with_parameters(network, work.changed),
        statistics=replace(statistics, moments=work.moments, channels=work.channels),
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
        fits = all(p.weights not in ("float", "activation") for p in both)
        one_scale = any(p.granularity == "tensor" for p in both) and all(p.recode == NONE for p in both)
        known = all(moment_key(layer) in statistics.moments for layer in (first, second))
        aligned = _matrix_kind(first) and _matrix_kind(second) and _inputs(second) == _outputs(first)
        if fits and known and aligned:
            shrinks = one_scale and not _cut_off(chain, statistics)
            found.append(_Pair(first=first, second=second, plans=both, chain=chain, shrinks=shrinks))
    return found


def _cut_off(chain: Chain, statistics: Statistics) -> bool:
    """Whether calibration saw the bound of a Clip reached: factors do not commute with it then."""
    seen = statistics.tensors.get(chain.between)
    return chain.bound < np.inf and (seen is None or seen.maximum >= chain.bound)


def _matrix_kind(layer: LayerWork) -> bool:
    return layer.kind in (LayerKind.CONV, LayerKind.GEMM) and layer.bias_node is None


def _outputs(layer: LayerWork) -> int:
    return int(layer.weight_shape[layer.channel_axis] or 1)


def _inputs(layer: LayerWork) -> int:
    group = layer.window.group if layer.window is not None else 1
    return int(layer.weight_shape[_input_axis(layer)] or 1) * group


def _input_axis(layer: LayerWork) -> int:
    return 1 - layer.channel_axis if layer.kind is LayerKind.GEMM else 1


class _Work:
    """A network whose weights change, with moments and channel sums that follow."""

    def __init__(self, network: Network, plan: Plan, statistics: Statistics) -> None:
        self.tensors = Tensors(network)
        self.changed: dict[str, np.ndarray] = {}
        self.edges = {edge.tensor: edge for edge in plan.edges}
        self.statistics = statistics
        self.moments: dict[str, Moment] = dict(statistics.moments)
        self.channels = dict(statistics.channels)
        self.bias_correction = plan.bias_correction

    def array(self, name: str) -> np.ndarray:
        """A parameter as it is now."""
        return self.changed[name] if name in self.changed else self.tensors.array(name)

    def equalize(self, pair: _Pair) -> bool:
        """Equalize a pair if that lowers its error."""
        first, second = (self._weight(layer) for layer in (pair.first, pair.second))
        before = self._error(pair, first, second, np.ones(_outputs(pair.first)))
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

    def _weight(self, layer: LayerWork) -> np.ndarray:
        assert layer.weight is not None
        return self.array(layer.weight)

    def _error(self, pair: _Pair, first: np.ndarray, second: np.ndarray, scale: np.ndarray) -> float:
        """Squared error at the output of the second layer, in its units, summed over its channels."""
        turned = _by_input(second, scale, pair.second)
        weight = _per_input(turned**2, pair.second)
        moment = scaled_moment(self.moments[moment_key(pair.second)], pair.second, scale)
        total = float(self._lost(pair.second, pair.plans[1], to_matrix(turned, pair.second), moment).sum())
        if pair.plans[0].granularity == "tensor":  # a channel with its own scale follows any factor
            matrix = to_matrix(_by_output(first, 1 / scale, pair.first), pair.first)
            lost = self._lost(pair.first, pair.plans[0], matrix, self.moments[moment_key(pair.first)])
            total += float((lost.reshape(-1) * weight).sum())
        edge = self._edge(pair.second)
        step = 0.0 if edge is None else edge.scale
        return total + step**2 / 12 * float(weight.sum())

    def _filling(self, pair: _Pair) -> list[np.ndarray]:
        """Factors with which every channel fills the range of the tensor between, powers of two up to 1."""
        edge, seen = self._edge(pair.second), self.channels.get(pair.first.name)
        if edge is None or seen is None:
            return []
        low, high = seen.minimum, np.minimum(seen.maximum, pair.chain.bound)
        if pair.chain.between != pair.first.output:
            low = np.maximum(low, 0)
        room = np.full(len(low), np.inf)
        for end, code in ((low, edge.low), (high, edge.high)):
            limit = (code - edge.zero_point) * edge.scale
            inside = (end != 0) & np.isfinite(end) & (np.sign(end) == np.sign(limit))
            room[inside] = np.minimum(room[inside], limit / end[inside])
        room = np.where(np.isfinite(room), np.maximum(room, 1), 1)
        return [np.exp2(-np.minimum(np.floor(share * np.log2(room)), _MOST)) for share in _SHARES]

    def _lost(self, layer: LayerWork, plan: LayerPlan, matrix: np.ndarray, moment: Moment) -> np.ndarray:
        """Energy of the rounding error of every row, float64 ``[groups, rows]``, by nearest rounding."""
        weights = f"int{plan.weights[4:]}" if is_auto(plan.weights) else plan.weights
        matrix, channels = matrix.astype(np.float32), row_channels(layer)
        form = quadratic(moment, matrix.shape[2], centred=self.bias_correction)
        share = 1
        if plan.granularity == "channel" and len(matrix) == 1 and matrix.shape[1] > _ROWS:
            share = -(-matrix.shape[1] // _ROWS)
            matrix = matrix[:, ::share]
            channels = np.arange(matrix.shape[1])[None]
        arrays = LayerArrays(weight=matrix, bias=None, input_scale=None)
        trial = replace(plan, weights=weights)
        found = round_matrix(trial, arrays, matrix, channels, form, improve=False)
        return form.energy(matrix - found.rounded) * share

    def _edge(self, layer: LayerWork) -> FittedEdge | None:
        """Codes that the layer reads; None where it reads float."""
        root = self.tensors.coded_root(layer.input, self.edges)
        if root is None or root not in self.statistics.tensors:
            return None
        seen = self.statistics.tensors[root]
        return fit_edge(self.edges[root], seen, self.tensors.clamp(root), self.tensors.response(root))

    def _apply(self, pair: _Pair, scale: np.ndarray) -> None:
        first, second = pair.first, pair.second
        assert first.weight is not None and second.weight is not None
        self._set(first.weight, _by_output(self.array(first.weight), 1 / scale, first))
        if first.bias is not None:
            bias = self.array(first.bias)
            self._set(first.bias, bias / scale.reshape((-1,) if bias.ndim == 1 else bias.shape))
        self._set(second.weight, _by_input(self.array(second.weight), scale, second))
        key = moment_key(second)
        self.moments[key] = scaled_moment(self.moments[key], second, scale)
        sums = self.channels.get(first.name)
        if sums is not None:
            self.channels[first.name] = ChannelStatistics(
                count=sums.count,
                total=sums.total / scale,
                squares=sums.squares / scale**2,
                minimum=sums.minimum / scale,
                maximum=sums.maximum / scale,
            )

    def _set(self, name: str, array: np.ndarray) -> None:
        self.changed[name] = array.astype(np.float32)


def factors(first: np.ndarray, second: np.ndarray, share: float, most: int, pair: _Pair) -> np.ndarray:
    """What the first layer's channels are divided by, powers of two from 1 to ``2**most``; float64 ``[n]``.

    With a share of 1 the largest weights of an output channel of the first layer and of the same input
    channel of the second become equal, up to a power of two and to a factor common to all channels.
    """
    axes = tuple(i for i in range(first.ndim) if i != pair.first.channel_axis)
    wide = np.abs(first).max(axis=axes).astype(np.float64)
    read = np.sqrt(_per_input(second.astype(np.float64) ** 2, pair.second, largest=True))
    alive = (wide > 0) & (read > 0)
    if not alive.any():
        return np.ones_like(wide)
    exponent = np.zeros_like(wide)
    exponent[alive] = np.rint(share / 2 * np.log2(wide[alive] / read[alive]))
    exponent[alive] -= exponent[alive].min()
    return np.exp2(np.minimum(exponent, most))


def scaled_moment(moment: Moment, layer: LayerWork, scale: np.ndarray) -> Moment:
    """The moment of a layer's patches after its input channels were divided by ``scale``."""
    groups, width = moment.first.shape
    channels = _inputs(layer) // groups
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
    return replace(moment, first=moment.first * factor, second=second)


def _by_output(weight: np.ndarray, factor: np.ndarray, layer: LayerWork) -> np.ndarray:
    shape = [1] * weight.ndim
    shape[layer.channel_axis] = -1
    return weight * factor.reshape(shape)


def _by_input(weight: np.ndarray, factor: np.ndarray, layer: LayerWork) -> np.ndarray:
    """``weight`` with input channel c multiplied by ``factor[c]``; channels are counted over all groups."""
    if layer.kind is LayerKind.GEMM or layer.window is None:
        shape = [1] * weight.ndim
        shape[_input_axis(layer)] = -1
        return weight * factor.reshape(shape)
    group, inner = layer.window.group, weight.shape[1]
    grouped = weight.reshape(group, -1, inner, int(np.prod(weight.shape[2:])))
    return (grouped * factor.reshape(group, 1, inner, 1)).reshape(weight.shape)


def _per_input(values: np.ndarray, layer: LayerWork, *, largest: bool = False) -> np.ndarray:
    """Sum (or largest) of the values of every input channel, ``[n]``."""
    if layer.kind is LayerKind.GEMM or layer.window is None:
        grouped = np.moveaxis(values, _input_axis(layer), 0).reshape(1, values.shape[_input_axis(layer)], -1)
        return (grouped.max(axis=2) if largest else grouped.sum(axis=2)).reshape(-1)
    group, inner = layer.window.group, values.shape[1]
    shaped = values.reshape(group, -1, inner, int(np.prod(values.shape[2:])))
    found = shaped.max(axis=(1, 3)) if largest else shaped.sum(axis=(1, 3))
    return found.reshape(-1)
