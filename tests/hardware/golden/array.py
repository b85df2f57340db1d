"""A systolic array register by register: every value moves one unit per cycle, nothing is computed ahead.

A unit works on blocks (several products at once) and on planes (bits or slices, one wave per pair of
planes), which covers fixed, fused, bit-serial, plane and table units alike. Cycles are counted from the
first value that enters to the last result that leaves.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Unit:
    """Block sizes of one unit along m, k and n, and the planes of both operands (weights of each plane)."""

    m: int = 1
    k: int = 1
    n: int = 1
    a_planes: tuple[tuple[int, int], ...] = ((0, 0),)  # (lowest bit, width); width 0 takes the whole value
    w_planes: tuple[tuple[int, int], ...] = ((0, 0),)

    @property
    def serial(self) -> int:
        """Waves per step."""
        return len(self.a_planes) * len(self.w_planes)


def plane(values: np.ndarray, low: int, width: int) -> np.ndarray:
    """Bits ``low .. low + width - 1`` of non-negative integers, in place; all of them for width 0."""
    return values if width == 0 else (values >> low & ((1 << width) - 1)) << low


def blocks(matrix: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """A matrix as ``[ceil(r / rows), ceil(c / cols), rows, cols]``, padded with zeros."""
    height, width = -(-matrix.shape[0] // rows), -(-matrix.shape[1] // cols)
    padded = np.zeros((height * rows, width * cols), dtype=matrix.dtype)
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    return padded.reshape(height, rows, width, cols).transpose(0, 2, 1, 3)


def unblocked(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The inverse of :func:`blocks`."""
    height, width, rows, cols = values.shape
    return values.transpose(0, 2, 1, 3).reshape(height * rows, width * cols)[: shape[0], : shape[1]]


def multiply(
    a: np.ndarray, b: np.ndarray, rows: int, cols: int, dataflow: str, *, overlap: bool, unit: Unit
) -> tuple[np.ndarray, int]:
    """``a @ b`` of non-negative integers on the array, and the cycles it takes."""
    if dataflow == "is":  # inputs stay, weights stream: the weight-stationary array on the transposed product
        turned = Unit(m=unit.n, k=unit.k, n=unit.m, a_planes=unit.w_planes, w_planes=unit.a_planes)
        result, cycles = multiply(b.T, a.T, rows, cols, "ws", overlap=overlap, unit=turned)
        return result.T, cycles
    run = _output_stationary if dataflow == "os" else _weight_stationary
    left, right = blocks(a, unit.m, unit.k), blocks(b, unit.k, unit.n)
    result, cycles = run(left, right, rows, cols, overlap, unit)
    return unblocked(result, (a.shape[0], b.shape[1])), cycles


def _waves(unit: Unit) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    return [(pa, pw) for pa in unit.a_planes for pw in unit.w_planes]


def _weight_stationary(
    left: np.ndarray, right: np.ndarray, rows: int, cols: int, overlap: bool, unit: Unit
) -> tuple[np.ndarray, int]:
    """Weights shift down into shadow registers, become active with the first activation of their fold."""
    steps, depth, width = left.shape[0], left.shape[1], right.shape[1]
    folds = [(k, n) for n in range(-(-width // cols)) for k in range(-(-depth // rows))]
    waves = _waves(unit)
    length = steps * len(waves)
    gap = max(length, rows) if overlap else length + 2 * rows + cols - 2
    start = [rows + index * gap for index in range(len(folds))]
    out = np.zeros((steps, width, unit.m, unit.n), dtype=np.int64)
    activation = np.zeros((rows, cols, unit.m, unit.k), dtype=np.int64)
    tag = np.full((rows, cols), -1)  # number of the wave a unit holds, counted over all folds
    active = np.zeros((rows, cols, unit.k, unit.n), dtype=np.int64)
    shadow = np.zeros_like(active)
    psum = np.zeros((rows, cols, unit.m, unit.n), dtype=np.int64)
    remaining, cycle = len(folds) * length * min(cols, 10**9), 0
    last = 0
    while remaining:
        activation[:, 1:], tag[:, 1:] = activation[:, :-1].copy(), tag[:, :-1].copy()
        activation[:, 0], tag[:, 0] = 0, -1
        for row in range(rows):
            fold, wave = _wave_at(cycle - row, start, length)
            if fold is not None:
                block = folds[fold][0] * rows + row
                tag[row, 0] = fold * length + wave
                if block < depth:
                    activation[row, 0] = plane(left[wave // len(waves), block], *waves[wave % len(waves)][0])
        swap = (tag >= 0) & (tag % length == 0)
        active[swap] = shadow[swap]
        above = np.concatenate([np.zeros_like(psum[:1]), psum[:-1]])
        for row, col in np.argwhere(tag >= 0):
            weights = plane(active[row, col], *waves[tag[row, col] % len(waves)][1])
            psum[row, col] = above[row, col] + activation[row, col] @ weights
        for col in range(cols):
            if tag[-1, col] >= 0:
                fold, wave = divmod(int(tag[-1, col]), length)
                remaining, last = remaining - 1, cycle
                place = folds[fold][1] * cols + col
                if place < width:
                    out[wave // len(waves), place] += psum[-1, col]
        _shift_weights(shadow, right, folds, start, cycle, overlap, rows, cols)
        cycle += 1
    return out, last + 1


def _wave_at(time: int, start: list[int], length: int) -> tuple[int | None, int]:
    """The fold and wave that enter the array's first row at a time, if any."""
    for fold, begin in enumerate(start):
        if begin <= time < begin + length:
            return fold, time - begin
    return None, 0


def _shift_weights(
    shadow: np.ndarray,
    right: np.ndarray,
    folds: list[tuple[int, int]],
    start: list[int],
    cycle: int,
    overlap: bool,
    rows: int,
    cols: int,
) -> None:
    """At the clock edge: shift a fold's weights one row down, in the rows whose enable is on.

    Column ``c`` of fold ``f`` is fed for ``rows`` cycles that end as its first activation comes; with overlap
    they begin as early as the running fold lets go: ``start[f - 1] + c``, row ``r`` enabled ``r`` later.
    """
    for fold, (k, n) in enumerate(folds):
        for col in range(cols):
            begin = (start[fold - 1] if overlap and fold else start[fold] - rows) + col
            if not begin <= cycle < begin + rows:
                continue
            step = cycle - begin
            for row in range(min(step, rows - 1), 0, -1):
                shadow[row, col] = shadow[row - 1, col]
            block, place = k * rows + rows - 1 - step, n * cols + col
            inside = block < right.shape[0] and place < right.shape[1]
            shadow[0, col] = right[block, place] if inside else 0


def _output_stationary(
    left: np.ndarray, right: np.ndarray, rows: int, cols: int, overlap: bool, unit: Unit
) -> tuple[np.ndarray, int]:
    """Sums stay; each leaves on its column's bus in the cycle it is complete, one per column and cycle."""
    height, depth, width = left.shape[0], left.shape[1], right.shape[1]
    folds = [(m, n) for n in range(-(-width // cols)) for m in range(-(-height // rows))]
    waves = _waves(unit)
    length = depth * len(waves)
    gap = max(length, rows) if overlap else length + rows + cols - 2
    start = [index * gap for index in range(len(folds))]
    out = np.zeros((height, width, unit.m, unit.n), dtype=np.int64)
    a = np.zeros((rows, cols, unit.m, unit.k), dtype=np.int64)
    b = np.zeros((rows, cols, unit.k, unit.n), dtype=np.int64)
    tag = np.full((rows, cols), -1)
    sums = np.zeros((rows, cols, unit.m, unit.n), dtype=np.int64)
    remaining, cycle, last = len(folds) * rows * cols, 0, 0
    while remaining:
        a[:, 1:], tag[:, 1:] = a[:, :-1].copy(), tag[:, :-1].copy()
        b[1:] = b[:-1].copy()
        a[:, 0], b[0], tag[:, 0] = 0, 0, -1
        for row in range(rows):
            fold, wave = _wave_at(cycle - row, start, length)
            if fold is not None:
                tag[row, 0] = fold * length + wave
                place = folds[fold][0] * rows + row
                if place < height:
                    a[row, 0] = plane(left[place, wave // len(waves)], *waves[wave % len(waves)][0])
        for col in range(cols):
            fold, wave = _wave_at(cycle - col, start, length)
            if fold is not None and folds[fold][1] * cols + col < width:
                block = right[wave // len(waves), folds[fold][1] * cols + col]
                b[0, col] = plane(block, *waves[wave % len(waves)][1])
        busy = np.zeros(cols, dtype=int)
        for row, col in np.argwhere(tag >= 0):
            fold, wave = divmod(int(tag[row, col]), length)
            sums[row, col] = (0 if wave == 0 else sums[row, col]) + a[row, col] @ b[row, col]
            if wave == length - 1:
                busy[col] += 1
                remaining, last = remaining - 1, cycle
                m, n = folds[fold][0] * rows + row, folds[fold][1] * cols + col
                if m < height and n < width:
                    out[m, n] = sums[row, col]
        assert busy.max(initial=0) <= 1, "two results on one column's bus"
        cycle += 1
    return out, last + 1
