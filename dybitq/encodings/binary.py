"""Products of low-bit integers from products of bits.

Two decompositions. With planes of {0, 1} (EBS, "Efficient Bitwidth Search", Li et al., section on binary
decomposition) codes ``Wq = sum_m 2^m B_m`` and ``Xq = sum_k 2^k C_k`` give ``Wq Xq = sum 2^(m+k) B_m C_k``,
each term a popcount of an AND; the two-stage form multiplies all planes at once and recombines tiles. With
planes of {-1, +1} (Sun et al., AAAI 2019) the codes stand for odd integers, and each term is
``S - 2 popcount(xor)`` over a length S.

An accelerator that works so does ``M * K`` binary operations for a multiplication of M by K bits. Here
numpy's
integers replace the popcounts: this is a reference for the identity, not a fast kernel.
"""

import numpy as np


def planes(codes: np.ndarray, bits: int) -> np.ndarray:
    """Split codes into planes of zeros and ones, lowest bit first: uint8 ``[bits, *codes.shape]``."""
    shifts = np.arange(bits).reshape(-1, *[1] * codes.ndim)
    return ((codes >> shifts) & 1).astype(np.uint8)


def stack_rows(codes: np.ndarray, bits: int) -> np.ndarray:
    """Stack the planes of each row of ``[rows, s]`` below one another: uint8 ``[rows * bits, s]``."""
    return planes(codes, bits).transpose(1, 0, 2).reshape(-1, codes.shape[1])


def stack_columns(codes: np.ndarray, bits: int) -> np.ndarray:
    """Stack the planes of each column of ``[s, columns]`` side by side: uint8 ``[s, columns * bits]``."""
    return planes(codes, bits).transpose(1, 2, 0).reshape(codes.shape[0], -1)


def recombine(binary: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Recombine planes (the second stage): each tile of the binary product times the kernel, summed.

    Args:
        binary: int64 ``[rows * M, columns * K]``, the product of stacked planes.
        kernel: int64 ``[M, K]``, weight of each pair of planes, see :func:`plane_kernel`.

    Returns:
        int64 ``[rows, columns]``.
    """
    m, k = kernel.shape
    tiles = binary.reshape(binary.shape[0] // m, m, binary.shape[1] // k, k)
    return np.einsum("rmck,mk->rc", tiles, kernel)


def plane_kernel(row_bits: int, column_bits: int, *, signed_rows: bool = False) -> np.ndarray:
    """Return ``2^(m+k)`` for every pair of planes, int64 ``[row_bits, column_bits]``.

    With ``signed_rows`` the row codes are two's complement: their top plane counts negatively.
    """
    rows = np.int64(1) << np.arange(row_bits)
    if signed_rows:
        rows[-1] = -rows[-1]
    return rows[:, None] * (np.int64(1) << np.arange(column_bits))


def product(
    rows: np.ndarray, row_bits: int, columns: np.ndarray, column_bits: int, *, signed_rows: bool = False
) -> np.ndarray:
    """Multiply two code matrices by their bit planes, in two stages.

    Args:
        rows: codes ``[rows, s]`` of ``row_bits`` bits (two's complement codes with ``signed_rows``).
        columns: unsigned codes ``[s, columns]`` of ``column_bits`` bits.

    Returns:
        int64 ``[rows, columns]``, exact.
    """
    binary = stack_rows(rows, row_bits).astype(np.int64) @ stack_columns(columns, column_bits).astype(
        np.int64
    )
    return recombine(binary, plane_kernel(row_bits, column_bits, signed_rows=signed_rows))


def affine_product(
    integer_product: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    row_affine: tuple[float, float],
    column_affine: tuple[float, float],
) -> np.ndarray:
    """Compute the product of real matrices ``s_r (rows - z_r)`` and ``s_c (columns - z_c)`` from the codes'.

    Args:
        integer_product: ``rows @ columns``, from :func:`product`.
        rows: codes ``[rows, s]``.
        columns: codes ``[s, columns]``.
        row_affine: ``(s_r, z_r)``; DoReFa weights of M bits have ``2 / (2^M - 1)`` and ``(2^M - 1) / 2``.
        column_affine: ``(s_c, z_c)``; PACT activations of K bits have ``alpha / (2^K - 1)`` and 0.

    Returns:
        float64 ``[rows, columns]``.
    """
    (row_scale, row_zero), (column_scale, column_zero) = row_affine, column_affine
    column_sums = columns.sum(axis=0, dtype=np.int64)[None, :]
    row_sums = rows.sum(axis=1, dtype=np.int64)[:, None]
    corrected = (
        integer_product
        - row_zero * column_sums
        - column_zero * row_sums
        + rows.shape[1] * row_zero * column_zero
    )
    return row_scale * column_scale * corrected


def odd_dot(left: np.ndarray, left_bits: int, right: np.ndarray, right_bits: int) -> int:
    """Compute the dot product of odd integers from their codes by XOR and popcount.

    Args:
        left: codes ``[s]`` of the format ``odd<left_bits>``: code c stands for ``2 c - (2^bits - 1)``.
        right: codes ``[s]`` of ``odd<right_bits>``.

    Returns:
        ``sum_{m,k} 2^(m+k) (s - 2 popcount(left_m xor right_k))``.
    """
    differing = planes(left, left_bits)[:, None, :] ^ planes(right, right_bits)[None, :, :]
    agreement = left.size - 2 * differing.sum(axis=2, dtype=np.int64)
    return int((agreement * plane_kernel(left_bits, right_bits)).sum())
