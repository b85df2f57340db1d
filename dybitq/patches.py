"""Layers as matrix products: weight matrices, patch matrices, and the key of a patch geometry.

Every weighted layer is ``groups`` products of patches ``[rows, K]`` with a weight matrix
``[out_per_group, K]``. K runs over a weight's own (in, kh, kw) order. For ConvTranspose a patch is
the vector of input channels at one position, and each (output channel, tap) is a row of the matrix.
"""

import numpy as np

from dybitq.records.layers import LayerKind, LayerWork


def moment_key(layer: LayerWork) -> str:
    """Name under which the moments of a layer's patches are kept.

    Layers that read the same tensor through the same window share one key.
    """
    window = layer.window
    if layer.kind is LayerKind.CONV and window is not None:
        parts = (window.kernel, window.strides, window.dilations, window.pads, (window.group,))
        return layer.input + "|conv|" + "|".join(",".join(map(str, p)) for p in parts)
    if layer.kind is LayerKind.CONV_TRANSPOSE and window is not None:
        return f"{layer.input}|channels|{window.group}"
    axis = -2 if layer.weight_on_left else -1
    return f"{layer.input}|rows|{axis}"


def to_matrix(weight: np.ndarray, layer: LayerWork) -> np.ndarray:
    """Weight tensor as ``[groups, rows, K]``.

    Conv ``[O, I/g, *k]`` gives ``[g, O/g, I/g*prod(k)]``; ConvTranspose ``[I, O/g, *k]`` gives
    ``[g, O/g*prod(k), I/g]``; Gemm, MatMul and embeddings give ``[1, out, in]``. A batched MatMul
    weight ``[..., in, out]`` gives one group per batch index.
    """
    if layer.kind is LayerKind.CONV and layer.window is not None:
        group = layer.window.group
        return weight.reshape(group, weight.shape[0] // group, -1)
    if layer.kind is LayerKind.CONV_TRANSPOSE and layer.window is not None:
        group = layer.window.group
        grouped = weight.reshape(group, weight.shape[0] // group, -1)
        return grouped.transpose(0, 2, 1)
    if layer.kind is LayerKind.GATHER or layer.transposed or layer.weight_on_left:
        return weight.reshape(-1, *weight.shape[-2:])
    return np.swapaxes(weight.reshape(-1, *weight.shape[-2:]), 1, 2)


def from_matrix(matrix: np.ndarray, layer: LayerWork) -> np.ndarray:
    """Inverse of :func:`to_matrix`; the result has ``layer.weight_shape``."""
    shape = tuple(int(d or 1) for d in layer.weight_shape)
    if layer.kind is LayerKind.CONV:
        return matrix.reshape(shape)
    if layer.kind is LayerKind.CONV_TRANSPOSE:
        return matrix.transpose(0, 2, 1).reshape(shape)
    if layer.kind is LayerKind.GATHER or layer.transposed or layer.weight_on_left:
        return matrix.reshape(shape)
    return np.swapaxes(matrix, 1, 2).reshape(shape)


def row_channels(layer: LayerWork) -> np.ndarray:
    """Output channel of every row of :func:`to_matrix`, int64 ``[groups, rows]``.

    The channel counts along ``layer.channel_axis`` of the weight, over all groups for Conv.
    """
    shape = tuple(int(d or 1) for d in layer.weight_shape)
    if layer.kind is LayerKind.CONV and layer.window is not None:
        return np.arange(shape[0]).reshape(layer.window.group, -1)
    if layer.kind is LayerKind.CONV_TRANSPOSE and layer.window is not None:
        taps = int(np.prod(shape[2:], dtype=np.int64))
        return np.tile(np.repeat(np.arange(shape[1]), taps), (layer.window.group, 1))
    groups = int(np.prod(shape[:-2], dtype=np.int64))
    return np.tile(np.arange(shape[layer.channel_axis]), (groups, 1))


def patch_geometry(layer: LayerWork) -> tuple[int, int]:
    """Groups and K of the layer's patches.

    A MatMul pools all batch indices of its activation into one group, also where its weight has
    several (:func:`to_matrix` has one group for each).
    """
    shape = tuple(int(d or 1) for d in layer.weight_shape)
    if layer.kind is LayerKind.CONV and layer.window is not None:
        return layer.window.group, int(np.prod(shape[1:], dtype=np.int64))
    if layer.kind is LayerKind.CONV_TRANSPOSE and layer.window is not None:
        return layer.window.group, shape[0] // layer.window.group
    return 1, shape[-1] if layer.transposed or layer.weight_on_left else shape[-2]


def reduction_axis(layer: LayerWork) -> tuple[int, int, int]:
    """Axis of the input along which a layer's pairs lie, its extent, and the groups that pairs stay in."""
    shape = tuple(int(d or 1) for d in layer.weight_shape)
    if layer.kind is LayerKind.CONV and layer.window is not None:
        return 1, shape[1] * layer.window.group, layer.window.group
    return -1, shape[-1] if layer.transposed else shape[-2], 1


def patch_grid(shape: tuple[int, ...], layer: LayerWork) -> tuple[int, ...]:
    """Extents of the positions at which one sample of an input ``[batch, ...]`` has a patch.

    Output positions for Conv, input positions for ConvTranspose, rows for Gemm and MatMul.
    """
    window = layer.window
    if layer.kind is LayerKind.CONV and window is not None:
        rank = len(window.kernel)
        spans = [(k - 1) * d + 1 for k, d in zip(window.kernel, window.dilations)]
        padded = [e + window.pads[i] + window.pads[i + rank] for i, e in enumerate(shape[2:])]
        return tuple((p - span) // s + 1 for p, span, s in zip(padded, spans, window.strides))
    if layer.kind is LayerKind.CONV_TRANSPOSE:
        return shape[2:]
    rows = (*shape[:-2], shape[-1]) if layer.weight_on_left else shape[:-1]
    return rows[1:]


def extract_patches(
    x: np.ndarray, layer: LayerWork, positions: np.ndarray | None = None, *, fill: float = 0
) -> np.ndarray:
    """The patches of ``x`` that the layer multiplies with its weight matrix.

    Args:
        x: input of the layer, ``[batch, ...]`` as it stands in the graph; any dtype.
        layer: its geometry.
        positions: int64, flat indices into :func:`patch_grid`; None takes all of them in order.
        fill: what padding holds (a zero point, for codes).

    Returns:
        ``[groups, batch * positions, K]`` in the dtype of ``x``, samples outermost among the rows.
    """
    if layer.kind is LayerKind.CONV and layer.window is not None:
        return _window_patches(x, layer, positions, fill)
    if layer.kind is LayerKind.CONV_TRANSPOSE and layer.window is not None:
        flat = x.reshape(*x.shape[:2], -1)
        chosen = flat if positions is None else flat[:, :, positions]
        return _by_group(chosen[..., None], layer.window.group)
    rows = np.swapaxes(x, -1, -2) if layer.weight_on_left else x
    if rows.ndim == 1:
        rows = rows[None]
    rows = rows.reshape(rows.shape[0], -1, rows.shape[-1])
    chosen = rows if positions is None else rows[:, positions]
    return chosen.reshape(1, -1, rows.shape[-1])


def _window_patches(x: np.ndarray, layer: LayerWork, positions: np.ndarray | None, fill: float) -> np.ndarray:
    """Patches of a convolution: one gather per sample and channel from the flattened space."""
    window = layer.window
    if window is None:
        raise ValueError(f"{layer.name} has no window")
    grid, space = patch_grid(x.shape, layer), x.shape[2:]
    if positions is None:
        positions = np.arange(int(np.prod(grid, dtype=np.int64)))
    if grid == space and all(k == 1 for k in window.kernel) and not any(window.pads):
        return _by_group(np.take(x.reshape(*x.shape[:2], -1), positions[:, None], axis=2), window.group)
    starts = np.unravel_index(positions, grid)
    taps = np.unravel_index(np.arange(int(np.prod(window.kernel, dtype=np.int64))), window.kernel)
    index = np.zeros((len(positions), len(taps[0])), np.int64)
    inside = np.ones(index.shape, bool)
    for axis, extent in enumerate(space):
        place = starts[axis][:, None] * window.strides[axis] - window.pads[axis]
        place = place + taps[axis][None] * window.dilations[axis]
        inside &= (place >= 0) & (place < extent)
        index = index * extent + np.clip(place, 0, extent - 1)
    gathered = np.take(x.reshape(*x.shape[:2], -1), index, axis=2)
    if not inside.all():
        gathered[:, :, ~inside] = fill
    return _by_group(gathered, window.group)


def _by_group(gathered: np.ndarray, group: int) -> np.ndarray:
    """``[batch, channels, positions, taps]`` to ``[groups, batch * positions, channels/groups * taps]``."""
    batch, channels, count, taps = gathered.shape
    split = gathered.reshape(batch, group, channels // group, count, taps)
    return split.transpose(1, 0, 3, 2, 4).reshape(group, batch * count, -1)
