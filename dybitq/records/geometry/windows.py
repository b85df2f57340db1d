"""Convolutions and transposed convolutions as products of patches with a weight matrix."""

from dataclasses import dataclass

import numpy as np

from dybitq.records.geometry.base import LayerGeometry, reduced_along, times_along


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Sliding window of a convolution or a pooling; spatial axes in ONNX order."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]  # all begins, then all ends, as ONNX has them
    group: int

    def grid(self, space: tuple[int, ...]) -> tuple[int, ...]:
        """Extents of the positions of the window in an input with the spatial extents ``space``."""
        rank = len(self.kernel)
        spans = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations)]
        padded = [e + self.pads[i] + self.pads[i + rank] for i, e in enumerate(space)]
        return tuple((p - span) // s + 1 for p, span, s in zip(padded, spans, self.strides))

    def taps(self, space: tuple[int, ...], positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places under the window at ``positions``, flat indices into :meth:`grid`.

        Returns:
            int64 and bool ``[positions, taps]``: flat index into ``space``, and where that is no padding.
        """
        starts = np.unravel_index(positions, self.grid(space))
        taps = np.unravel_index(np.arange(int(np.prod(self.kernel, dtype=np.int64))), self.kernel)
        index = np.zeros((len(positions), len(taps[0])), np.int64)
        inside = np.ones(index.shape, bool)
        for axis, extent in enumerate(space):
            place = starts[axis][:, None] * self.strides[axis] - self.pads[axis]
            place = place + taps[axis][None] * self.dilations[axis]
            inside &= (place >= 0) & (place < extent)
            index = index * extent + np.clip(place, 0, extent - 1)
        return index, inside


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingWindow(LayerGeometry):
    """Convolution; weight ``[O, I/g, *kernel]``."""

    window: Window

    @property
    def kind(self) -> str:
        """Name in reports."""
        return "conv"

    @property
    def takes_bias(self) -> bool:
        """Return whether the operator has an input for a bias."""
        return True

    @property
    def is_depthwise(self) -> bool:
        """Return whether every output channel reads one input channel that no other reads."""
        return self.extents[:2] == (self.window.group, 1)

    @property
    def pads_input(self) -> bool:
        """Return whether patches hold values of the padding."""
        return any(self.window.pads)

    @property
    def channel_axis(self) -> int:
        """Axis of the weight that indexes output channels."""
        return 0

    @property
    def output_axis(self) -> int:
        """Axis of the output that indexes its channels, counted from the last one."""
        return -1 - len(self.window.kernel)

    @property
    def input_channels(self) -> int:
        """Channels of the input, over all groups."""
        return self.extents[1] * self.window.group

    @property
    def pair_axis(self) -> tuple[int, int, int]:
        """Pairs are neighbouring channels of one group at one tap."""
        return 1, self.input_channels, self.window.group

    @property
    def layout(self) -> tuple[object, ...]:
        """Equal for two layers that make the same matrix of the same weight tensor."""
        return self.kind, self.window.group

    def to_matrix(self, weight: np.ndarray) -> np.ndarray:
        """Weight tensor as ``[g, O/g, I/g * taps]``."""
        return weight.reshape(self.window.group, weight.shape[0] // self.window.group, -1)

    def from_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`to_matrix`."""
        return matrix.reshape(self.extents)

    def row_channels(self) -> np.ndarray:
        """Output channel of every row, ``[g, O/g]``."""
        return np.arange(self.extents[0]).reshape(self.window.group, -1)

    def times_inputs(self, weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """``weight`` with input channel c multiplied by ``factor[c]``; channels count over all groups."""
        factors = factor.reshape(self.window.group, 1, self.extents[1], 1)
        return (self._by_channel(weight) * factors).reshape(weight.shape)

    def per_input(self, values: np.ndarray, *, largest: bool = False) -> np.ndarray:
        """Sum (or largest) of the values of every input channel of a weight, ``[n]``."""
        shaped = self._by_channel(values)
        return (shaped.max(axis=(1, 3)) if largest else shaped.sum(axis=(1, 3))).reshape(-1)

    def _by_channel(self, weight: np.ndarray) -> np.ndarray:
        """``[g, O/g, I/g, taps]``."""
        taps = int(np.prod(weight.shape[2:]))
        return weight.reshape(self.window.group, -1, weight.shape[1], taps)

    def moment_key(self, source: str) -> str:
        """Tensor and window."""
        window = self.window
        parts = (window.kernel, window.strides, window.dilations, window.pads, (window.group,))
        return source + "|conv|" + "|".join(",".join(map(str, part)) for part in parts)

    @property
    def patch_shape(self) -> tuple[int, int]:
        """Groups and K of the patches."""
        return self.window.group, int(np.prod(self.extents[1:], dtype=np.int64))

    def patch_grid(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Extents of the output positions."""
        return self.window.grid(shape[2:])

    def patches(self, x: np.ndarray, positions: np.ndarray | None = None, *, fill: float = 0) -> np.ndarray:
        """One gather per sample and channel from the flattened space."""
        window, space = self.window, x.shape[2:]
        grid = window.grid(space)
        if positions is None:
            positions = np.arange(int(np.prod(grid, dtype=np.int64)))
        flat = x.reshape(*x.shape[:2], -1)
        if grid == space and all(k == 1 for k in window.kernel) and not any(window.pads):
            return _by_group(np.take(flat, positions[:, None], axis=2), window.group)
        index, inside = window.taps(space, positions)
        gathered = np.take(flat, index, axis=2)
        if not inside.all():
            gathered[:, :, ~inside] = fill
        return _by_group(gathered, window.group)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransposedWindow(LayerGeometry):
    """Transposed convolution; weight ``[I, O/g, *kernel]``."""

    window: Window

    @property
    def kind(self) -> str:
        """Name in reports."""
        return "conv_transpose"

    @property
    def takes_bias(self) -> bool:
        """Return whether the operator has an input for a bias."""
        return True

    @property
    def channel_axis(self) -> int:
        """Axis of the weight that indexes the output channels of a group; groups share them."""
        return 1

    @property
    def output_axis(self) -> int:
        """Axis of the output that indexes its channels, counted from the last one."""
        return -1 - len(self.window.kernel)

    @property
    def output_channels(self) -> int:
        """Channels of the output, over all groups."""
        return self.extents[1] * self.window.group

    @property
    def input_channels(self) -> int:
        """Channels of the input, over all groups."""
        return self.extents[0]

    @property
    def pair_axis(self) -> tuple[int, int, int]:
        """Pairs are neighbouring channels of one group at one position."""
        return 1, self.input_channels, self.window.group

    @property
    def layout(self) -> tuple[object, ...]:
        """Equal for two layers that make the same matrix of the same weight tensor."""
        return self.kind, self.window.group

    def to_matrix(self, weight: np.ndarray) -> np.ndarray:
        """Weight tensor as ``[g, O/g * taps, I/g]``."""
        grouped = weight.reshape(self.window.group, weight.shape[0] // self.window.group, -1)
        return grouped.transpose(0, 2, 1)

    def from_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`to_matrix`."""
        return matrix.transpose(0, 2, 1).reshape(self.extents)

    def row_channels(self) -> np.ndarray:
        """Output channel of every row, ``[g, O/g * taps]``."""
        taps = int(np.prod(self.extents[2:], dtype=np.int64))
        return np.tile(np.repeat(np.arange(self.extents[1]), taps), (self.window.group, 1))

    def times_inputs(self, weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """``weight`` with input channel c multiplied by ``factor[c]``; channels count over all groups."""
        return times_along(weight, factor, 0)

    def per_input(self, values: np.ndarray, *, largest: bool = False) -> np.ndarray:
        """Sum (or largest) of the values of every input channel of a weight, ``[n]``."""
        return reduced_along(values, 0, largest=largest)

    def moment_key(self, source: str) -> str:
        """Tensor and groups."""
        return f"{source}|channels|{self.window.group}"

    @property
    def patch_shape(self) -> tuple[int, int]:
        """Groups and K of the patches."""
        return self.window.group, self.extents[0] // self.window.group

    def patch_grid(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Extents of the input positions."""
        return shape[2:]

    def patches(self, x: np.ndarray, positions: np.ndarray | None = None, *, fill: float = 0) -> np.ndarray:
        """Input channels at every position; there is no padding to fill."""
        flat = x.reshape(*x.shape[:2], -1)
        chosen = flat if positions is None else flat[:, :, positions]
        return _by_group(chosen[..., None], self.window.group)


def _by_group(gathered: np.ndarray, group: int) -> np.ndarray:
    """``[batch, channels, positions, taps]`` to ``[groups, batch * positions, channels/groups * taps]``."""
    batch, channels, count, taps = gathered.shape
    split = gathered.reshape(batch, group, channels // group, count, taps)
    return split.transpose(1, 0, 3, 2, 4).reshape(group, batch * count, -1)
