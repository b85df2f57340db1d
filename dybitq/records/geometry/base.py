"""Common interface of the geometries of weighted layers.

Every layer is ``groups`` products of patches ``[rows, K]`` with a weight matrix ``[out_per_group, K]``, where
K runs over a weight's own (in, kh, kw) order.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGeometry(ABC):
    """Shape of a weight, and all that follows from it for the operator that multiplies it.

    Attributes:
        weight_shape: shape of the weight tensor, or of the right operand of two activations. An extent that
            is not known counts as 1 in every method.
    """

    weight_shape: Shape

    @property
    @abstractmethod
    def kind(self) -> str:
        """Name in reports."""

    @property
    def takes_bias(self) -> bool:
        """Return whether the operator has an input for a bias; otherwise an Add after it adds one."""
        return False

    @property
    def weight_input(self) -> int:
        """Position of the weight among the inputs of the operator; the activation is the other of 0 and 1."""
        return 1

    @property
    def weight_count(self) -> int:
        """Number of weights."""
        return int(np.prod(self.extents, dtype=np.int64))

    @property
    def extents(self) -> tuple[int, ...]:
        """Shape of the weight with 1 for extents that are not known."""
        return tuple(int(extent or 1) for extent in self.weight_shape)

    @property
    def stacked(self) -> bool:
        """Return whether the weight is a stack of matrices, one for each batch index."""
        return False

    @property
    def is_depthwise(self) -> bool:
        """Return whether every output channel reads one input channel that no other reads."""
        return False

    @property
    def pads_input(self) -> bool:
        """Return whether patches hold values of the padding."""
        return False

    @property
    def has_moments(self) -> bool:
        """Return whether weights meet patches of an activation, whose moments calibration keeps."""
        return True

    # ------------------------------------------------------------------ axes and channels

    @property
    @abstractmethod
    def channel_axis(self) -> int:
        """Axis of the weight that indexes output channels."""

    @property
    @abstractmethod
    def output_axis(self) -> int:
        """Axis of the output that indexes its channels, counted from the last one: negative."""

    @property
    def output_channels(self) -> int:
        """Channels of the output, over all groups."""
        return self.extents[self.channel_axis]

    @property
    @abstractmethod
    def input_channels(self) -> int:
        """Channels of the input, over all groups."""

    @property
    @abstractmethod
    def pair_axis(self) -> tuple[int, int, int]:
        """Axis of the input along which pairs of operands lie, its extent, the groups that pairs stay in."""

    @property
    @abstractmethod
    def layout(self) -> tuple[object, ...]:
        """Equal for two layers that make the same matrix of the same weight tensor."""

    def along_output(self, values: np.ndarray) -> np.ndarray:
        """Values ``[channels]``, shaped to broadcast against the output."""
        return values.reshape(-1, *[1] * (-self.output_axis - 1))

    # ------------------------------------------------------------------ weights

    @abstractmethod
    def to_matrix(self, weight: np.ndarray) -> np.ndarray:
        """Weight tensor as ``[groups, rows, K]``."""

    @abstractmethod
    def from_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`to_matrix`; the result has ``weight_shape``."""

    @abstractmethod
    def row_channels(self) -> np.ndarray:
        """Output channel of every row of :meth:`to_matrix`, int64 ``[groups, rows]``.

        The channel counts along ``channel_axis`` of the weight, over all groups of a convolution.
        """

    def has_own_rows(self) -> bool:
        """Return whether every output channel is one row, whose mean error its bias can take up."""
        channels = self.row_channels()
        return channels.size == int(channels.max()) + 1

    def times_outputs(self, weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """``weight`` with output channel c multiplied by ``factor[c]``."""
        return times_along(weight, factor, self.channel_axis)

    @abstractmethod
    def times_inputs(self, weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """``weight`` with input channel c multiplied by ``factor[c]``; channels count over all groups."""

    @abstractmethod
    def per_input(self, values: np.ndarray, *, largest: bool = False) -> np.ndarray:
        """Sum (or largest) of the values of every input channel of a weight, ``[n]``."""

    # ------------------------------------------------------------------ patches

    @abstractmethod
    def moment_key(self, source: str) -> str:
        """Name under which the moments of the patches of tensor ``source`` are kept.

        Layers that read the same tensor through the same window share one key.
        """

    @property
    @abstractmethod
    def patch_shape(self) -> tuple[int, int]:
        """Groups and K of the patches."""

    @abstractmethod
    def patch_grid(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Extents of the positions at which one sample of an input ``[batch, ...]`` has a patch.

        Output positions of a convolution, input positions of a transposed one, rows of a product.
        """

    @abstractmethod
    def patches(self, x: np.ndarray, positions: np.ndarray | None = None, *, fill: float = 0) -> np.ndarray:
        """Extract the patches of ``x`` that the layer multiplies with its weight matrix.

        Args:
            x: input of the layer, ``[batch, ...]`` as it stands in the graph; any dtype.
            positions: int64, flat indices into :meth:`patch_grid`; None takes all of them in order.
            fill: value of the padding (a zero point, for codes).

        Returns:
            ``[groups, batch * positions, K]`` in the dtype of ``x``, samples outermost among the rows.
        """


def times_along(values: np.ndarray, factor: np.ndarray, axis: int) -> np.ndarray:
    """``values`` with what lies at c along ``axis`` multiplied by ``factor[c]``."""
    shape = [1] * values.ndim
    shape[axis] = -1
    return values * factor.reshape(shape)


def reduced_along(values: np.ndarray, axis: int, *, largest: bool) -> np.ndarray:
    """Sum, or the largest, of all that lies at each index of ``axis``, ``[n]``."""
    rows = np.moveaxis(values, axis, 0).reshape(1, values.shape[axis], -1)
    return (rows.max(axis=2) if largest else rows.sum(axis=2)).reshape(-1)
