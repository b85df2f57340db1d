"""ZCU102: the preset against AMD's measured latencies, the fit of its constants, and other networks.

    python benchmarks/simulator_zcu102.py [MEASURED.csv] [--fit]

MEASURED has the columns ``model`` and ``e2e_latency_ms_1thread``; without it AMD's figures below are used
(Vitis AI 1.4 model zoo, ZCU102 with three B4096 cores at 281 MHz, one thread, end to end, INT8).
"""

import argparse
import csv
from collections.abc import Callable, Iterable
from pathlib import Path

import networks
import numpy as np
import onnx_ir as ir

from dybitq.graph.work.workload import workload_of_model
from dybitq.hardware.engine import Prepared
from dybitq.hardware.engines.dpu import block_cycles
from dybitq.hardware.machine import load_machine
from dybitq.hardware.price import prepare, simulate, workload_widths
from dybitq.hardware.streaming import moved_once
from dybitq.records.workload import Workload

PRESET = "zcu102_dpu_b4096"
MEASURED_MS = {
    "resnet18": 5.46, "resnet50": 13.75, "resnet_v1_50": 12.56, "resnet_v1_101": 23.48,
    "resnet_v1_152": 34.29, "vgg16": 49.75, "vgg19": 57.68, "mobilenet_v1_1.0": 3.37,
    "mobilenet_v1_0.5": 1.40, "mobilenet_v1_0.25": 0.89, "mobilenet_v2_1.0": 4.08, "mobilenet_v2_1.4": 5.57,
}  # fmt: skip
HELD_OUT_MS = {
    "inception_v1": 5.57, "inception_v3": 16.99, "inception_v4": 34.95, "squeezenet1_1": 3.69,
    "yolov2_voc": 37.88, "yolov3_voc": 75.63, "tiny_yolov3": 8.51,
}  # fmt: skip

Parameters = tuple[float, float, float, float]
"""Efficiency, GB/s, microseconds per launch, fixed milliseconds."""


def workloads(names: Iterable[str]) -> dict[str, Workload]:
    """Write the networks as ONNX with random weights, and read them back as workloads."""
    builders = {**networks.ZCU102, **networks.HELD_OUT}
    return {name: workload_of_model(ir.from_proto(builders[name]()), name=name) for name in names}


class Model:
    """Latency of one network as a function of the four parameters; shapes are priced once."""

    def __init__(self, ready: Prepared) -> None:
        machine = load_machine(PRESET)
        self._microseconds = block_cycles(machine.dpu, ready)[:, 0] / machine.clock_mhz
        self._kilobytes = moved_once(ready, workload_widths(machine, ready)).total[:, 0] / 1e3

    def milliseconds(self, parameters: Parameters) -> float:
        """Larger of computing and moving for every launch, and the fixed times."""
        efficiency, bandwidth, launch, fixed = parameters
        busy = np.maximum(self._microseconds / efficiency, self._kilobytes / bandwidth)
        return float(busy.sum() + launch * len(busy)) / 1e3 + fixed


def fit(models: dict[str, Model], measured: dict[str, float]) -> Parameters:
    """Least squares of relative errors by a pattern search; starts from round numbers."""

    def loss(parameters: Parameters) -> float:
        errors = [model.milliseconds(parameters) / measured[name] - 1 for name, model in models.items()]
        return float(np.mean(np.square(errors)))

    best: Parameters = (0.8, 8.0, 20.0, 0.1)
    lowest, step = loss(best), 0.3
    while step > 1e-4:
        moved = False
        for candidate in _neighbours(best, step):
            value = loss(candidate)
            if candidate[0] <= 1 and value < lowest:
                best, lowest, moved = candidate, value, True
        step *= 1.0 if moved else 0.7
    return best


def _neighbours(point: Parameters, step: float) -> Iterable[Parameters]:
    """Every parameter up and down, alone and against another."""
    for first in range(4):
        for second in range(-1, 4):
            for up in (1 + step, 1 / (1 + step)):
                values = list(point)
                values[first] *= up
                if second >= 0 and second != first:
                    values[second] /= up
                yield values[0], values[1], values[2], values[3]


def table(price: Callable[[str], float], measured: dict[str, float]) -> list[float]:
    """Print measured and priced latency; return the errors."""
    errors = []
    for name, milliseconds in measured.items():
        mine = price(name)
        errors.append(mine / milliseconds - 1)
        print(f"| {name} | {milliseconds:.2f} | {mine:.2f} | {errors[-1]:+.1%} |")
    print(f"mean {np.mean(np.abs(errors)):.2%}, largest {np.max(np.abs(errors)):.1%}\n")
    return errors


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measured", type=Path, nargs="?")
    parser.add_argument("--fit", action="store_true", help="fit again, with leave-one-out")
    chosen = parser.parse_args()
    measured = dict(MEASURED_MS)
    if chosen.measured:
        with chosen.measured.open() as lines:
            measured = {row["model"]: float(row["e2e_latency_ms_1thread"]) for row in csv.DictReader(lines)}
    works, machine = workloads([*measured, *HELD_OUT_MS]), load_machine(PRESET)

    def price(name: str) -> float:
        return simulate(works[name], machine).latency_us / 1e3

    print("| network | measured ms | priced ms | error |\n|---|---|---|---|")
    table(price, measured)
    print("not seen by the fit\n\n| network | measured ms | priced ms | error |\n|---|---|---|---|")
    table(price, HELD_OUT_MS)
    resnet = prepare(works["resnet50"], machine.fusion)
    moved = float(moved_once(resnet, workload_widths(machine, resnet)).total.sum()) / 1e6
    print(f"ResNet-50 moves {moved:.1f} MB here; AMD's 3132 MB/s (PG338) are {3132 * 13.75e-3:.1f} MB\n")
    if chosen.fit:
        models = {name: Model(prepare(works[name], machine.fusion)) for name in measured}
        best = fit(models, measured)
        text = "efficiency {:.4f}, {:.3f} GB/s, {:.2f} us per launch, {:.4f} ms fixed"
        print("fitted:", text.format(*best))
        left_out = []
        for name in measured:
            others = {other: model for other, model in models.items() if other != name}
            left_out.append(models[name].milliseconds(fit(others, measured)) / measured[name] - 1)
        print(f"leave-one-out: mean {np.mean(np.abs(left_out)):.2%}, largest {np.max(np.abs(left_out)):.1%}")


if __name__ == "__main__":
    main()
