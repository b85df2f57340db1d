"""Tiles that fit double-buffered memory, the order of the loops over them, and the pipeline's time.

A launch is cut into equal tiles of ``m`` (images, rows, columns), ``n`` (output channels) and ``k`` (input
channels); ``k`` runs innermost, so partial sums stay in the accumulators. While one tile is computed, the
operands of the next are loaded and the finished output before is stored, all through one DRAM port:

    total = load_1 + sum_s max(compute, store_{s-1} + load_{s+1}) + store_n

With equal tiles a step has one of four kinds (which loop advances), and consecutive kinds come in few
pairs, so the sum is closed. Edge tiles take as long as full ones, as edge folds of the array do; the
bytes they move are counted exactly. ``tests/hardware/golden`` runs the same tiles event by event.

The candidates depend on the layer alone: not on array, widths or buffers. So more room, fewer bits or
more bandwidth can only lower the best time.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dybitq.hardware.launches import Launches

Array = np.ndarray

# Numbers of tiles that are tried along m (image rows, then columns within a row), n and k; each list is
# completed by the finest cut: single rows, single columns, eight output channels, one input channel.
_M_ROWS, _M_COLS, _N_STEPS, _K_STEPS = (1, 2, 4, 8, 16, 32, 128), (4,), (1, 2, 4, 8, 16), (1, 2, 4, 16)

# Loops over tiles: n outside m or m outside n; with the weights (or inputs) of all k held on chip.
N_OUTER, N_OUTER_HOLD, M_OUTER, M_OUTER_HOLD = range(4)
ORDER_NAMES = ("n,m,k", "n,m,k weights held", "m,n,k", "m,n,k inputs held")


class Grid(NamedTuple):
    """Tile candidates of all distinct products, one after the other; float64 ``[cells]`` unless noted.

    Attributes:
        starts: int64 ``[shapes + 1]``; cells of shape ``i`` are ``starts[i] .. starts[i + 1]``.
        shape_of: int64 ``[L]``, the shape of each launch, -1 for vector launches.
        first: int64 ``[shapes]``, a launch of each shape.
        order: int64, index into ``ORDER_NAMES``.
        tile_m, tile_n, tile_k: extents of a full tile; ``n_m``, ``n_n``, ``n_k``: number of tiles.
        channels: input channels in ``tile_k``.
        in_elements: input elements of a tile per channel; ``in_runs``: contiguous pieces they come in.
        in_total: input elements per channel over all tiles of ``m`` in a group, overlaps included.
        out_runs: contiguous pieces of an output tile.
        again_i, again_w: times each input and each weight comes from DRAM.
        held_i, held_w: tiles along k that stay on chip together, 1 or ``n_k``.
        together: groups that one tile holds, a power of two or all; ``n_g``: tiles along the groups.
    """

    starts: Array
    shape_of: Array
    first: Array
    order: Array
    tile_m: Array
    tile_n: Array
    tile_k: Array
    n_m: Array
    n_n: Array
    n_k: Array
    channels: Array
    in_elements: Array
    in_runs: Array
    in_total: Array
    out_runs: Array
    again_i: Array
    again_w: Array
    held_i: Array
    held_w: Array
    together: Array
    n_g: Array


def _ladder(steps: tuple[int, ...], top: float) -> Array:
    """Tile counts: those of ``steps`` that do not pass ``top``, then ``top`` itself."""
    return np.minimum(np.array([*steps, np.inf]), max(top, 1.0))


def _reach(tile: Array | float, axis: dict[str, float]) -> Array:
    """Input positions that a run of ``tile`` windows reads (an upper bound where dilation leaves gaps)."""
    return np.minimum((tile - 1) * axis["stride"] + axis["span"], tile * axis["kernel"])


def _covered(axis: dict[str, float], tile: Array) -> tuple[Array, Array, Array]:
    """Tiles along one axis: their number, input positions over all of them, and of one full tile."""
    count = np.ceil(axis["out"] / tile)
    last = axis["out"] - (count - 1) * tile
    padding = _reach(axis["out"], axis) - axis["used"]
    total = (count - 1) * _reach(tile, axis) + _reach(last, axis) - padding
    return count, np.maximum(total, axis["used"]), np.minimum(_reach(tile, axis), axis["in"])


_FLOATS = (
    "batch", "out_h", "out_w", "in_h", "in_w", "channels", "taps", "n", "kernel_h", "kernel_w",
    "stride_h", "stride_w", "span_h", "span_w", "used_h", "used_w", "groups",
)  # fmt: skip
_KEY = (*_FLOATS, "m", "k", "out_elements", "vector_ops")


def grid(launches: Launches) -> Grid:
    """Lay out every candidate of every distinct product; equal cuts are kept once."""
    shapes: dict[tuple[int, ...], int] = {}
    shape_of = np.full(len(launches.heads), -1, dtype=np.int64)
    rows = np.stack([getattr(launches, name) for name in _KEY], axis=1).tolist()
    for place in np.flatnonzero(launches.is_gemm).tolist():
        shape_of[place] = shapes.setdefault(tuple(rows[place]), len(shapes))
    first = np.array(
        [int(np.flatnonzero(shape_of == index)[0]) for index in range(len(shapes))], dtype=np.int64
    )
    cells = [
        _cells({name: float(getattr(launches, name)[place]) for name in _FLOATS}) for place in first.tolist()
    ]
    counts = [len(part[0]) for part in cells]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    fields = Grid._fields[3:]
    columns = [np.concatenate(parts) for parts in zip(*cells)] if cells else [np.zeros(0) for _ in fields]
    return Grid(starts, shape_of, first, *columns)


@lru_cache(maxsize=1)
def _picks() -> tuple[Array, Array, Array, Array]:
    """List every combination that is tried: indices into the ladders of m, n and k, and the order."""
    whole, split = (N_OUTER, M_OUTER), (N_OUTER, N_OUTER_HOLD, M_OUTER_HOLD)
    sizes = len(_M_ROWS) + len(_M_COLS) + 2, len(_N_STEPS) + 1, len(_K_STEPS) + 1
    pick = [
        (i, j, l, order)
        for i in range(sizes[0])
        for j in range(sizes[1])
        for l in range(sizes[2])
        for order in (whole if l == 0 else split)
    ]
    i, j, l, order = (np.array(column) for column in zip(*pick))
    return i, j, l, order


def _cells(x: dict[str, float]) -> tuple[Array, ...]:
    """Candidates of one product, in the order of the last fields of :class:`Grid`."""
    lines = x["batch"] * x["out_h"]
    m_trips = np.concatenate([_ladder(_M_ROWS, lines), lines * _ladder(_M_COLS, x["out_w"])])
    m_cuts = _m_cuts(x, m_trips)
    tile_n = np.ceil(x["n"] / _ladder(_N_STEPS, np.ceil(x["n"] / 8)))
    channels = np.ceil(x["channels"] / _ladder(_K_STEPS, x["channels"]))
    mi, ni, ki, order = _picks()
    keep = _first_of_each(m_cuts[0])[mi] & _first_of_each(tile_n)[ni] & _first_of_each(channels)[ki]
    mi, ni, ki, order = mi[keep], ni[keep], ki[keep], order[keep]
    tile_m, n_m, in_elements, in_runs, in_total, out_runs = (values[mi] for values in m_cuts[1:])
    tile_n, channels = tile_n[ni], channels[ki]
    n_n, n_k = np.ceil(x["n"] / tile_n), np.ceil(x["channels"] / channels)
    one = (
        order, tile_m, tile_n, channels * x["taps"], n_m, n_n, n_k, channels,
        in_elements, in_runs, in_total, out_runs, *_reuse(order, n_m, n_n, n_k),
    )  # fmt: skip
    together = np.minimum(2.0 ** np.arange(np.ceil(np.log2(x["groups"])) + 1), x["groups"])
    by_groups = together, np.ceil(x["groups"] / together)
    return (
        *(np.tile(values, len(together)) for values in one),
        *(np.repeat(values, len(order)) for values in by_groups),
    )


def _reuse(order: Array, n_m: Array, n_n: Array, n_k: Array) -> tuple[Array, Array, Array, Array]:
    """Count, for each order, the loads of inputs and weights, and the k tiles of them that are held."""
    n_first, split = order <= N_OUTER_HOLD, n_k > 1
    inputs = np.where(split | (n_first & (n_m > 1)), n_n, 1.0)
    weights = np.where(split | (~n_first & (n_n > 1)), n_m, 1.0)
    hold_i, hold_w = order == M_OUTER_HOLD, order == N_OUTER_HOLD
    return (
        np.where(hold_i, 1.0, inputs),
        np.where(hold_w, 1.0, weights),
        np.where(hold_i, n_k, 1.0),
        np.where(hold_w, n_k, 1.0),
    )


def _first_of_each(values: Array) -> Array:
    """Mark entries that do not repeat an earlier one, bool."""
    keep = np.zeros(len(values), dtype=bool)
    keep[np.unique(values, return_index=True)[1]] = True
    return keep


def _m_cuts(x: dict[str, float], trips: Array) -> tuple[Array, ...]:
    """Return a number that tells cuts along m apart, then their fields of ``Grid``."""
    images = np.ceil(x["batch"] / np.minimum(trips, x["batch"]))
    rows = np.maximum(np.ceil(x["out_h"] / np.ceil(trips / x["batch"])), 1)
    cols = np.maximum(np.ceil(x["out_w"] / np.ceil(trips / (x["batch"] * x["out_h"]))), 1)
    high = {name: x[f"{name}_h"] for name in ("out", "stride", "kernel", "span", "used", "in")}
    wide = {name: x[f"{name}_w"] for name in ("out", "stride", "kernel", "span", "used", "in")}
    n_rows, in_rows, tile_rows = _covered(high, rows)
    n_cols, in_cols, tile_cols = _covered(wide, cols)
    full = cols == x["out_w"]
    return (
        (images * (x["out_h"] + 1) + rows) * (x["out_w"] + 1) + cols,
        images * rows * cols,
        np.ceil(x["batch"] / images) * n_rows * n_cols,
        images * tile_rows * tile_cols,
        np.where(full, 1.0, images * tile_rows),
        x["batch"] * in_rows * in_cols,
        np.where(full, 1.0, images * rows),
    )


class Transfers(NamedTuple):
    """Cycles that one tile of each operand takes on the DRAM port, and which step kinds move it.

    ``load`` and ``store`` have one entry per step kind: ``k`` advances, the inner of ``m`` and ``n``
    advances, the outer of them does, the next group begins.
    """

    load: tuple[Array, Array, Array, Array]
    store: tuple[Array, Array, Array, Array]
    first: Array
    last: Array


def transfers(
    order: Array,
    tiles: tuple[Array, Array, Array],
    inputs: Array,
    weights: Array,
    outputs: Array,
    extra: Array,
) -> Transfers:
    """Cycles that operands take at each kind of step: 0 for those that do not change there.

    Args:
        order: index into ``ORDER_NAMES``; all arrays broadcast.
        tiles: number of tiles along ``m``, ``n`` and ``k``.
        inputs, weights, outputs, extra: cycles of one tile each; ``extra`` comes with a new output tile.
    """
    n_m, n_n, n_k = tiles
    n_first = order <= N_OUTER_HOLD  # n outermost, m inside it
    split = n_k > 1
    hold_w, hold_i = order == N_OUTER_HOLD, order == M_OUTER_HOLD
    inner_trips = np.where(n_first, n_m, n_n)
    # The operand that lacks the inner loop is fetched again there only if k started over.
    own, other = np.where(n_first, inputs, weights), np.where(n_first, weights, inputs)
    held = hold_w | hold_i
    load_k = np.where(hold_w, inputs, np.where(hold_i, weights, inputs + weights))
    load_inner = own + np.where(split & ~held, other, 0.0) + extra
    own_stays = (inner_trips == 1) & ~split
    load_outer = other + np.where(own_stays, 0.0, own) + extra
    load_all = inputs + weights + extra
    # A held operand arrives with all its k tiles at once.
    bulk = np.where(held, (n_k - 1) * other, 0.0)
    zero = np.zeros_like(outputs)
    return Transfers(
        load=(load_k, load_inner, load_outer + bulk, load_all + bulk),
        store=(zero, outputs, outputs, outputs),
        first=load_all + bulk,
        last=outputs,
    )


def pipeline(
    compute: Array, moves: Transfers, trips: tuple[Array, Array, Array, Array]
) -> tuple[Array, Array]:
    """Total cycles of the tile pipeline, and how many of them the array waits between tiles.

    Args:
        compute: cycles of one tile.
        moves: see :class:`Transfers`.
        trips: of the four loops, innermost first (``k``, inner, outer, groups).

    Returns:
        ``(total, stall)``; ``total = steps * compute + stall + first load + last store``.
    """
    steps = trips[0] * trips[1] * trips[2] * trips[3]
    # The innermost loop that runs at all sets the kind of every other step; other kinds never meet.
    base = np.where(trips[0] > 1, 0, np.where(trips[1] > 1, 1, np.where(trips[2] > 1, 2, 3)))
    base_load, base_store = moves.load[3], moves.store[3]
    for kind in (2, 1, 0):
        base_load = np.where(base == kind, moves.load[kind], base_load)
        base_store = np.where(base == kind, moves.store[kind], base_store)
    waits = np.maximum(base_load - compute, 0.0) + np.maximum(base_store - compute, 0.0)
    rest, others = steps / trips[0], np.zeros_like(steps)
    for kind in range(1, 4):
        count = np.where(base == kind, 0.0, rest - rest / trips[kind])
        rest = rest / trips[kind]
        pair = np.maximum(base_store + moves.load[kind] - compute, 0.0)
        pair = pair + np.maximum(moves.store[kind] + base_load - compute, 0.0)
        waits = waits + count * pair
        others = others + count
    same = np.maximum(steps - 2 - 2 * others, 0.0)
    waits = waits + same * np.maximum(base_store + base_load - compute, 0.0)
    stall = np.where(steps > 1, waits, 0.0)
    return steps * compute + stall + moves.first + moves.last, stall
