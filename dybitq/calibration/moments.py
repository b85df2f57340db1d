"""Running mean and second moment of the patches that a layer multiplies with its weights.

The second moment ``sum p p^T`` is what weight rounding needs of the data: ``E |dW p|^2 = tr(dW H dW^T)``.
A full one holds K*K numbers for each group. Where memory is short it is reduced to blocks along its diagonal,
or to the diagonal itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from dybitq.calibration.sampling import positions
from dybitq.records.layers import LayerWork
from dybitq.records.statistics import Moment, MomentKind

Function = Callable[[np.ndarray], np.ndarray]

BLOCK = 128
"""Side of the blocks of a block-diagonal moment."""

# Bounds on the work for one sample, so that no layer dominates a pass: multiplications of p p^T, values
# gathered into patches, and patches. The least number of patches grows with K, as the wanted rank does.
_PRODUCTS, _VALUES, _MOST = 32_000_000, 32_768, 256
_LEAST = 32  # patches that are taken even of a wide layer

_BYTES = 8  # sums are float64


@dataclass(slots=True, eq=False)
class MomentTotal:
    """State of :func:`update`; same meaning as the fields of Moment."""

    kind: MomentKind
    first: np.ndarray
    second: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MomentPart:
    """Sums of one batch: float32 sums and extremes with the shapes of Moment."""

    rows: int
    first: np.ndarray
    second: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray


def init(kind: MomentKind, groups: int, k: int) -> MomentTotal:
    """Start with no samples."""
    return MomentTotal(
        kind=kind,
        first=np.zeros((groups, k)),
        second=np.zeros(second_shape(kind, groups, k)),
        minimum=np.full((groups, k), np.inf),
        maximum=np.full((groups, k), -np.inf),
    )


def second_shape(kind: MomentKind, groups: int, k: int) -> tuple[int, ...]:
    """Shape of ``Moment.second``."""
    if kind is MomentKind.FULL:
        return groups, k, k
    if kind is MomentKind.BLOCK:
        return groups, -(-k // BLOCK), BLOCK, BLOCK
    return groups, k


def size_bytes(kind: MomentKind, groups: int, k: int) -> int:
    """Memory of the sums."""
    if kind is MomentKind.NONE:
        return 0
    return _BYTES * (int(np.prod(second_shape(kind, groups, k), dtype=np.int64)) + 3 * groups * k)


def choose_kinds(
    layers: Mapping[str, LayerWork], richest: MomentKind, budget_bytes: int
) -> dict[str, MomentKind]:
    """Choose the kind of each moment, by its key: the richest that the budget allows.

    Everything starts at ``richest``. As long as the sum exceeds the budget, the largest moment steps
    down from full to block to diagonal to none; of equal ones the first in the order of names.
    """
    geometry = {key: layer.geometry.patch_shape for key, layer in layers.items()}
    ladder = [MomentKind.FULL, MomentKind.BLOCK, MomentKind.DIAGONAL, MomentKind.NONE]
    kinds = {key: _no_larger(richest, *geometry[key]) for key in layers}
    sizes = {key: size_bytes(kind, *geometry[key]) for key, kind in kinds.items()}
    total = sum(sizes.values())
    while total > budget_bytes:
        key = max(sorted(sizes), key=sizes.__getitem__)
        step = ladder[ladder.index(kinds[key]) + 1]
        kinds[key] = step
        total -= sizes[key]
        sizes[key] = size_bytes(step, *geometry[key])
        total += sizes[key]
    return kinds


def _no_larger(kind: MomentKind, groups: int, k: int) -> MomentKind:
    """Full instead of block where one block would hold all of K."""
    if kind is MomentKind.BLOCK and size_bytes(MomentKind.FULL, groups, k) <= size_bytes(kind, groups, k):
        return MomentKind.FULL
    return kind


def patches_per_sample(groups: int, k: int) -> int:
    """Count the patches of one sample that enter the sums."""
    bound = min(_PRODUCTS // (groups * k * k), _VALUES // (groups * k))
    return max(min(_LEAST, 4 + k // 32), min(_MOST, bound))


def measure(
    x: np.ndarray,
    layer: LayerWork,
    kind: MomentKind,
    first_sample: int,
    batch: int,
    count: int,
    function: Function | None = None,
    real: np.ndarray | None = None,
) -> MomentPart | None:
    """Measure ``count`` samples of a run of ``batch``; ``first_sample`` is the number of the first one.

    The layer reads ``function(x)``; ``real`` marks the positions ``[batch, length]`` that are not padding
    (:mod:`dybitq.data.padding`). Patches are taken at positions that change from sample to sample
    (:mod:`dybitq.calibration.sampling`).
    """
    if x.size == 0:
        return None
    if function is not None and layer.geometry.pads_input and function(np.zeros(1, np.float32))[0] != 0:
        x, function = function(x), None
    groups, k = layer.geometry.patch_shape
    patches = sampled_patches(x, layer, patches_per_sample(groups, k), first_sample, batch, count, real)
    patches = patches.astype(np.float32, copy=False)
    if function is not None:  # cheaper on the few values of the patches than on the whole tensor
        patches = function(patches)
    # As a product with ones: many times faster than a sum along the middle axis.
    first = np.matmul(np.ones((1, 1, patches.shape[1]), np.float32), patches)[:, 0]
    return MomentPart(
        rows=patches.shape[1],
        first=first,
        second=_second(patches, kind),
        minimum=patches.min(axis=1, initial=np.inf),
        maximum=patches.max(axis=1, initial=-np.inf),
    )


def sampled_patches(
    x: np.ndarray,
    layer: LayerWork,
    wanted: int,
    first_sample: int,
    batch: int,
    count: int,
    real: np.ndarray | None = None,
) -> np.ndarray:
    """Patches of the first ``count`` samples, ``[groups, rows, K]``; of ``real`` positions only."""
    grid = layer.geometry.patch_grid(x.shape)
    if x.ndim == 1 or x.shape[0] % batch:  # does not grow with the batch: one sample stands for all
        return layer.geometry.patches(x, positions(grid, wanted, first_sample))
    each = x.shape[0] // batch
    masked = real is not None and each == 1 and grid == real.shape[1:]
    chosen = []
    for i in range(count):
        if masked and real is not None:
            inside = np.flatnonzero(real[i])
            where = inside[positions((len(inside),), wanted, first_sample + i)]
        else:
            where = positions(grid, -(-wanted // each), first_sample + i)
        chosen.append(layer.geometry.patches(x[i * each : (i + 1) * each], where))
    return chosen[0] if count == 1 else np.concatenate(chosen, axis=1)


def _second(patches: np.ndarray, kind: MomentKind) -> np.ndarray:
    """Sum of outer products of ``[groups, rows, K]``, in float32."""
    groups, rows, k = patches.shape
    if kind is MomentKind.DIAGONAL:
        return np.einsum("grk,grk->gk", patches, patches)
    if kind is MomentKind.BLOCK:
        blocks = -(-k // BLOCK)
        padded = np.zeros((groups, rows, blocks * BLOCK), np.float32)
        padded[:, :, :k] = patches
        split = padded.reshape(groups, rows, blocks, BLOCK).transpose(0, 2, 1, 3)
        return np.matmul(split.transpose(0, 1, 3, 2), split)
    return np.matmul(patches.transpose(0, 2, 1), patches)


def update(total: MomentTotal, part: MomentPart) -> None:
    """Add the part of one batch; sums are float64."""
    total.rows += part.rows
    total.first += part.first
    total.second += part.second
    np.minimum(total.minimum, part.minimum, out=total.minimum)
    np.maximum(total.maximum, part.maximum, out=total.maximum)


def result(total: MomentTotal) -> Moment:
    """Return the moments so far."""
    return Moment(
        kind=total.kind,
        rows=total.rows,
        first=total.first,
        second=total.second,
        minimum=total.minimum,
        maximum=total.maximum,
    )


def reduced(moment: Moment, kind: MomentKind) -> Moment:
    """Reduce ``moment`` to a poorer kind."""
    groups, k = moment.first.shape
    if kind is moment.kind:
        return moment
    if kind is MomentKind.DIAGONAL:
        return _with_second(moment, kind, _diagonal(moment, groups, k))
    if moment.kind is not MomentKind.FULL or kind is not MomentKind.BLOCK:
        raise ValueError(f"a {moment.kind} moment cannot become {kind}")
    blocks = np.zeros(second_shape(kind, groups, k))
    for index, start in enumerate(range(0, k, BLOCK)):
        side = min(BLOCK, k - start)
        square = moment.second[:, start : start + side, start : start + side]
        blocks[:, index, :side, :side] = square
    return _with_second(moment, kind, blocks)


def _diagonal(moment: Moment, groups: int, k: int) -> np.ndarray:
    diagonal = np.diagonal(moment.second, axis1=-2, axis2=-1)
    return np.ascontiguousarray(diagonal.reshape(groups, -1)[:, :k])


def _with_second(moment: Moment, kind: MomentKind, second: np.ndarray) -> Moment:
    return replace(moment, kind=kind, second=second)
