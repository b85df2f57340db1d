"""Speed of the simulator: a full report, a sweep of machines (benchmarks/search_time.py times searches).

python benchmarks/simulator_speed.py [--points 10000] [--workers 2]
"""

import argparse
import time
from collections.abc import Callable

import networks
import onnx_ir as ir

from dybitq.graph.work.workload import workload_of_model
from dybitq.hardware.machine import load_machine
from dybitq.hardware.price import prepare, simulate
from dybitq.hardware.sweep import sweep


def measured(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Best wall and CPU milliseconds of several runs, after one to warm up."""
    run()
    wall, used = [], []
    for _ in range(repeats):
        began, cpu = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - began)
        used.append(time.process_time() - cpu)
    return min(wall) * 1e3, min(used) * 1e3


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    work = workload_of_model(ir.from_proto(networks.ZCU102["resnet50"]()), name="resnet50")
    for name in ("dybit_zcu102_like", "bitfusion_45nm", "scalesim_default", "zcu102_dpu_b4096"):
        machine = load_machine(name)
        ready = prepare(work, machine.fusion)
        report = measured(lambda m=machine, p=ready: simulate(work, m, prepared=p), 20)
        print(f"{name}: report {report[0]:.2f} ms ({report[1]:.2f} CPU)")
    side = round(chosen.points**0.5)
    grid = {"array.rows": tuple(range(8, 8 + side)), "dram.gb_per_s": tuple(1 + 0.5 * i for i in range(side))}
    began = time.perf_counter()
    result = sweep(work, "dybit_zcu102_like", grid, workers=chosen.workers)
    seconds = time.perf_counter() - began
    refused, count = sum(bool(point.error) for point in result.points), len(result.points)
    print(f"sweep of {count} machines, {chosen.workers} workers: {seconds:.1f} s ({refused} refused)")


if __name__ == "__main__":
    main()
