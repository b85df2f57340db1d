"""Compensated rounding against nearest rounding, measured with the Hessian that both are given."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dybitq.encodings import codec, formats
from dybitq.fit.weights.methods import compensated as compensation
from dybitq.fit.weights.methods.nearest import nearest as nearest_codes
from dybitq.fit.weights.moments import Hessian, hessian_from, uniform_hessian
from dybitq.fit.weights.rounding import roundings
from dybitq.records.formats import NumberFormat
from dybitq.records.statistics import MomentKind
from tests.fit.conftest import moment_of

TABLES = ["int2", "int3", "int4", "int8", "dybit2", "dybit4", "dybit6", "e2m1", "pot4", "normal4"]


def nearest(matrix: np.ndarray, scale: np.ndarray, fmt: NumberFormat, hessian: Hessian) -> np.ndarray:
    """Codes of nearest rounding."""
    return nearest_codes(matrix, scale, fmt, hessian)[0]


def compensated(matrix: np.ndarray, scale: np.ndarray, fmt: NumberFormat, hessian: Hessian) -> np.ndarray:
    """Codes of compensated rounding."""
    return compensation.compensated(matrix, scale, fmt, hessian)[0]


def descended(matrix: np.ndarray, scale: np.ndarray, fmt: NumberFormat, hessian: Hessian) -> np.ndarray:
    """Codes of compensated rounding, improved."""
    improve = roundings.get("compensated").improve
    assert improve is not None
    return improve(compensated(matrix, scale, fmt, hessian), matrix, scale, fmt, hessian)


def hessian_of(matrix: np.ndarray) -> Hessian:
    """A full H, float64 ``[groups, K, K]``."""
    diagonal = np.diagonal(matrix, axis1=1, axis2=2).copy()
    return Hessian(matrix=matrix, diagonal=diagonal, mean=np.zeros_like(diagonal), rows=1000)


def correlated(groups: int, width: int, rank: int, seed: int = 0) -> Hessian:
    """H of inputs that are mixtures of ``rank`` others."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((groups, 4 * width, rank)) @ rng.standard_normal((groups, rank, width))
    return hessian_of(np.einsum("gnk,gnl->gkl", mixed, mixed) / (4 * width))


def problem(groups: int, rows: int, width: int, name: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Weights and a usual scale of theirs."""
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((groups, rows, width)).astype(np.float32)
    scale = np.abs(matrix).max(axis=2, keepdims=True) * 0.8 / formats.get(name).max_integer
    return matrix, scale.astype(np.float32)


def energies(matrix: np.ndarray, scale: np.ndarray, name: str, hessian: Hessian) -> tuple[float, float]:
    """``tr(dW H dW^T)`` of nearest rounding, and of compensated rounding with all its steps."""
    fmt = formats.get(name)
    found = []
    for method in (nearest, descended):
        codes = method(matrix, scale, fmt, hessian)
        assert codes.dtype == np.uint8 and codes.shape == matrix.shape
        error = matrix - codec.decode(codes, fmt).astype(np.float32) * scale
        found.append(float(hessian.energy(error).sum()))
    return found[0], found[1]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("groups", [1, 3])
def test_compensation_pays_for_every_table(name, groups):
    """With correlated inputs the output error is clearly smaller, whatever the table, group by group."""
    matrix, scale = problem(groups, 8, 40, name)
    before, after = energies(matrix, scale, name, correlated(groups, 40, 20))
    assert after < 0.9 * before


@given(
    seed=st.integers(0, 10_000),
    width=st.integers(1, 24),
    groups=st.integers(1, 3),
    rank=st.integers(1, 30),
    name=st.sampled_from(["int3", "int4", "dybit4", "laplace3"]),
)
@settings(max_examples=40, deadline=None)
def test_never_clearly_worse(seed, width, groups, rank, name):
    """On any H, of any rank, the sum over 32 rows does not exceed that of nearest rounding by 5 %."""
    matrix, scale = problem(groups, 32, width, name, seed)
    before, after = energies(matrix, scale, name, correlated(groups, width, rank, seed))
    assert after <= before * 1.05 + 1e-9


@pytest.mark.parametrize("name", TABLES)
def test_independent_inputs_leave_nothing_to_compensate(name):
    """With a diagonal H, equal or not, the codes are those of nearest rounding."""
    matrix, scale = problem(2, 6, 70, name)
    expected = nearest(matrix, scale, formats.get(name), uniform_hessian(2, 70))
    weights = np.random.default_rng(1).uniform(0.1, 9, (2, 70))
    for diagonal in (np.ones((2, 70)), weights):
        hessian = hessian_of(diagonal[:, :, None] * np.eye(70))
        np.testing.assert_array_equal(compensated(matrix, scale, formats.get(name), hessian), expected)


@pytest.mark.parametrize(
    "hessian", [uniform_hessian(1, 9), uniform_hessian(2, 9)], ids=["one group", "two groups"]
)
def test_without_a_matrix_it_is_nearest(hessian):
    """A diagonal moment has nothing to spread errors with."""
    fmt = formats.get("dybit4")
    matrix, scale = problem(len(hessian.diagonal), 4, 9, "dybit4")
    np.testing.assert_array_equal(
        compensated(matrix, scale, fmt, hessian), nearest(matrix, scale, fmt, hessian)
    )


@pytest.mark.parametrize("value", [0.0, 1e-30, 3.7, 1e20])
def test_one_input(value):
    """K = 1, as in a pointwise depthwise layer: nearest, whatever H says."""
    fmt = formats.get("int4")
    matrix, scale = problem(5, 1, 1, "int4")
    hessian = hessian_of(np.full((5, 1, 1), value))
    np.testing.assert_array_equal(
        compensated(matrix, scale, fmt, hessian), nearest(matrix, scale, fmt, hessian)
    )


def test_dead_inputs_are_rounded_to_nearest():
    """Inputs that are always zero neither take errors nor give any."""
    fmt = formats.get("int4")
    matrix, scale = problem(1, 6, 12, "int4")
    hessian = correlated(1, 12, 12)
    dead = [2, 7]
    hessian.matrix[:, dead, :] = hessian.matrix[:, :, dead] = 0
    alive = [k for k in range(12) if k not in dead]
    codes = compensated(matrix, scale, fmt, hessian)
    np.testing.assert_array_equal(codes[..., dead], nearest(matrix, scale, fmt, hessian)[..., dead])
    assert len(np.unique(codes[..., alive])) > 4


@pytest.mark.parametrize("kind", ["zero", "rank one", "constant", "huge", "tiny"])
def test_singular_moments(kind):
    """Every H that calibration can produce gives codes of the table, and an error no larger than nearest."""
    rng = np.random.default_rng(3)
    width = 16
    direction = rng.standard_normal(width)
    matrix = {
        "zero": np.zeros((width, width)),
        "rank one": np.outer(direction, direction),
        "constant": np.ones((width, width)),
        "huge": np.outer(direction, direction) * 1e30,
        "tiny": np.outer(direction, direction) * 1e-30,
    }[kind]
    weights, scale = problem(1, 8, width, "dybit4")
    before, after = energies(weights, scale, "dybit4", hessian_of(matrix[None]))
    assert after <= before
    if kind != "zero":  # a single direction can be kept almost exactly
        assert after < 0.2 * before


def test_an_indefinite_matrix_is_damped_until_it_is_positive():
    """Rounding of the sums can leave a slightly negative eigenvalue; a hopeless matrix means nearest."""
    values, vectors = np.linalg.eigh(correlated(1, 8, 8).matrix[0])
    values[0] = -0.05 * values.mean()
    bent = (vectors * values) @ vectors.T
    for part in hessian_of(bent[None]).factor[1:]:
        assert np.isfinite(part).all()
    assert (hessian_of(bent[None]).factor[2] > 0).all()
    hopeless = hessian_of(1e12 * (np.ones((1, 4, 4)) - np.eye(4)))
    assert not hopeless.factor[1].any()


def test_columns_are_taken_by_falling_energy():
    """The order is that of the diagonal, ties as they come, and the factor is one of the damped H."""
    hessian = correlated(2, 10, 10)
    order, ratios, diagonal = hessian.factor
    for g in range(2):
        np.testing.assert_array_equal(order[g], np.argsort(-hessian.diagonal[g], kind="stable"))
        ordered = hessian.matrix[g][np.ix_(order[g], order[g])]
        damped = ordered + 0.01 * hessian.diagonal[g].mean() * np.eye(10)
        np.testing.assert_array_equal(ratios[g], np.tril(ratios[g], -1))
        root = (diagonal[g][:, None] * (ratios[g] + np.eye(10))).astype(np.float64)
        np.testing.assert_allclose(root.T @ root, damped, rtol=1e-5, atol=1e-5 * damped.max())
    np.testing.assert_array_equal(hessian_of(np.eye(5)[None]).factor[0][0], np.arange(5))


@given(
    seed=st.integers(0, 10_000),
    width=st.integers(1, 40),
    groups=st.integers(1, 3),
    name=st.sampled_from(["int3", "dybit4"]),
)
@settings(max_examples=40, deadline=None)
def test_it_is_gptq(seed, width, groups, name):
    """Codes and costs are those of the published algorithm, which works with the inverse of H."""
    fmt = formats.get(name)
    matrix, scale = problem(groups, 6, width, name, seed)
    hessian = correlated(groups, width, 2 * width, seed)
    codes, energy = compensation.compensated(matrix, scale, fmt, hessian)
    for g in range(groups):
        expected, costs = gptq(matrix[g] / scale[g], fmt, hessian.matrix[g])
        assert (codec.decode(codes[g], fmt) != expected).mean() < 0.02  # ties of sums in another order
        np.testing.assert_allclose(energy[g], costs * scale[g, :, 0] ** 2, rtol=0.05)


def gptq(work: np.ndarray, fmt: NumberFormat, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frantar et al., arXiv:2210.17323, algorithm 1 with blocks of one column, and the order by energy."""
    order = np.argsort(-np.diagonal(matrix), kind="stable")
    damped = matrix[np.ix_(order, order)] + 0.01 * np.diagonal(matrix).mean() * np.eye(len(matrix))
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    left, found = work[:, order].astype(np.float64), np.empty(work.shape)
    cost = np.zeros(len(work))
    for k in range(len(order)):
        found[:, k] = codec.nearest(left[:, k], fmt)
        error = (left[:, k] - found[:, k]) / upper[k, k]
        left[:, k:] -= error[:, None] * upper[k, k:]
        cost += error**2
    return found[:, np.argsort(order)], cost


def test_the_first_column_is_nearest_and_the_second_takes_its_error():
    """Two inputs, one twice the other in energy: by hand what Cholesky factors do."""
    fmt = formats.get("int4")
    covariance = np.array([[[1.0, 0.9], [0.9, 2.0]]])
    damped = covariance[0] + 0.01 * 1.5 * np.eye(2)
    weights = np.array([[[1.4, 2.3]]], np.float32)
    codes = codec.decode(
        compensated(weights, np.ones((1, 1, 1), np.float32), fmt, hessian_of(covariance)), fmt
    )
    # The second input has more energy, so it goes first: 2.3 to 2, with 0.3 left over. The first then
    # minimises a (w - 1.4 - shift)^2 with shift = 0.3 * H01 / H00.
    shift = (2.3 - 2) * damped[0, 1] / damped[0, 0]
    assert codes.tolist() == [[[round(1.4 + shift), 2]]]


def test_blocks_of_columns_do_not_change_the_result(monkeypatch):
    """Updates behind a block of columns are the same as updates behind every column."""
    import dybitq.fit.weights.methods.compensated as module

    fmt = formats.get("int3")
    matrix, scale = problem(2, 5, 150, "int3")
    hessian = correlated(2, 150, 90)
    found = []
    for block in (1, 7, 64, 150, 1000):
        monkeypatch.setattr(module, "_BLOCK", block)
        found.append(codec.decode(compensated(matrix, scale, fmt, hessian), fmt))
    for one, other in itertools.pairwise(found):
        assert (one != other).mean() < 0.002  # ties of float32 sums taken in another order


def test_groups_are_independent():
    """A grouped layer is as many problems as it has groups."""
    fmt = formats.get("dybit3")
    matrix, scale = problem(4, 3, 9, "dybit3")
    hessian = correlated(4, 9, 9)
    together = compensated(matrix, scale, fmt, hessian)
    for g in range(4):
        alone = compensated(matrix[g : g + 1], scale[g : g + 1], fmt, hessian_of(hessian.matrix[g : g + 1]))
        np.testing.assert_array_equal(together[g], alone[0])


def test_block_diagonal_moments_are_full_ones_restricted():
    """A moment kept in blocks is the full one with zeros outside of the blocks, padding cut off."""
    rng = np.random.default_rng(0)
    width, size = 10, 4
    patches = rng.standard_normal((1, 500, width)) @ rng.standard_normal((width, width)) + 1
    full = moment_of(patches)
    padded = np.zeros((1, 12, 12))
    padded[:, :width, :width] = full.second
    parts = [padded[:, i : i + size, i : i + size] for i in range(0, 12, size)]
    blocks = replace(full, kind=MomentKind.BLOCK, second=np.stack(parts, axis=1))
    inside = np.arange(width) // size
    mask = inside[:, None] == inside
    for centred in (True, False):
        hessian, whole = (hessian_from(m, width, centred=centred) for m in (blocks, full))
        np.testing.assert_allclose(hessian.matrix[0], whole.matrix[0] * mask, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(hessian.diagonal, whole.diagonal)
        fmt = formats.get("int4")
        matrix, scale = problem(1, 4, width, "int4")
        np.testing.assert_array_equal(
            compensated(matrix, scale, fmt, hessian),
            compensated(matrix, scale, fmt, hessian_of(whole.matrix * mask)),
        )


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("groups", [1, 3])
def test_descent_never_costs_energy(name, groups):
    """Every row has at most the energy, in the damped H, that compensation has left, and their sum less."""
    fmt, hessian = formats.get(name), correlated(groups, 40, 20)
    matrix, scale = problem(groups, 8, 40, name)

    def energy(codes: np.ndarray) -> np.ndarray:
        error = matrix - codec.decode(codes, fmt).astype(np.float32) * scale
        return np.einsum("grk,gkl,grl->gr", error, hessian.damped, error)

    before = energy(compensated(matrix, scale, fmt, hessian))
    after = energy(descended(matrix, scale, fmt, hessian))
    assert (after <= before * (1 + 1e-4)).all()
    assert after.sum() < (before.sum() if name != "int8" else before.sum() * (1 + 1e-4))


def test_no_single_weight_could_be_better():
    """With as many sweeps as it takes, moving any one weight to any other level costs energy."""
    fmt, hessian = formats.get("int3"), correlated(1, 12, 9)
    matrix, scale = problem(1, 4, 12, "int3")
    codes = descended(matrix, scale, fmt, hessian)
    for _ in range(4):
        codes = compensation.descended(codes, matrix, scale, fmt, hessian)

    def energy(found: np.ndarray) -> float:
        error = matrix - codec.decode(found, fmt).astype(np.float32) * scale
        return float(np.einsum("grk,gkl,grl->", error, hessian.damped, error))

    least = energy(codes)
    for row, column, code in itertools.product(range(4), range(12), range(8)):
        other = codes.copy()
        other[0, row, column] = code
        assert energy(other) >= least * (1 - 1e-5)


def test_descent_leaves_a_diagonal_h_alone():
    """Where inputs are independent, or nothing is known of them, nearest is best already."""
    fmt = formats.get("dybit4")
    matrix, scale = problem(2, 6, 30, "dybit4")
    codes = nearest(matrix, scale, fmt, uniform_hessian(2, 30))
    for hessian in (uniform_hessian(2, 30), hessian_of(np.ones((2, 30, 1)) * np.eye(30))):
        np.testing.assert_array_equal(compensation.descended(codes, matrix, scale, fmt, hessian), codes)
