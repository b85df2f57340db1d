"""T4: the roofline preset against HAWQ-V3's kernel times, and the fit of its constants.

    python benchmarks/simulator_t4.py KERNELS.csv [--fit]

KERNELS is HAWQ-V3's table of TVM kernels (data and weight shapes, seconds), batch 8.
"""

import argparse
import csv
import itertools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dybitq.hardware.machine import load_machine
from dybitq.hardware.price import simulate
from dybitq.records.workload import OpWork, TensorWork, Workload


class Kernel(NamedTuple):
    """One measured kernel."""

    bits: int
    shape: tuple[int, int, int]  # m, k, n
    inputs: int
    microseconds: float


def kernels(path: Path) -> list[Kernel]:
    """Read the table; convolutions have their padding in the data shape."""
    found = []
    with path.open() as lines:
        for row in csv.DictReader(lines):
            data, weight = json.loads(row["data_shape"]), json.loads(row["weight_shape"])
            bits = 4 if row["data_dtype"] == "uint4" else 8
            if row["op"].startswith("dense"):
                shape, inputs = (data[0], data[1], weight[0]), data[0] * data[1]
            else:
                batched_last = "HWNC" in row["op"]
                height, width, batch, channels = (
                    data if batched_last else (data[1], data[2], data[0], data[3])
                )
                stride = json.loads(row["stride"])[0]
                pixels = ((height - weight[0]) // stride + 1) * ((width - weight[1]) // stride + 1)
                shape = batch * pixels, weight[0] * weight[1] * channels, weight[2]
                inputs = height * width * batch * channels
            found.append(Kernel(bits, shape, inputs, float(row["seconds"]) * 1e6))
    return found


def workload(kernel: Kernel) -> Workload:
    """One product."""
    m, k, n = kernel.shape
    bits = kernel.bits
    return Workload(
        name="kernel",
        tensors=(
            TensorWork(name="x", elements=kernel.inputs, bits=bits),
            TensorWork(name="w", elements=k * n, bits=bits, constant=True),
            TensorWork(name="y", elements=m * n, bits=bits),
        ),
        ops=(
            OpWork(
                name="kernel", op_type="Conv", groups=1, m=m, k=k, n=n, inputs=(0, 1), output=2,
                w_bits=bits, a_bits=bits,
            ),
        ),
        outputs=(2,),
    )  # fmt: skip


def fit(measured: list[Kernel]) -> tuple[float, float, float, float]:
    """Least mean relative error over a grid of rates, bandwidths and fixed times, of one width."""
    grid = itertools.product(np.arange(4, 20, 0.25), (300, 400, 546, 750, 1000, 1500), np.arange(0, 4, 0.2))
    best = (np.inf, 0.0, 0.0, 0.0)
    for rate, bandwidth, fixed in grid:
        errors = []
        for kernel in measured:
            m, k, n = kernel.shape
            size = (kernel.inputs + k * n) * kernel.bits / 8 + m * n * 4
            time = fixed + m * k * n / (rate * 1e6) + size / (bandwidth * 1e3)
            errors.append(abs(time / kernel.microseconds - 1))
        best = min(best, (float(np.mean(errors)), float(rate), float(bandwidth), float(fixed)))
    return best


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kernels", type=Path)
    parser.add_argument("--fit", action="store_true")
    chosen = parser.parse_args()
    measured = kernels(chosen.kernels)
    for name in ("t4_hawq_calibrated", "roofline_peak_t4"):
        machine = load_machine(name)
        prices = [simulate(workload(kernel), machine).latency_us for kernel in measured]
        errors = [price / kernel.microseconds - 1 for price, kernel in zip(prices, measured)]
        for bits in (8, 4):
            chosen_errors = [abs(error) for error, kernel in zip(errors, measured) if kernel.bits == bits]
            print(f"{name}: INT{bits}, {len(chosen_errors)} kernels, mean error {np.mean(chosen_errors):.1%}")
        ratio = [kernel.microseconds / price for price, kernel in zip(prices, measured)]
        middle = np.median(ratio)
        print(
            f"{name}: all {len(errors)}: {np.mean(np.abs(errors)):.1%}; median measured / priced {middle:.2f}"
        )
    if chosen.fit:
        for bits in (8, 4):
            error, rate, bandwidth, fixed = fit([kernel for kernel in measured if kernel.bits == bits])
            print(f"fitted INT{bits}: {rate:g} TMAC/s, {bandwidth:g} GB/s, {fixed:.1f} us: {error:.1%}")


if __name__ == "__main__":
    main()
