"""Matrix products of rows of an activation: with a weight, with another activation, and embedding tables."""

from dataclasses import dataclass

import numpy as np

from dybitq.records.geometry.base import LayerGeometry, reduced_along, times_along


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows(LayerGeometry):
    """Rows of an activation times the matrices in the last two axes of the right operand."""

    @property
    def on_left(self) -> bool:
        """Return whether the weight is the left operand, so that patches are columns of the activation."""
        return False

    @property
    def _k_axis(self) -> int:
        """Axis of the weight along which products are summed."""
        return -2

    @property
    def weight_input(self) -> int:
        """Position of the weight among the inputs of the operator; the activation is the other of 0 and 1."""
        return 0 if self.on_left else 1

    @property
    def channel_axis(self) -> int:
        """Axis of the weight that indexes output channels."""
        return len(self.weight_shape) - 3 - self._k_axis

    @property
    def output_axis(self) -> int:
        """Axis of the output that indexes its channels, counted from the last one."""
        return -2 if self.on_left else -1

    @property
    def input_channels(self) -> int:
        """Extent along which products are summed."""
        return self.extents[self._k_axis]

    @property
    def pair_axis(self) -> tuple[int, int, int]:
        """Pairs are neighbours in a row."""
        return -2 if self.on_left else -1, self.input_channels, 1

    @property
    def layout(self) -> tuple[object, ...]:
        """Equal for two layers that make the same matrix of the same weight tensor."""
        return (self.kind, self._k_axis)

    def to_matrix(self, weight: np.ndarray) -> np.ndarray:
        """Weight tensor as ``[1, out, in]``; a stack ``[..., in, out]`` gives one group per batch index."""
        matrices = weight.reshape(-1, *weight.shape[-2:])
        return matrices if self._k_axis == -1 else np.swapaxes(matrices, 1, 2)

    def from_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`to_matrix`."""
        return (matrix if self._k_axis == -1 else np.swapaxes(matrix, 1, 2)).reshape(self.extents)

    def row_channels(self) -> np.ndarray:
        """Output channel of every row; the matrices of a stack share their channels."""
        groups = int(np.prod(self.extents[:-2], dtype=np.int64))
        return np.tile(np.arange(self.output_channels), (groups, 1))

    def times_inputs(self, weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """``weight`` with input channel c multiplied by ``factor[c]``."""
        return times_along(weight, factor, self._k_axis)

    def per_input(self, values: np.ndarray, *, largest: bool = False) -> np.ndarray:
        """Sum (or largest) of the values of every input channel of a weight, ``[n]``."""
        return reduced_along(values, self._k_axis, largest=largest)

    def moment_key(self, source: str) -> str:
        """Tensor and axis."""
        return f"{source}|rows|{self.output_axis}"

    @property
    def patch_shape(self) -> tuple[int, int]:
        """One group and K; a product pools all batch indices, also where its weight is a stack."""
        return 1, self.input_channels

    def patch_grid(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Extents of the axes of the input other than the batch and K."""
        rows = (*shape[:-2], shape[-1]) if self.on_left else shape[:-1]
        return rows[1:]

    def patches(self, x: np.ndarray, positions: np.ndarray | None = None, *, fill: float = 0) -> np.ndarray:
        """Rows of ``x``, or columns for a weight on the left; there is no padding to fill."""
        rows = np.swapaxes(x, -1, -2) if self.on_left else x
        if rows.ndim == 1:
            rows = rows[None]
        rows = rows.reshape(rows.shape[0], -1, rows.shape[-1])
        chosen = rows if positions is None else rows[:, positions]
        return chosen.reshape(1, -1, rows.shape[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixProduct(_Rows):
    """Gemm or MatMul of an activation and a weight, ``[in, out]`` where nothing else is said.

    Attributes:
        gemm: the operator is Gemm, which adds a bias itself.
        transposed: the weight is ``[out, in]`` (Gemm with transB).
        left: the weight is the left operand, ``[out, in]``.
    """

    gemm: bool = False
    transposed: bool = False
    left: bool = False

    @property
    def kind(self) -> str:
        """Name in reports."""
        return "gemm" if self.gemm else "matmul"

    @property
    def takes_bias(self) -> bool:
        """Return whether the operator has an input for a bias."""
        return self.gemm

    @property
    def on_left(self) -> bool:
        """Return whether the weight is the left operand, so that patches are columns of the activation."""
        return self.left

    @property
    def stacked(self) -> bool:
        """Return whether the weight is a stack of matrices, one for each batch index."""
        return len(self.weight_shape) > 2

    @property
    def plain(self) -> bool:
        """Return whether rows of the activation meet one matrix on their right."""
        return not self.left and not self.stacked

    @property
    def _k_axis(self) -> int:
        return -1 if self.transposed or self.left else -2


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationProduct(_Rows):
    """MatMul of two activations; the right one stands where others have a weight."""

    @property
    def kind(self) -> str:
        """Name in reports."""
        return "matmul_dynamic"

    @property
    def weight_count(self) -> int:
        """None of the operands is a weight."""
        return 0

    @property
    def has_moments(self) -> bool:
        """There are no weights to fit."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingTable(_Rows):
    """Gather of rows of a weight ``[entries, features]``; every entry counts as an output channel."""

    @property
    def kind(self) -> str:
        """Name in reports."""
        return "gather"

    @property
    def weight_input(self) -> int:
        """The table is the first input, the indices are the second."""
        return 0

    @property
    def _k_axis(self) -> int:
        return -1

    @property
    def has_moments(self) -> bool:
        """Indices are not multiplied."""
        return False

    def moment_key(self, source: str) -> str:
        """Tensor of the indices."""
        return f"{source}|indices"
