"""Integer products from bit planes: golden vectors and equality with ordinary products."""

import numpy as np
import pytest

from dybitq.encodings import binary, codec, formats

WQ = np.array([[3, 0, 2, 1], [1, 2, 0, 3]], np.uint8)
XQ = np.array([[5, 0], [7, 3], [2, 6], [1, 4]], np.uint8)


def test_golden_planes() -> None:
    """Planes stacked by row and by column, least significant first."""
    assert binary.stack_rows(WQ, 2).tolist() == [[1, 0, 0, 1], [1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 0, 1]]
    assert binary.stack_columns(XQ, 3).T.tolist() == [
        [1, 1, 0, 1],
        [0, 1, 1, 0],
        [1, 1, 0, 0],
        [0, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 1],
    ]


def test_golden_two_stage_product() -> None:
    """The binary product, the kernel and the recombined integers."""
    planes = binary.stack_rows(WQ, 2).astype(np.int64) @ binary.stack_columns(XQ, 3)
    assert planes.tolist() == [
        [2, 0, 1, 0, 0, 1],
        [1, 1, 1, 0, 1, 1],
        [2, 0, 1, 0, 0, 1],
        [2, 1, 1, 1, 1, 1],
    ]
    assert binary.plane_kernel(2, 3).tolist() == [[1, 2, 4], [2, 4, 8]]
    assert binary.product(WQ, 2, XQ, 3).tolist() == [[20, 16], [22, 18]]


def test_golden_affine_product() -> None:
    """DoReFa weights and PACT activations with alpha = 6."""
    real = binary.affine_product(binary.product(WQ, 2, XQ, 3), WQ, XQ, (2 / 3, 3 / 2), (6 / 7, 0))
    np.testing.assert_allclose(real, [[-1.428571, -2.0], [-0.285714, -0.857143]], atol=5e-7)


@pytest.mark.parametrize(("m", "k"), [(1, 1), (2, 5), (8, 8), (3, 2)])
def test_equals_the_ordinary_product(m: int, k: int) -> None:
    """For unsigned and for two's complement rows, and with zero points on both sides."""
    generator = np.random.default_rng(m * 10 + k)
    rows = generator.integers(0, 2**m, (5, 33)).astype(np.uint8)
    columns = generator.integers(0, 2**k, (33, 4)).astype(np.uint8)
    expected = rows.astype(np.int64) @ columns.astype(np.int64)
    np.testing.assert_array_equal(binary.product(rows, m, columns, k), expected)
    signed = np.where(rows >= 2 ** (m - 1), rows.astype(np.int64) - 2**m, rows)
    product = binary.product(rows, m, columns, k, signed_rows=True)
    np.testing.assert_array_equal(product, signed @ columns.astype(np.int64))
    real = binary.affine_product(expected, rows, columns, (0.5, 3.0), (0.25, 2.0))
    np.testing.assert_allclose(real, (0.5 * (rows - 3.0)) @ (0.25 * (columns - 2.0)))


def test_odd_integers_by_xor() -> None:
    """The golden vector of the {-1, +1} decomposition, and random ones."""
    odd2, odd3 = formats.get("odd2"), formats.get("odd3")
    left = codec.encode(np.array([3.0, -1, 1, -3]), odd2)
    right = codec.encode(np.array([7.0, -5, 1, 3]), odd3)
    assert [f"{code:02b}" for code in left] == ["11", "01", "10", "00"]
    assert binary.odd_dot(left, 2, right, 3) == 18
    generator = np.random.default_rng(0)
    left, right = (generator.integers(0, 2**b, 100).astype(np.uint8) for b in (2, 3))
    assert binary.odd_dot(left, 2, right, 3) == int(codec.decode(left, odd2) @ codec.decode(right, odd3))
