"""The best tiles of every product at every pair of widths.

Candidates that do not fit are dropped; the others get a lower bound on their time that is cheap (the larger
of computing and moving, and the ends, which nothing hides). The candidate with the lowest bound is priced
exactly, and after it only those whose bound is not above that price. The result is the true minimum.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dybitq.errors import ConfigError
from dybitq.hardware.costs import Array, Widths
from dybitq.hardware.engine import Machine, Prepared, need
from dybitq.hardware.precision import Rates
from dybitq.hardware.traffic import (
    GEOMETRY,
    Room,
    TileBytes,
    Tiles,
    bytes_per_cycle,
    constants,
    room,
    tile_bytes,
)


class Products(NamedTuple):
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


class Ports(NamedTuple):
    """Cycles that one tile of each operand takes on the DRAM port."""

    input: Array
    weight: Array
    output: Array
    extra: Array


BusyCycles = Callable[[Tiles, Rates], Array]
ExactCycles = Callable[[Tiles, Rates, Ports], Array]


def distinct_products(prepared: Prepared, widths: Widths, rate: Rates, packed: Array) -> Products:
    """Find products that are the same in shape and widths, so that each is priced once."""
    shape_of = prepared.grid.shape_of
    fields = (
        widths.w,
        widths.a,
        widths.weight,
        widths.input,
        widths.output,
        widths.extra_bits,
        widths.extra_words,
    )
    table = np.concatenate([np.asarray(values, dtype=np.float64) for values in fields], axis=1)
    numbers: dict[tuple[int, bytes], int] = {}
    places: list[int] = []
    inverse = np.zeros(len(shape_of), dtype=np.int64)
    for place in np.flatnonzero(shape_of >= 0).tolist():
        key = int(shape_of[place]), table[place].tobytes()
        if key not in numbers:
            numbers[key] = len(places)
            places.append(place)
        inverse[place] = numbers[key]
    chosen = np.array(places, dtype=np.int64)
    return Products(chosen, inverse, widths.at(chosen), rate.at(chosen), packed[chosen])


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
    # Sums of what varies along the same axis of a table first: the arrays stay small.
    outside, parts = port.output + port.extra, tiles.n_k * tiles.n_g
    inputs, weights = tiles.n_m * tiles.again_i * parts, tiles.n_n * tiles.again_w * parts
    ends = (port.input * tiles.held_i + outside) + port.weight * tiles.held_w
    return ends, (port.input * inputs + outside * tiles.out_tiles) + port.weight * weights


def _bound(machine: Machine, tiles: Tiles, widths: Widths, rate: Rates, busy: BusyCycles) -> _Bound:
    ends, moving = ends_and_moving(tiles, ports(machine, tile_bytes(machine, widths, tiles)))
    least = np.maximum(busy(tiles, rate) + ends, moving)
    return _Bound(_fits(machine, room(machine, widths, tiles)), least, moving)


def _fits(machine: Machine, taken: Room) -> Array:
    buffers = need(machine.buffers, machine, "buffers")
    share = 512.0 if buffers.double_buffer else 1024.0
    fits = (taken.input <= buffers.act_kb * share) & (taken.output <= buffers.out_kb * share)
    return fits & (taken.weight <= buffers.wgt_kb * share)


def _tiles(prepared: Prepared, cells: Array, shapes: Array, packed: Array) -> Tiles:
    """Tiles of cells, flat; ``packed`` has their shape."""
    grid = prepared.grid
    geometry = [getattr(grid, name)[cells] for name in GEOMETRY]
    whole = [values[shapes] for values in constants(prepared.launches, grid.first)]
    return Tiles._make([*geometry, *whole, packed])


class _Cells(NamedTuple):
    """All candidates of several shapes, one after the other.

    ``owner`` says which shape each belongs to, ``offsets`` where each shape begins; ``columns`` are the
    fields of ``Tiles`` up to ``packed``.
    """

    cells: Array
    owner: Array
    offsets: Array
    columns: tuple[Array, ...]


def _cells(prepared: Prepared, shapes: tuple[int, ...]) -> _Cells:
    """Candidates of these shapes; kept with the workload, because it is priced on many machines."""
    cells: _Cells | None = prepared.memo.get(shapes)
    if cells is None:
        cells = prepared.memo[shapes] = _lay_out(prepared, shapes)
    return cells


def _lay_out(prepared: Prepared, shapes: tuple[int, ...]) -> _Cells:
    grid, index = prepared.grid, np.array(shapes, dtype=np.int64)
    counts = grid.starts[index + 1] - grid.starts[index]
    owner = np.repeat(np.arange(len(index)), counts)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    cells = np.arange(offsets[-1]) - offsets[owner] + grid.starts[index][owner]
    flat = _tiles(prepared, cells, index[owner], np.ones(1))
    return _Cells(cells, owner, offsets, flat[:-1])


def _squeezed(values: Array, table: tuple[int, int]) -> Array:
    """``[R, P]`` as ``[R, rows, columns]`` of the table of widths, of size 1 along what makes no difference.

    Widths of weights vary along one axis and those of activations along the other, so most of the
    arithmetic on a table is done on a line of it.
    """
    wide = values.reshape(len(values), *table)
    if table[0] > 1 and bool((wide == wide[:, :1]).all()):
        wide = wide[:, :1]
    if table[1] > 1 and bool((wide == wide[:, :, :1]).all()):
        wide = wide[:, :, :1]
    return wide[:1] if len(wide) > 1 and bool((wide == wide[:1]).all()) else wide


def _squeezed_products(products: Products) -> Products:
    """Squeeze the tables of widths of the products."""
    table = products.widths.table or (products.packed.shape[1], 1)

    def squeeze(record: Any) -> Any:
        names = [field.name for field in dataclasses.fields(record) if field.name != "table"]
        return dataclasses.replace(
            record, **{name: _squeezed(getattr(record, name), table) for name in names}
        )

    return products._replace(
        widths=squeeze(products.widths), rate=squeeze(products.rate), packed=_squeezed(products.packed, table)
    )


def _for_cells(record: Any, rows: Array) -> Any:
    """Fields of a squeezed record as ``[rows, columns, cells]``; a single product stands for all cells."""
    names = [field.name for field in dataclasses.fields(record) if field.name != "table"]
    return dataclasses.replace(record, **{name: _cells_last(getattr(record, name), rows) for name in names})


def _cells_last(values: Array, rows: Array) -> Array:
    """Long runs of memory make arithmetic fast, so cells are the last axis."""
    return (values if len(values) == 1 else values[rows]).transpose(1, 2, 0)


def best_tiles(
    machine: Machine, prepared: Prepared, products: Products, busy: BusyCycles, exact: ExactCycles | None
) -> Tiles:
    """Find the fastest tiles that fit, ``[R, P]``; of equally fast ones those with least DRAM traffic.

    Args:
        busy: cycles in which the array works on all tiles.
        exact: total cycles; None where the lower bound is the time itself.

    Raises:
        ConfigError: a layer has no candidate that fits.
    """
    shapes = prepared.grid.shape_of[products.places]
    pairs = products.packed.shape[1]
    squeezed = _squeezed_products(products)
    # One pair: all products at once. Many: product by product, so that arrays stay in the cache.
    every = np.arange(len(shapes))
    chunks = [every] if pairs == 1 else [every[i : i + 1] for i in every]
    parts = [_bounded(machine, prepared, products, squeezed, chunk, busy) for chunk in chunks]

    def price(found: _Found) -> Array:
        where = found.product, found.pair
        one = _tiles(prepared, found.cell, shapes[found.product], products.packed[where])
        port = ports(machine, tile_bytes(machine, products.widths.at(where), one))
        return exact(one, products.rate.at(where), port) if exact else found.bound

    best = _winners(_joined([part.at(part.key == part.spread(part.least)) for part in parts]), pairs, None)
    if exact is not None:
        limit = price(best).reshape(products.packed.shape)
        hopeful = _joined([part.at(part.key <= part.spread(part.table(limit[part.chunk]))) for part in parts])
        best = _winners(hopeful, pairs, price(hopeful))
    flat = _tiles(prepared, best.cell, np.repeat(shapes, pairs), products.packed.ravel())
    return Tiles._make(values.reshape(products.packed.shape) for values in flat)


class _Found(NamedTuple):
    """Candidates picked from several products, flat: product, pair of widths, cell, bound, port cycles."""

    product: Array
    pair: Array
    cell: Array
    bound: Array
    moving: Array


def _joined(parts: list[_Found]) -> _Found:
    return _Found(*(np.concatenate(columns) for columns in zip(*parts)))


def _winners(found: _Found, pairs: int, time: Array | None) -> _Found:
    """Pick the fastest of each product and pair, in order; ties: least DRAM traffic, then the first."""
    group = found.product * pairs + found.pair
    order = np.lexsort((found.cell, found.moving, found.bound if time is None else time, group))
    firsts = order[np.unique(group[order], return_index=True)[1]]
    return _Found(*(values[firsts] for values in found))


class _Part(NamedTuple):
    """Bounds of all candidates of some products, ``[rows, columns, cells]`` of the table of widths.

    ``key`` is infinite where a candidate does not fit; ``least`` ``[rows, columns, products]``.
    """

    chunk: Array
    cells: Array
    owner: Array
    key: Array
    moving: Array
    least: Array

    def spread(self, values: Array) -> Array:
        """From products to candidates."""
        return values if len(self.chunk) == 1 else values[:, :, self.owner]

    def table(self, values: Array) -> Array:
        """From ``[products, P]`` to the layout of ``least``."""
        return values.T.reshape(self.least.shape)

    def at(self, mask: Array) -> _Found:
        """Return the candidates where ``mask`` is set."""
        where = np.nonzero(mask)
        row, column, place = where
        pair = row * self.key.shape[1] + column
        return _Found(
            self.chunk[self.owner[place]], pair, self.cells[place], self.key[where], self.moving[where]
        )


def _bounded(
    machine: Machine,
    prepared: Prepared,
    products: Products,
    squeezed: Products,
    chunk: Array,
    busy: BusyCycles,
) -> _Part:
    """Lower bounds of the products of ``chunk``.

    Raises:
        ConfigError: a layer has no candidate that fits.
    """
    table = products.widths.table or (products.packed.shape[1], 1)
    shapes = prepared.grid.shape_of[products.places[chunk]]
    cells, owner, offsets, columns = _cells(prepared, tuple(shapes.tolist()))
    rows = chunk[owner] if len(chunk) > 1 else chunk
    packed = _cells_last(squeezed.packed, rows)
    tiles = Tiles._make([*columns, packed])
    bound = _bound(machine, tiles, _for_cells(squeezed.widths, rows), _for_cells(squeezed.rate, rows), busy)
    key = np.broadcast_to(np.where(bound.fits, bound.least, np.inf), (*table, len(cells)))
    least = np.minimum.reduceat(key, offsets[:-1], axis=2)
    if not np.isfinite(least).all():
        _refuse(machine, prepared, products, chunk, int(np.argwhere(~np.isfinite(least))[0][2]))
    return _Part(chunk, cells, owner, key, np.broadcast_to(bound.moving, key.shape), least)


def _refuse(machine: Machine, prepared: Prepared, products: Products, chunk: Array, which: int) -> None:
    grid = prepared.grid
    place = int(products.places[chunk[which]])
    shape = int(grid.shape_of[place])
    columns = _cells(prepared, (shape,)).columns
    row = chunk[which : which + 1]
    tiles = Tiles._make([*columns, np.ones(1)])
    taken = room(machine, products.widths.at((row, slice(0, 1))), tiles)
    least = [float(part.min()) for part in taken]
    part = "half of each buffer" if need(machine.buffers, machine, "buffers").double_buffer else "each buffer"
    name = prepared.workload.ops[prepared.launches.heads[place]].name
    raise ConfigError(
        f"machine {machine.name!r} cannot hold one tile of layer {name!r}: the smallest tiles need "
        f"{least[0]:.0f} bytes of inputs, {least[1]:.0f} of weights and {least[2]:.0f} of accumulators "
        f"in {part}; enlarge buffers.act_kb, buffers.wgt_kb or buffers.out_kb"
    )


def tile_numbers(tiles: Tiles) -> dict[str, Array]:
    """Numbers for a report: tiles along each extent, and the number of the loop order."""
    return {
        "tiles_m": tiles.n_m,
        "tiles_n": tiles.n_n,
        "tiles_k": tiles.n_k,
        "tiles_group": tiles.n_g,
        "loop_order": tiles.order,
    }
