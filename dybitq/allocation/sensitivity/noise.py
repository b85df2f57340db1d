"""Errors of single layers from the statistics alone: of rounded weights, and of coded inputs.

All errors are relative: energy of the error at the layer's output over the energy of that output, around
their means, because biases correct constant errors.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dybitq.allocation.space import Space, bits_of
from dybitq.encodings import sparq
from dybitq.encodings.widths import is_uniform
from dybitq.fit.activations.edges import edge_within
from dybitq.fit.activations.ranges import Profile, bins, profile
from dybitq.fit.activations.recode import fit_recoding
from dybitq.fit.activations.sparq_scales import WindowReader, reader_of, windowed_edge, windowed_error
from dybitq.fit.fit import moment_of
from dybitq.fit.on_data import Feed, fed
from dybitq.fit.weights.kernel_range import bounds_weights
from dybitq.fit.weights.layers import LayerArrays, round_matrix, shifted_bias
from dybitq.fit.weights.moments import DAMPING, Hessian, hessian_from, uniform_hessian
from dybitq.fit.weights.rounding import roundings
from dybitq.graph.tensors import Tensors
from dybitq.records.fitted import FittedEdge
from dybitq.records.layers import LayerWork
from dybitq.records.plan import EdgePlan, is_coded
from dybitq.records.statistics import Moment, MomentKind, Statistics, TensorStatistics

_MOST_WEIGHTS = 1 << 11  # weights of a layer that are used: whole rows, evenly spread
_FEWEST_ROWS, _MOST_ROWS = 4, 128
_SMALLEST = 1e-30
_WIDEST = 1536  # inputs of a layer beyond which the closed form of compensation takes too long


class LayerNoise:
    """Relative errors of the layers of one network."""

    def __init__(self, space: Space, statistics: Statistics) -> None:
        self.space, self.statistics = space, statistics
        self._tensors = Tensors(space.network)
        self._plans = {plan.layer: plan for plan in space.base.layers}
        self._ranges = {edge.tensor: edge for edge in space.base.edges}
        self._edges: dict[str, FittedEdge] = {}
        self._narrow = _narrow_tensors(space)
        self._diagonals: dict[str, Hessian] = {}
        self._white: dict[str, float] = {}
        self._profiles: dict[str, Profile] = {}
        self._shaped: dict[str, Profile] = {}  # of the values after re-coding by the readers
        self._coarse: dict[str, TensorStatistics] = {}
        self._last: tuple[str, Moment | None] = ("", None)  # moments are large, and read from the file

    # ------------------------------------------------------------------ weights

    def matrix(self, layer: LayerWork) -> np.ndarray:
        """Weights of a layer as float32 ``[groups, rows, K]``."""
        return layer.geometry.to_matrix(self._tensors.array(layer.weight)).astype(np.float32)

    def takes_mean(self, layer: LayerWork) -> bool:
        """Tell if the bias can correct the mean error."""
        return self.space.base.bias_correction and layer.geometry.has_own_rows()

    def hessian(self, layer: LayerWork, *, whole: bool) -> Hessian:
        """Second moments of the layer's input around the mean; only their diagonal unless ``whole``."""
        if not whole:
            if layer.name not in self._diagonals:
                self._diagonals[layer.name] = self._hessian(layer, whole=False)
            return self._diagonals[layer.name]
        return self._hessian(layer, whole=True)

    def _hessian(self, layer: LayerWork, *, whole: bool) -> Hessian:
        if self._last[0] != layer.name:
            self._last = layer.name, moment_of(layer, self.statistics)
        moment, matrix = self._last[1], self.matrix(layer)
        if moment is None or not moment.rows:
            return uniform_hessian(matrix.shape[0], matrix.shape[2])
        if not whole:
            moment = diagonal_of(moment, matrix.shape[2])
        hessian = hessian_from(moment, matrix.shape[2], centred=self.takes_mean(layer))
        groups = matrix.shape[0]
        if len(hessian.diagonal) == groups:
            return hessian
        return replace(  # a MatMul by several matrices pools their inputs
            hessian,
            matrix=None if hessian.matrix is None else np.repeat(hessian.matrix, groups, axis=0),
            diagonal=np.repeat(hessian.diagonal, groups, axis=0),
            mean=np.repeat(hessian.mean, groups, axis=0),
        )

    def signal(self, layer: LayerWork, matrix: np.ndarray, hessian: Hessian) -> np.ndarray:
        """Energy of the output of every row around its mean, float64 ``[groups, rows]``."""
        output = self.statistics.channels.get(layer.name)
        channels = layer.geometry.row_channels()
        known = output is not None and output.count and output.total.size > channels.max()
        if output is None or not known or not self.takes_mean(layer):
            return hessian.energy(matrix)
        variance = output.squares / output.count - (output.total / output.count) ** 2
        return np.maximum(variance, 0)[channels]

    def weight_errors(self, layer: LayerWork, names: Sequence[str], *, compensated: bool) -> dict[str, float]:
        """Compute relative errors of the output for rounded weights.

        Args:
            layer: the layer.
            names: formats to try; ``float`` has no error.
            compensated: round by the plan's method, with all of the second moments; otherwise to the
                nearest level, with independent errors, on some of the rows.
        """
        if not is_coded(names[0]):
            return dict.fromkeys(names, 0.0)
        matrix, hessian = self.matrix(layer), self.hessian(layer, whole=compensated)
        energy, channels = self.signal(layer, matrix, hessian), layer.geometry.row_channels()
        granularity = self._plans[layer.name].granularity
        chosen = _some_rows(layer) if not compensated and granularity == "channel" else None
        if chosen is not None:
            groups, rows = chosen
            matrix, energy = matrix[groups][:, rows], energy[groups][:, rows]
            hessian = replace(hessian, diagonal=hessian.diagonal[groups], mean=hessian.mean[groups])
            channels = np.arange(energy.size).reshape(energy.shape)
        bare = self._bare(layer, matrix)
        found = {}
        for name in names:
            plan = replace(self._plans[layer.name], weights=name)
            if not compensated:
                plan = replace(plan, rounding="nearest")
            rounded = round_matrix(plan, bare, matrix, channels, hessian, thorough=False).rounded
            found[name] = _ratio(float(hessian.energy(matrix - rounded).sum()), float(energy.sum()))
        return found

    def _bare(self, layer: LayerWork, matrix: np.ndarray) -> LayerArrays:
        bounded = bounds_weights(layer, self._plans[layer.name])
        return LayerArrays(weight=matrix, bias=None, input_scale=None, bounded=bounded)

    def nearest(self, layer: LayerWork, weights: str) -> np.ndarray:
        """Round the whole weight matrix to the nearest levels; decoded, float32 ``[groups, rows, K]``."""
        matrix, hessian = self.matrix(layer), self.hessian(layer, whole=False)
        bare = self._bare(layer, matrix)
        plan = replace(self._plans[layer.name], weights=weights, rounding="nearest")
        return round_matrix(plan, bare, matrix, layer.geometry.row_channels(), hessian).rounded

    def parameters(self, layer: LayerWork, weights: str) -> dict[str, np.ndarray]:
        """Fit weight, and bias where it corrects the mean error, by the plan; decoded.

        The last steps of rounding, which all formats profit from alike, are left out.

        Returns:
            float32 arrays by name of the initializer; none for a layer that stays in float.
        """
        if not is_coded(weights):
            return {}
        matrix, hessian = self.matrix(layer), self.hessian(layer, whole=True)
        bare = self._bare(layer, matrix)
        plan = replace(self._plans[layer.name], weights=weights)
        rounded = round_matrix(
            plan, bare, matrix, layer.geometry.row_channels(), hessian, thorough=False
        ).rounded
        found = {layer.weight: layer.geometry.from_matrix(rounded)}
        if layer.bias is not None and self.takes_mean(layer):
            bias = self._tensors.array(layer.bias)
            lost = np.einsum("grk,gk->gr", (matrix - rounded).astype(np.float64), hessian.mean)
            found[layer.bias] = shifted_bias(layer, lost, bias.reshape(-1)).reshape(bias.shape)
        return found

    def compensation(self, layer: LayerWork) -> float:
        """Estimate the share of nearest rounding's error that compensation leaves, in closed form.

        Rounding column after column leaves the part of each that later columns cannot predict, which is its
        conditional variance; the share is the mean of those over the mean variance. It is 1 where the plan
        does not compensate or the second moments are not known.
        """
        if not roundings.get(self._plans[layer.name].rounding).compensates:
            return 1.0
        hessian = self.hessian(layer, whole=True)
        if hessian.matrix is None or hessian.matrix.shape[-1] > _WIDEST:
            return 1.0
        order = np.argsort(hessian.diagonal, axis=1, kind="stable")
        ordered = np.take_along_axis(hessian.matrix, order[:, :, None], axis=1)
        ordered = np.take_along_axis(ordered, order[:, None, :], axis=2)
        mean = hessian.diagonal.mean(axis=1)
        damping = np.where(mean > 0, mean, 1.0) * DAMPING
        try:
            factor = np.linalg.cholesky(ordered + damping[:, None, None] * np.eye(ordered.shape[-1]))
        except np.linalg.LinAlgError:
            return 1.0
        left = float((np.diagonal(factor, axis1=1, axis2=2) ** 2).sum())
        return min(_ratio(left, float(hessian.diagonal.sum())) or 1.0, 1.0)

    # ------------------------------------------------------------------ activations

    def coded(self, root: str, setting: str, values: np.ndarray, layer: LayerWork | None) -> np.ndarray:
        """Code, re-code and decode values of a tensor, float32, as ``layer`` multiplies them."""
        if setting in ("float", "dynamic8"):
            return values
        if self._by_edge(root, setting):
            edge = self._edge(root, f"int{bits_of(setting)}")
            return edge.decode(edge.encode(values))
        edge = self._edge(root, "int8")
        if layer is None:
            return edge.decode(edge.encode(values))
        if sparq.has_windows(setting):
            edge = self._windowed(root, reader_of(layer, setting))
        recoding = fit_recoding(setting, edge, self.statistics.tensors[root])
        return fed(values, layer, Feed(edge=edge, recoding=recoding))

    def coding_error(
        self, root: str, setting: str, layer: LayerWork | None, values: np.ndarray
    ) -> np.ndarray:
        """Return the error that coding adds to the values of a tensor, see :meth:`coded`."""
        return np.asarray(self.coded(root, setting, values, layer) - values)

    def input_error(self, layer: LayerWork, root: str, setting: str) -> float:
        """Compute the output's relative error for coded inputs; their errors are taken as independent."""
        if root not in self.statistics.tensors:
            return 0.0
        return self.code_noise(root, setting, layer) * self._white_gain(layer)

    def _white_gain(self, layer: LayerWork) -> float:
        """Relative error of the output for independent errors of variance 1 in every input."""
        if layer.name not in self._white:
            matrix = self.matrix(layer).astype(np.float64)
            energy = float(self.signal(layer, matrix, self.hessian(layer, whole=False)).sum())
            self._white[layer.name] = _ratio(float((matrix**2).sum()), energy)
        return self._white[layer.name]

    def code_noise(self, root: str, setting: str, layer: LayerWork | None = None) -> float:
        """Mean squared error of a tensor's values in ``setting``, as ``layer`` reads them."""
        seen = self.statistics.tensors[root]
        if setting in ("float", "dynamic8"):
            return 0.0
        if self._by_edge(root, setting) or layer is None:
            return self._uniform(root, bits_of(setting))
        edge = self._edge(root, "int8")
        centres, counts = bins(seen)
        if sparq.has_windows(setting):
            reader = reader_of(layer, setting)
            error = windowed_error(self._windowed(root, reader), reader, centres, counts) / counts.sum()
            return max(error, self._uniform(root, 8))
        table = fit_recoding(setting, edge, self.statistics.tensors.get(layer.input, seen)).both
        codes = edge.encode(centres)
        wider = float((table[codes].astype(float) - codes) ** 2 @ counts / counts.sum()) * edge.scale**2
        return wider + self._uniform(root, 8)

    def written_narrow(self, root: str) -> bool:
        """Tell if the tensor itself is written in fewer bits; otherwise its readers re-code it."""
        return root in self._narrow

    def _by_edge(self, root: str, setting: str) -> bool:
        """Tell if the tensor itself has the codes of ``setting``, not a re-coding by its readers."""
        return bits_of(setting) == 8 or (root in self._narrow and is_uniform(setting))

    def _edge(self, root: str, format: str) -> FittedEdge:
        key = f"{root}|{format}"
        if key not in self._edges:
            plan = replace(self._plan(root), format=format)
            if root not in self._shaped:
                self._shaped[root] = profile(self._wide_bins(root), self._tensors.response(root))
            self._edges[key] = edge_within(plan, self._shaped[root], self._tensors.clamp(root))
        return self._edges[key]

    def _windowed(self, root: str, reader: WindowReader) -> FittedEdge:
        edge, seen = self._edge(root, "int8"), self.statistics.tensors[root]
        return windowed_edge(self._plan(root), edge, seen, self._tensors.clamp(root), (reader,))

    def _plan(self, root: str) -> EdgePlan:
        return self._ranges.get(root) or EdgePlan(tensor=root)

    def _wide_bins(self, root: str) -> TensorStatistics:
        """Statistics of a tensor with four bins of its histogram in one: fine enough here, and faster."""
        if root not in self._coarse:
            self._coarse[root] = _with_wide_bins(self.statistics.tensors[root])
        return self._coarse[root]

    def _uniform(self, root: str, bits: int) -> float:
        edge = self._edge(root, f"int{bits}")
        low, high = edge.real_range
        if root not in self._profiles:
            self._profiles[root] = profile(self._wide_bins(root))
        one = self._profiles[root]
        return one.error(low, high, edge.high - edge.low + 1) / max(float(one.counts.sum()), 1.0)


def _narrow_tensors(space: Space) -> frozenset[str]:
    """Find tensors that are written in fewer than 8 bits where their readers ask for it.

    A tensor that other operators read as well, such as a residual stream, keeps 8 bits, and its readers
    re-code it.
    """
    narrowest = {}
    for choice in space.choices:
        uniform = [name for name in choice.activations if is_uniform(name)]
        narrowest[choice.layer] = (choice.weights[0], (uniform or choice.activations)[-1])
    plan = space.plan(narrowest)
    return frozenset(edge.tensor for edge in plan.edges if edge.format != "int8")


def _with_wide_bins(tensor: TensorStatistics) -> TensorStatistics:
    """Put the values of four neighbouring bins in the middle of them; zeros keep their bin."""
    histogram = np.zeros_like(tensor.histogram)
    histogram[2::4] = tensor.histogram.reshape(-1, 4).sum(axis=1)
    for zero in (0, 1 << 15):
        histogram[zero] = tensor.histogram[zero]
        histogram[zero + 2] -= tensor.histogram[zero]
    return replace(tensor, histogram=histogram)


def energy_of(statistics: Statistics, tensor: str) -> float | None:
    """Variance of a tensor over all its values; None where it was not measured."""
    measured = statistics.tensors.get(tensor)
    if measured is None or not measured.count:
        return None
    centres, counts = bins(measured)
    total = counts.sum()
    mean = (centres * counts).sum() / total
    return float(max(((centres - mean) ** 2 * counts).sum() / total, 0.0))


def diagonal_of(moment: Moment, width: int) -> Moment:
    """Reduce a moment to its diagonal."""
    if moment.kind is MomentKind.DIAGONAL:
        return moment
    diagonal = np.diagonal(moment.second, axis1=-2, axis2=-1)
    if moment.kind is MomentKind.BLOCK:
        diagonal = diagonal.reshape(len(diagonal), -1)[:, :width]
    return replace(moment, kind=MomentKind.DIAGONAL, second=diagonal.astype(np.float64))


def _some_rows(layer: LayerWork) -> tuple[np.ndarray, np.ndarray] | None:
    """Choose groups and rows to use; None for all of a small layer, or where a channel has several rows."""
    channels = layer.geometry.row_channels()
    groups, rows = channels.shape
    if not layer.geometry.has_own_rows():
        return None
    width = layer.weight_count // channels.size
    wanted = min(max(_FEWEST_ROWS, _MOST_WEIGHTS // width), _MOST_ROWS)
    if groups > 1:
        return _spread(groups, max(1, wanted // rows)), np.arange(rows)
    return np.arange(1), _spread(rows, wanted)


def _spread(count: int, wanted: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(np.int64))


def _ratio(noise: float, signal: float) -> float:
    return noise / signal if signal > _SMALLEST else 0.0
