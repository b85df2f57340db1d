"""Fitting on what the quantized network really feeds: layer by layer, in graph order.

The target of a layer is the float layer's output on the float network's input ``x``; what it will get is
``z``, the same tensor in the network whose earlier layers are quantized already. The best float weights
for ``z`` are ``W' = W + W (C - H) H^-1`` with ``H = cov(z)`` and ``C = cov(x, z)``: the layer first makes up
for what was lost before it, and is then rounded with ``H`` like any other. The bias matches the means.

Layers that read the same tensor through the same window are fitted together, all others one by one: with
inputs that are still float inside a group of layers the errors of the group would add up unseen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from dybitq.calibration.moments import sampled_patches
from dybitq.data.padding import real_positions
from dybitq.data.source import DataSource
from dybitq.encodings.sparq import apply_pairs
from dybitq.fit.fit import fit_edges, fit_recodings, layer_arrays, moment_of
from dybitq.fit.notes import scarce_pairs_note
from dybitq.fit.shared import fit_together, sharing
from dybitq.fit.weights.layers import LayerArrays, fit_layer, round_matrix, shifted_bias
from dybitq.fit.weights.moments import Hessian, shrunk
from dybitq.graph.export import extract
from dybitq.graph.load import Network
from dybitq.graph.tensors import Tensors
from dybitq.records.fitted import Fitted, FittedEdge, FittedWeight, Recoding
from dybitq.records.layers import LayerWork
from dybitq.records.plan import LayerPlan, Plan
from dybitq.records.progress import Progress
from dybitq.records.statistics import Statistics
from dybitq.runtime.session import Session

# (weights and edges fitted so far, name of a tensor) -> model that computes it in the quantized network
Build = Callable[[Fitted, str], bytes]

_RIDGE = 0.01  # of the mean diagonal of H, or K over pairs if that is more: how far W' may follow few samples
_EACH_COUNTS = 16  # pairs that all those of one sample count for: neighbouring patches are much alike
_MEMORY_BYTES = 2 << 30  # for the two matrices of one layer
_FEWEST = 8  # K over rows beyond which pairs say less than the statistics
_ROWS_EACH, _FEWEST_ROWS = 64, 1 << 14  # patches for each of K inputs, and for a layer at least
_FEWEST_SAMPLES = 256  # however many patches each of them has
_FEW_SAMPLES = 64  # taken for their number where only reading tells


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Paired:
    """Moments of a layer's patches in both networks, float64: ``x`` float, ``z`` quantized.

    Attributes:
        rows: number of pairs.
        samples: number of samples that they are from.
        mean_x, mean_z: ``[groups, K]``.
        cov_z: ``[groups, K, K]``, covariance of z.
        cross: ``[groups, K, K]``, covariance of x (rows) with z (columns).
    """

    rows: int
    samples: int
    mean_x: np.ndarray
    mean_z: np.ndarray
    cov_z: np.ndarray
    cross: np.ndarray

    @property
    def independent(self) -> int:
        """Number of independent pairs that would say as much."""
        return max(1, min(self.rows, _EACH_COUNTS * self.samples))


def fit_on_data(
    network: Network,
    layers: Mapping[str, LayerWork],
    plan: Plan,
    statistics: Statistics,
    source: DataSource,
    build: Build,
    progress: Progress | None = None,
) -> Fitted:
    """Fit every layer on paired samples; edges come from the statistics.

    Embeddings, layers whose paired moments would not fit memory, and layers with too few pairs for their
    width are fitted from the statistics; of the last, ``notes`` says so.

    Args:
        network: float network.
        layers: its survey by name.
        plan: decisions.
        statistics: for edges and for layers that cannot be paired.
        source: samples, read once for every group of layers.
        build: makes a model of the quantized part up to a tensor.
        progress: called with ("fitting layers", done, total).
    """
    tensors = Tensors(network)
    edges = fit_edges(layers, plan, statistics, tensors)
    recodings = fit_recodings(layers, plan, statistics, tensors, edges)
    weights: dict[str, FittedWeight] = {}
    scarce: dict[str, tuple[int, int]] = {}
    shared = _fit_shared(layers, plan, statistics, tensors, edges)
    groups = _groups(layers, plan)
    for done, group in enumerate(groups):
        if progress is not None:
            progress("fitting layers", done, len(groups))
        work = layers[group[0].layer]
        paired = None
        if _can_pair(work):
            fitted = Fitted(weights=weights, edges=edges, recodings=recodings)
            feed = _feed(tensors, work, edges, recodings.get(work.name))
            paired = measure_pairs(network, work, source, build(fitted, work.input), feed)
            if paired.rows * _FEWEST < paired.mean_z.shape[1]:
                scarce |= {p.layer: (paired.rows, paired.mean_z.shape[1]) for p in group}
                paired = None
        for layer_plan in group:
            layer = layers[layer_plan.layer]
            arrays = layer_arrays(tensors, layer, layer_plan, edges)
            if layer.name in shared:
                weights[layer.name] = shared[layer.name]
                if paired is not None and plan.bias_correction:
                    weights[layer.name] = matched(layer, shared[layer.name], arrays, paired)
            elif paired is None:
                moment = moment_of(layer, statistics)
                weights[layer.name] = fit_layer(
                    layer, layer_plan, arrays, moment, correct_bias=plan.bias_correction
                )
            else:
                weights[layer.name] = fit_pair(
                    layer, layer_plan, arrays, paired, correct_bias=plan.bias_correction
                )
    notes = (scarce_pairs_note(scarce),) if scarce else ()
    return Fitted(weights=weights, edges=edges, recodings=recodings, notes=notes)


def _fit_shared(
    layers: Mapping[str, LayerWork],
    plan: Plan,
    statistics: Statistics,
    tensors: Tensors,
    edges: Mapping[str, FittedEdge],
) -> dict[str, FittedWeight]:
    """Weights that several layers read, by layer name.

    What one of the layers would make up for is not what another one has lost, so they are fitted from the
    statistics, and only their biases (see :func:`matched`) follow the quantized network.
    """
    plans = {p.layer: p for p in plan.layers}
    found: dict[str, FittedWeight] = {}
    for names in dict.fromkeys(sharing(layers, plan).values()):
        works, first = [layers[name] for name in names], plans[names[0]]
        arrays = [layer_arrays(tensors, work, plans[work.name], edges) for work in works]
        moments = [moment_of(work, statistics) for work in works]
        found |= fit_together(works, first, arrays, moments, correct_bias=plan.bias_correction)
    return found


def matched(layer: LayerWork, fitted: FittedWeight, arrays: LayerArrays, paired: Paired) -> FittedWeight:
    """``fitted`` with a bias that gives the mean output of the float network."""
    geometry = layer.geometry
    matrix, channels = geometry.to_matrix(arrays.weight).astype(np.float64), geometry.row_channels()
    scale = fitted.scale[channels if fitted.axis is not None else np.zeros_like(channels)]
    rounded = fitted.format.table[geometry.to_matrix(fitted.codes)] * scale[..., None].astype(np.float64)
    lost = np.einsum("grk,gk->gr", matrix, paired.mean_x) - np.einsum("grk,gk->gr", rounded, paired.mean_z)
    return replace(fitted, bias=shifted_bias(layer, lost, arrays.bias))


def _can_pair(layer: LayerWork) -> bool:
    """Return whether every output channel is one row of the weight matrix, and the moments fit memory."""
    groups, width = layer.geometry.patch_shape
    fits = 2 * 8 * groups * width * width <= _MEMORY_BYTES
    return fits and layer.geometry.has_moments and layer.geometry.has_own_rows()


def _groups(layers: Mapping[str, LayerWork], plan: Plan) -> list[list[LayerPlan]]:
    """Plans of the layers to fit, those with the same patches together, in graph order."""
    order = {name: position for position, name in enumerate(layers)}
    found: dict[str, list[LayerPlan]] = {}
    for layer_plan in sorted(plan.layers, key=lambda p: order[p.layer]):
        if not layer_plan.has_coded_weights:
            continue
        layer = layers[layer_plan.layer]
        key = f"{layer.moment_key}|{layer_plan.recode}"
        found.setdefault(key, []).append(layer_plan)
    return list(found.values())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Feed:
    """Coding of a tensor on its way to a layer's multiplier.

    Attributes:
        edge: codes to round it to, where the tensor itself has them (None: it is rounded already, or
            stays in float).
        recoding: of the layer's input.
    """

    edge: FittedEdge | None
    recoding: Recoding | None


def _feed(
    tensors: Tensors, layer: LayerWork, edges: Mapping[str, FittedEdge], recoding: Recoding | None
) -> Feed:
    root = tensors.coded_root(layer.input, edges)
    coded = root is not None and (recoding is not None or tensors.is_graph_input(layer.input))
    return Feed(edge=edges[root] if coded and root is not None else None, recoding=recoding)


def measure_pairs(
    network: Network, layer: LayerWork, source: DataSource, quantized: bytes, feed: Feed
) -> Paired:
    """Run both networks up to the layer's input and sum up the patches."""
    inputs = [v.name for v in source.inputs]
    reference: Session | None = None
    rounded: Session | None = None
    if layer.input not in inputs:
        reference = Session(extract(network, inputs, [layer.input]), name=str(network.source))
        rounded = Session(quantized, name="the quantized part")
    groups, width = layer.geometry.patch_shape
    sums = _Sums(groups, width)
    rows = max(_ROWS_EACH * width, _FEWEST_ROWS)
    source = _enough(source, layer, rows)
    wanted = -(-rows // (source.samples or _FEW_SAMPLES))
    seen = 0
    for batch in source:
        x = z = batch.feeds.get(layer.input)
        if reference is not None and rounded is not None:
            x = _run(reference, batch.feeds, layer.input)
            z = _run(rounded, batch.feeds, layer.input)
        assert x is not None and z is not None
        z = fed(z, layer, feed)
        size = len(next(iter(batch.feeds.values())))
        real = real_positions(batch.feeds)
        sums.add(*(sampled_patches(v, layer, wanted, seen, size, batch.count, real) for v in (x, z)))
        seen += batch.count
    return sums.result(seen)


def _enough(source: DataSource, layer: LayerWork, rows: int) -> DataSource:
    """As many samples, spread over the split, as have so many patches; all where that is not known."""
    if source.samples is None or layer.gemm is None:
        return source
    needed = max(_FEWEST_SAMPLES, -(-rows // max(1, layer.gemm[1])))
    return replace(source, limit=needed) if needed < source.samples else source


def _run(session: Session, feeds: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    known = {info.name for info in session.inputs}
    return session.run({k: v for k, v in feeds.items() if k in known}, [name])[name]


def fed(x: np.ndarray, layer: LayerWork, feed: Feed) -> np.ndarray:
    """``x`` as the layer multiplies it, float32: coded (half to even, saturating), re-coded, decoded."""
    edge = feed.edge
    if edge is None:
        return x
    codes = edge.encode(x)
    if feed.recoding is not None:
        axis, _, groups = layer.geometry.pair_axis
        codes = apply_pairs(codes, feed.recoding, axis, groups)
    return edge.decode(codes)


class _Sums:
    """Running sums of paired patches."""

    def __init__(self, groups: int, width: int) -> None:
        self.rows = 0
        self.x, self.z = np.zeros((groups, width)), np.zeros((groups, width))
        self.zz, self.xz = np.zeros((groups, width, width)), np.zeros((groups, width, width))

    def add(self, x: np.ndarray, z: np.ndarray) -> None:
        """Add patches ``[groups, rows, K]``; products in float32, sums in float64."""
        x, z = x.astype(np.float32, copy=False), z.astype(np.float32, copy=False)
        self.rows += x.shape[1]
        self.x += x.sum(axis=1, dtype=np.float64)
        self.z += z.sum(axis=1, dtype=np.float64)
        self.zz += np.matmul(z.transpose(0, 2, 1), z)
        self.xz += np.matmul(x.transpose(0, 2, 1), z)

    def result(self, samples: int) -> Paired:
        """Means and covariances of what was added, which is from so many samples."""
        rows = max(1, self.rows)
        mean_x, mean_z = self.x / rows, self.z / rows
        return Paired(
            rows=self.rows,
            samples=samples,
            mean_x=mean_x,
            mean_z=mean_z,
            cov_z=shrunk(self.zz / rows - mean_z[:, :, None] * mean_z[:, None, :], rows),
            cross=shrunk(self.xz / rows - mean_x[:, :, None] * mean_z[:, None, :], rows),
        )


def fit_pair(
    layer: LayerWork, plan: LayerPlan, arrays: LayerArrays, paired: Paired, *, correct_bias: bool
) -> FittedWeight:
    """Correct the weights by the cross moment, round them, match the mean."""
    matrix = layer.geometry.to_matrix(arrays.weight).astype(np.float32)
    hessian = Hessian(
        matrix=paired.cov_z,
        diagonal=np.maximum(np.diagonal(paired.cov_z, axis1=1, axis2=2), 0),
        mean=paired.mean_z,
        rows=paired.rows,
    )
    target = (matrix + matrix @ correction(paired)).astype(np.float32)
    found = round_matrix(plan, arrays, target, layer.geometry.row_channels(), hessian)
    bias = arrays.bias
    if correct_bias:
        bias = shifted_bias(
            layer,
            np.einsum("grk,gk->gr", matrix.astype(np.float64), paired.mean_x)
            - np.einsum("grk,gk->gr", found.rounded.astype(np.float64), paired.mean_z),
            bias,
        )
    return found.fitted(layer, plan, bias)


def correction(paired: Paired) -> np.ndarray:
    """``(C - H) (H + ridge)^-1``: what a weight row is multiplied with to make up for earlier layers.

    Returns:
        float64 ``[groups, K, K]``.
    """
    mean = np.diagonal(paired.cov_z, axis1=1, axis2=2).mean(axis=1)
    ridge = np.where(mean > 0, mean, 1.0) * max(_RIDGE, paired.cov_z.shape[1] / paired.independent)
    damped = paired.cov_z + ridge[:, None, None] * np.eye(paired.cov_z.shape[1])
    # damped is symmetric: (C - H) damped^-1 is the transpose of a solve with the transposed right side
    return np.linalg.solve(damped, (paired.cross - paired.cov_z).swapaxes(1, 2)).swapaxes(1, 2)
