"""Closed forms of a systolic array: the layout of a product on it, and the cycles that takes.

Source: Samajdar et al., "A Systematic Methodology for Characterizing Scalability of DNN Accelerators using
SCALE-Sim" (ISPASS 2020), section III, equal to what SCALE-Sim 3.0.0 prints. The overlapped form is ours;
``tests/hardware/golden`` proves both against a register-level array.
"""

from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Layout(NamedTuple):
    """A product ``[m, k] x [k, n]`` on an array: what lies along rows, along columns, and in time."""

    rows: Array
    cols: Array
    time: Array


def layout(dataflow: str, m: Array, k: Array, n: Array) -> Layout:
    """Return the extents along rows, columns and time (output-, weight- or input-stationary)."""
    if dataflow == "os":
        return Layout(m, n, k)
    if dataflow == "ws":
        return Layout(k, n, m)
    return Layout(k, m, n)


def ceil_div(a: Array, b: Array | int) -> Array:
    """``ceil(a / b)`` on integers."""
    return -(-a // b)


def skew_cycles(dataflow: str, rows: int, cols: int) -> int:
    """Cycles of one fold in addition to its streaming: load of the stationary operand, skew in and drain."""
    return rows + cols - 2 if dataflow == "os" else 2 * rows + cols - 2


def array_cycles(
    dataflow: str, folds: Array, time: Array, rows: int, cols: int, *, overlap: bool, extra: int = 0
) -> Array:
    """Cycles in which the array is occupied.

    Args:
        dataflow: ``os``, ``ws`` or ``is``.
        folds: times the array is reloaded.
        time: streaming cycles of one fold.
        rows, cols: of the array.
        overlap: the next fold starts while the running one drains: folds follow each other after
            ``max(time, rows)`` cycles, the ``rows`` being the time that the shift chain of the stationary
            operand (for ``os``: the column's result bus) needs for one fold.
        extra: cycles added to every fold, such as a decoder's latency.

    Returns:
        int64, shape of ``folds`` and ``time`` broadcast. Edge folds cost as much as full ones.
    """
    skew = skew_cycles(dataflow, rows, cols) + extra
    if not overlap:
        return folds * (time + skew)
    return (folds - 1) * np.maximum(time, rows) + time + skew
