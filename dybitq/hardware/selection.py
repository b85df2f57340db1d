"""The best tiles of every product at every pair of widths.

Candidates that do not fit are dropped; the others get a lower bound on their time that is cheap (the larger
of computing and moving, and the ends, which nothing hides). The candidate with the lowest bound is priced
exactly, and then only those whose bound is not above that price. The result is the true minimum.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dybitq.errors import ConfigError
from dybitq.hardware.costs import Array, Widths
from dybitq.hardware.engine import Machine, Prepared, need
from dybitq.hardware.precision import Rates
from dybitq.hardware.tiling import M_OUTER_HOLD, N_OUTER_HOLD
from dybitq.hardware.traffic import Room, TileBytes, Tiles, bytes_per_cycle, constants, loads, room, tile_bytes


class Launches(NamedTuple):
    """Distinct products among the launches: their widths, rates and packing, ``[R, P]``.

    Attributes:
        places: int64 ``[R]``, a launch of each.
        inverse: int64 ``[L]``, the product of each launch (0 for vector launches, to be overwritten).
        widths, rate, packed: see ``costs.Widths``, ``precision.Rates`` and ``Tiles.packed``.
    """

    places: Array
    inverse: Array
    widths: Widths
    rate: Rates
    packed: Array

    def part(self, chunk: Array) -> "Launches":
        """Some of the products."""
        return Launches(
            self.places[chunk], self.inverse, self.widths.at(chunk), self.rate.at(chunk), self.packed[chunk]
        )


class Ports(NamedTuple):
    """Cycles that one tile of each operand takes on the DRAM port."""

    input: Array
    weight: Array
    output: Array
    extra: Array


BusyCycles = Callable[[Tiles, Rates], Array]
ExactCycles = Callable[[Tiles, Rates, Ports], Array]


def distinct_launches(prepared: Prepared, widths: Widths, rate: Rates, packed: Array) -> Launches:
    """Find products that are the same in shape and widths, so that each is priced once."""
    shape_of = prepared.grid.shape_of
    fields = (widths.w, widths.a, widths.weight, widths.input, widths.output, widths.extra_bits, widths.extra_words)
    table = np.concatenate([np.asarray(values, dtype=np.float64) for values in fields], axis=1)
    seen: dict[tuple[int, bytes], int] = {}
    places: list[int] = []
    inverse = np.zeros(len(shape_of), dtype=np.int64)
    for place in np.flatnonzero(shape_of >= 0).tolist():
        key = int(shape_of[place]), table[place].tobytes()
        if key not in seen:
            seen[key] = len(places)
            places.append(place)
        inverse[place] = seen[key]
    chosen = np.array(places, dtype=np.int64)
    return Launches(chosen, inverse, widths.at(chosen), rate.at(chosen), packed[chosen])


def ports(machine: Machine, size: TileBytes) -> Ports:
    """Tile sizes as cycles of the DRAM port; each operand's tile takes whole cycles."""
    per_cycle = bytes_per_cycle(machine)
    return Ports(*(np.ceil(part / per_cycle) for part in size))


class _Bound(NamedTuple):
    """For candidates ``[cells, P]``: whether they fit, least time, and port cycles in all."""

    fits: Array
    least: Array
    moving: Array


def ends_and_moving(tiles: Tiles, port: Ports) -> tuple[Array, Array]:
    """Cycles of the first load and last store, and of everything that passes the port."""
    held_i = np.where(tiles.order == M_OUTER_HOLD, tiles.n_k, 1.0)
    held_w = np.where(tiles.order == N_OUTER_HOLD, tiles.n_k, 1.0)
    ends = port.input * held_i + port.weight * held_w + port.extra + port.output
    again_i, again_w = loads(tiles)
    parts = tiles.n_k * tiles.packs
    moving = port.input * (tiles.n_m * again_i * parts) + port.weight * (tiles.n_n * again_w * parts)
    return ends, moving + (port.output + port.extra) * tiles.out_tiles


def _bound(machine: Machine, tiles: Tiles, widths: Widths, rate: Rates, busy: BusyCycles) -> _Bound:
    ends, moving = ends_and_moving(tiles, ports(machine, tile_bytes(machine, widths, tiles)))
    least = ends + np.maximum(busy(tiles, rate), moving - ends)
    return _Bound(_fits(machine, room(machine, widths, tiles)), least, moving)


def _fits(machine: Machine, taken: Room) -> Array:
    buffers = need(machine.buffers, machine, "buffers")
    share = 512.0 if buffers.double_buffer else 1024.0
    fits = (taken.input <= buffers.act_kb * share) & (taken.weight <= buffers.wgt_kb * share)
    return fits & (taken.output <= buffers.out_kb * share)


def _tiles(prepared: Prepared, cells: Array, shapes: Array, packed: Array) -> Tiles:
    """Tiles of cells, flat; ``packed`` has their shape."""
    grid = prepared.grid
    geometry = [getattr(grid, name)[cells] for name in Tiles._fields[:12]]
    whole = [values[shapes] for values in constants(prepared.kernels, grid.first)]
    return Tiles(*geometry, *whole, packed, np.ceil(whole[0] / packed))


class _Cells(NamedTuple):
    """All candidates of several shapes, one after the other.

    ``owner`` says which shape each belongs to, ``offsets`` where each shape begins; ``columns`` are the
    fields of ``Tiles`` up to ``packed`` as ``[cells, 1]``.
    """

    cells: Array
    owner: Array
    offsets: Array
    columns: tuple[Array, ...]


@lru_cache(maxsize=256)
def _cells(prepared: Prepared, shapes: tuple[int, ...]) -> _Cells:
    """Candidates of these shapes; kept, because one workload is priced on many machines."""
    grid, index = prepared.grid, np.array(shapes, dtype=np.int64)
    counts = grid.starts[index + 1] - grid.starts[index]
    owner = np.repeat(np.arange(len(index)), counts)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    cells = np.arange(offsets[-1]) - offsets[owner] + grid.starts[index][owner]
    flat = _tiles(prepared, cells, index[owner], np.ones(1))
    return _Cells(cells, owner, offsets, tuple(values[:, None] for values in flat[:-2]))


def _spread(values: Array, rows: Array) -> Array:
    """Rows of ``values`` ``[R, P]``, or a single one to broadcast where all are equal."""
    if len(values) == 1 or bool((values == values[:1]).all()):
        return values[:1]
    return values[rows]


def _spread_widths(widths: Widths, rows: Array) -> Widths:
    return Widths(**{name: _spread(getattr(widths, name), rows) for name in widths.__slots__})


def _spread_rates(rate: Rates, rows: Array) -> Rates:
    return Rates(**{name: _spread(getattr(rate, name), rows) for name in rate.__slots__})


def best_tiles(
    machine: Machine, prepared: Prepared, launches: Launches, busy: BusyCycles, exact: ExactCycles | None
) -> Tiles:
    """The fastest tiles that fit, ``[R, P]``; of equally fast ones those that move least.

    Args:
        busy: cycles in which the array works on all tiles.
        exact: total cycles; None where the lower bound is the time itself.

    Raises:
        ConfigError: a layer has no candidate that fits.
    """
    grid = prepared.grid
    shapes = grid.shape_of[launches.places]
    pairs = launches.packed.shape[1]
    # One pair: all products at once. Many: product by product, so that arrays stay in the cache.
    every = np.arange(len(shapes))
    chunks = [every] if pairs == 1 else [every[i : i + 1] for i in every]
    best = np.zeros(launches.packed.shape, dtype=np.int64)
    for chunk in chunks:
        best[chunk] = _best_cells(machine, prepared, launches, chunk, busy, exact)
    cells = best.ravel()
    flat = _tiles(prepared, cells, np.repeat(shapes, pairs), launches.packed.ravel())
    return Tiles(*(values.reshape(best.shape) for values in flat))


def _best_cells(
    machine: Machine,
    prepared: Prepared,
    launches: Launches,
    chunk: Array,
    busy: BusyCycles,
    exact: ExactCycles | None,
) -> Array:
    """Grid cell of the best candidate for the products of ``chunk``, ``[chunk, P]``."""
    pairs = launches.packed.shape[1]
    shapes = prepared.grid.shape_of[launches.places[chunk]]
    cells, owner, offsets, columns = _cells(prepared, tuple(shapes.tolist()))
    mine = launches if len(chunk) == len(launches.places) else launches.part(chunk)
    widths, rate = _spread_widths(mine.widths, owner), _spread_rates(mine.rate, owner)
    packed = _spread(mine.packed, owner)
    tiles = Tiles(*columns, packed, np.ceil(columns[12] / packed))
    bound = _bound(machine, tiles, widths, rate, busy)
    key = np.where(bound.fits, bound.least, np.inf)
    least = np.minimum.reduceat(key, offsets[:-1], axis=0)
    if not np.isfinite(least).all():
        _refuse(machine, prepared, launches, chunk, int(np.argwhere(~np.isfinite(least))[0][0]))
    if exact is None:
        return _argmin(key, bound.moving, owner, offsets, cells)

    def price(where: tuple[Array, Array]) -> Array:
        cell, pair = where
        row = owner[cell], pair
        one = _tiles(prepared, cells[cell], shapes[owner[cell]], mine.packed[row])
        stored, speed = mine.widths.at(row), mine.rate.at(row)
        return exact(one, speed, ports(machine, tile_bytes(machine, stored, one)))

    champion = _argmin(key, bound.moving, owner, offsets, np.arange(len(cells)))
    pair = np.broadcast_to(np.arange(pairs), champion.shape)
    limit = price((champion.ravel(), pair.ravel())).reshape(champion.shape)
    survivors = np.nonzero(key <= limit[owner])
    total = np.full(key.shape, np.inf)
    total[survivors] = price(survivors)
    return _argmin(total, bound.moving, owner, offsets, cells)


def _argmin(time: Array, moving: Array, owner: Array, offsets: Array, labels: Array) -> Array:
    """Label of the least ``time`` in every segment, ``[segments, P]``; ties go to what moves least, then first."""
    least = np.minimum.reduceat(time, offsets[:-1], axis=0)
    moving = np.where(time == least[owner], np.broadcast_to(moving, time.shape), np.inf)
    fewest = np.minimum.reduceat(moving, offsets[:-1], axis=0)
    place = np.where(moving == fewest[owner], np.arange(len(owner))[:, None], len(owner))
    return labels[np.minimum.reduceat(place, offsets[:-1], axis=0)]


def _refuse(machine: Machine, prepared: Prepared, launches: Launches, chunk: Array, which: int) -> None:
    grid = prepared.grid
    place = int(launches.places[chunk[which]])
    shape = int(grid.shape_of[place])
    columns = _cells(prepared, (shape,)).columns
    row = chunk[which : which + 1]
    tiles = Tiles(*columns, launches.packed[row], np.ceil(columns[12] / launches.packed[row]))
    taken = room(machine, launches.widths.at(row), tiles)
    least = [float(part.min()) for part in taken]
    part = "half of each buffer" if need(machine.buffers, machine, "buffers").double_buffer else "each buffer"
    name = prepared.workload.ops[prepared.kernels.heads[place]].name
    raise ConfigError(
        f"machine {machine.name!r} cannot hold one tile of layer {name!r}: the smallest tiles need "
        f"{least[0]:.0f} bytes of inputs, {least[1]:.0f} of weights and {least[2]:.0f} of accumulators "
        f"in {part}; enlarge buffers.act_kb, buffers.wgt_kb or buffers.out_kb"
    )


def tile_numbers(tiles: Tiles) -> dict[str, Array]:
    """What a report says of the tiles: how many along each extent, and the loop order's number."""
    return {
        "tiles_m": tiles.n_m,
        "tiles_n": tiles.n_n,
        "tiles_k": tiles.n_k,
        "tiles_group": tiles.packs,
        "loop_order": tiles.order,
    }
