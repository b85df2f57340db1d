"""Tiles that fit double-buffered memory, the order to walk them in, and how long the pipeline takes.

A launch is cut into equal tiles of ``m`` (images, rows, columns), ``n`` (output channels) and ``k`` (input
channels); ``k`` runs innermost, so partial sums stay in the accumulators. While one tile is computed, the
operands of the next are loaded and the finished output before is stored, all through one DRAM port:

    total = load_1 + sum_s max(compute, store_{s-1} + load_{s+1}) + store_n

With equal tiles a step has one of four kinds (which loop advances), and consecutive kinds come in few
pairs, so the sum is closed. Edge tiles take as long as full ones, as edge folds of the array do; the
bytes they move are counted exactly. ``tests/hardware/golden`` walks the same tiles event by event.

The candidates depend on the layer alone: not on array, widths or buffers. So more room, fewer bits or
more bandwidth can only lower the best time.
"""

from dataclasses import dataclass

import numpy as np

from dybitq.hardware.kernels import Kernels

Array = np.ndarray

# Numbers of tiles that are tried along m (image rows, then columns within a row), n and k; each list is
# completed by the finest cut: single rows, single columns, eight output channels, one input channel.
_M_ROWS, _M_COLS, _N_STEPS, _K_STEPS = (1, 2, 4, 8, 16, 32, 128), (4,), (1, 2, 4, 8, 16), (1, 2, 4, 16)

# How the tiles are walked: n outside m or m outside n; with the weights (or inputs) of all k held on chip.
N_OUTER, N_OUTER_HOLD, M_OUTER, M_OUTER_HOLD = range(4)
ORDER_NAMES = ("n,m,k", "n,m,k weights held", "m,n,k", "m,n,k inputs held")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Tile candidates ``[C, L]`` (float64, whole numbers) and their orders ``[C]``.

    Attributes:
        order: index into ``ORDER_NAMES``.
        tile_m, tile_n, tile_k: extents of a full tile; ``n_m``, ``n_n``, ``n_k``: number of tiles.
        channels: input channels in ``tile_k``.
        images, rows, cols: output extents of ``tile_m``.
        in_elements: input elements of a tile per channel; ``in_runs``: contiguous pieces they come in.
        in_total: input elements per channel over all tiles of ``m`` in a group, overlaps included.
        out_runs: contiguous pieces of an output tile.
    """

    order: Array
    tile_m: Array
    tile_n: Array
    tile_k: Array
    n_m: Array
    n_n: Array
    n_k: Array
    channels: Array
    images: Array
    rows: Array
    cols: Array
    in_elements: Array
    in_runs: Array
    in_total: Array
    out_runs: Array


def _ceil(a: Array, b: Array | float) -> Array:
    return np.ceil(a / b)


def _ladder(steps: tuple[int, ...], top: Array) -> Array:
    """Tile counts ``[steps + 1, L]``: those of ``steps`` that do not pass ``top``, then ``top`` itself."""
    return np.minimum(np.array([*steps, np.inf])[:, None], np.maximum(top, 1.0))


def _window_extent(tile: Array, stride: Array, kernel: Array, span: Array) -> Array:
    """Input positions that a run of ``tile`` windows reads (an upper bound where dilation leaves gaps)."""
    return np.minimum((tile - 1) * stride + span, tile * kernel)


def _covered(
    out: Array, tile: Array, stride: Array, kernel: Array, span: Array, used: Array
) -> tuple[Array, Array]:
    """Tiles along one axis of ``out`` windows: their number, and input positions over all of them."""
    count = _ceil(out, tile)
    last = out - (count - 1) * tile
    whole = _window_extent(out, stride, kernel, span)
    total = (count - 1) * _window_extent(tile, stride, kernel, span) + _window_extent(
        last, stride, kernel, span
    )
    return count, np.maximum(total - (whole - used), used)


def grid(kernels: Kernels) -> Grid:
    """Lay out every candidate for every launch."""
    x = {name: getattr(kernels, name).astype(np.float64) for name in _FLOATS}
    lines = x["batch"] * x["out_h"]
    m_trips = np.concatenate([_ladder(_M_ROWS, lines), lines * _ladder(_M_COLS, x["out_w"])])
    n_trips = _ladder(_N_STEPS, np.ceil(x["n"] / 8))
    k_trips = _ladder(_K_STEPS, x["channels"])
    whole, split = (N_OUTER, M_OUTER), (N_OUTER, N_OUTER_HOLD, M_OUTER_HOLD)
    pick = [
        (i, j, l, order)
        for i in range(len(m_trips))
        for j in range(len(n_trips))
        for l in range(len(k_trips))
        for order in (whole if l == 0 else split)
    ]
    mi, ni, ki, order = (np.array(column) for column in zip(*pick))
    trips, images_trips = m_trips[mi], np.minimum(m_trips[mi], x["batch"])
    images = _ceil(x["batch"], images_trips)
    rows = np.maximum(_ceil(x["out_h"], _ceil(trips, x["batch"])), 1)
    cols = np.maximum(_ceil(x["out_w"], _ceil(trips, lines)), 1)
    n_rows, in_rows = _covered(x["out_h"], rows, x["stride_h"], x["kernel_h"], x["span_h"], x["used_h"])
    n_cols, in_cols = _covered(x["out_w"], cols, x["stride_w"], x["kernel_w"], x["span_w"], x["used_w"])
    tile_rows = np.minimum(_window_extent(rows, x["stride_h"], x["kernel_h"], x["span_h"]), x["in_h"])
    tile_cols = np.minimum(_window_extent(cols, x["stride_w"], x["kernel_w"], x["span_w"]), x["in_w"])
    whole_width = cols == x["out_w"]
    tile_n, channels = _ceil(x["n"], n_trips[ni]), _ceil(x["channels"], k_trips[ki])
    return Grid(
        order=order,
        tile_m=images * rows * cols,
        tile_n=tile_n,
        tile_k=channels * x["taps"],
        n_m=_ceil(x["batch"], images) * n_rows * n_cols,
        n_n=_ceil(x["n"], tile_n),
        n_k=_ceil(x["channels"], channels),
        channels=channels,
        images=images,
        rows=rows,
        cols=cols,
        in_elements=images * tile_rows * tile_cols,
        in_runs=np.where(whole_width, 1.0, images * tile_rows),
        in_total=x["batch"] * in_rows * in_cols,
        out_runs=np.where(whole_width, 1.0, images * rows),
    )


_FLOATS = (
    "batch", "out_h", "out_w", "in_h", "in_w", "channels", "taps", "n", "kernel_h", "kernel_w",
    "stride_h", "stride_w", "span_h", "span_w", "used_h", "used_w",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transfers:
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
    """Which operands change at each kind of step, times the cycles they take.

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
