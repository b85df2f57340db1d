"""Tile candidates as arrays over launches and widths, which of them fit, and taking the best."""

import numpy as np

from dybitq.errors import ConfigError
from dybitq.hardware.costs import Array
from dybitq.hardware.engine import Machine, Prepared, need
from dybitq.hardware.traffic import TileBytes, Tiles


def candidates(prepared: Prepared, packed: Array) -> Tiles:
    """Every tile of the grid ``[C, L, 1]``, with ``packed`` groups sharing the array ``[L, P]``."""

    def wide(values: Array) -> Array:
        return values[:, :, None] if values.ndim == 2 else values[:, None, None]

    packs = np.ceil(prepared.kernels.groups[:, None] / packed)
    grid = {name: wide(getattr(prepared.grid, name)) for name in Tiles._fields[:-2]}
    return Tiles(**grid, packed=packed, packs=packs)


def chosen(tiles: Tiles, best: Array) -> Tiles:
    """The candidate with index ``best`` ``[L, P]`` for each launch and width pair."""

    def pick(values: Array) -> Array:
        full = np.broadcast_to(values, (values.shape[0], *best.shape))
        return np.take_along_axis(full, best[None], axis=0)[0]

    grid = {name: pick(getattr(tiles, name)) for name in Tiles._fields[:-2]}
    return Tiles(**grid, packed=tiles.packed, packs=tiles.packs)


def tile_numbers(tiles: Tiles) -> dict[str, Array]:
    """What a report says of the tiles: how many along each extent, and the loop order's number."""
    return {
        "tiles_m": tiles.n_m,
        "tiles_n": tiles.n_n,
        "tiles_k": tiles.n_k,
        "tiles_group": tiles.packs,
        "loop_order": tiles.order,
    }


def fitting(machine: Machine, prepared: Prepared, tiles: Tiles, size: TileBytes, time: Array) -> Array:
    """Index ``[L, P]`` of the fastest candidate that fits; of equally fast ones the one that moves least.

    Raises:
        ConfigError: a layer has no candidate that fits.
    """
    buffers = need(machine.buffers, machine, "buffers")
    share = 512.0 if buffers.double_buffer else 1024.0
    fits = (size.room_input <= buffers.act_kb * share) & (size.room_weight <= buffers.wgt_kb * share)
    fits = fits & (size.room_output <= buffers.out_kb * share)
    moved = tiles.steps * (size.input + size.weight + size.output)
    key = np.where(fits, time + moved / (1.0 + moved.max(axis=0, keepdims=True)), np.inf)
    best: Array = key.argmin(axis=0)
    found = np.isfinite(np.take_along_axis(key, best[None], axis=0)[0])
    missing = ~found.all(axis=1) & prepared.kernels.is_gemm
    if missing.any():
        place = int(np.flatnonzero(missing)[0])
        least = [np.broadcast_to(room, key.shape)[:, place].min() for room in size[4:]]
        name = prepared.workload.ops[prepared.kernels.heads[place]].name
        raise ConfigError(_too_small(machine, name, least))
    return best


def _too_small(machine: Machine, layer: str, least: list[float]) -> str:
    buffers = need(machine.buffers, machine, "buffers")
    part = "half of each buffer" if buffers.double_buffer else "each buffer"
    return (
        f"machine {machine.name!r} cannot hold one tile of layer {layer!r}: the smallest tiles need "
        f"{least[0]:.0f} bytes of inputs, {least[1]:.0f} of weights and {least[2]:.0f} of accumulators "
        f"in {part}; enlarge buffers.act_kb, buffers.wgt_kb or buffers.out_kb"
    )
