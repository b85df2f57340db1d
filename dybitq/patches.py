"""Layers as matrix products: weight matrices, patch matrices, and the key of a patch geometry.

Every weighted layer is ``groups`` products of patches ``[rows, K]`` with a weight matrix
``[out_per_group, K]``. K runs over a weight's own (in, kh, kw) order. For ConvTranspose a patch is
the vector of input channels at one position, and each (output channel, tap) is a row of the matrix.
"""

import numpy as np

from dybitq.records import LayerKind, LayerWork


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
