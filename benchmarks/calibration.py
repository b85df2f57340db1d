"""Time and memory of calibration against bare float32 runs: the section Calibration of docs/benchmarks.md.

``python benchmarks/calibration.py ZOO`` takes the folder with the networks and prints Markdown tables. Every
measurement is a process of its own that reports the seconds of its pass over the data (without imports and
loading, but with reading and decoding the data) and its peak resident memory. The ways to run take turns;
ratios are formed within a turn and their median is printed.

Two bare runs are measured, with the batch size of the calibration. ``plain`` is a loop that reads a batch and
runs it with onnxruntime's defaults, all cores inside each operator. ``workers`` runs as calibration does, one
batch on each core with reading spread over them, but fetches only the model's own outputs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

NETWORKS = ("mobilenet_v1_075_224", "squeezenet1_1")
SAMPLES, BATCH_SIZE = 256, 4
WAYS = ("plain", "workers", "none", "full")
MEMORY_NETWORK, MEMORY_SAMPLES = "resnet20_cifar10", (64, 1024)


def one(zoo: Path, name: str, way: str, samples: int, split: str) -> dict[str, float]:
    """One pass in this process: seconds, CPU seconds, and peak memory in MiB."""
    import resource

    from dybitq.calibration.run import CalibrationSettings, collect, model_inputs
    from dybitq.calibration.workers import OrderedFold, cores, run_workers
    from dybitq.data.spec import load_data
    from dybitq.graph.load import load
    from dybitq.graph.survey import survey
    from dybitq.records.statistics import MomentKind
    from dybitq.runtime.session import Session

    network = load(zoo / f"models/{name}.onnx")
    layers, inputs = survey(network), model_inputs(network)
    spec = zoo / f"specs/{name}.yaml"
    source = load_data(spec, inputs=inputs, split=split, samples=samples, batch_size=BATCH_SIZE)
    session = Session(zoo / f"models/{name}.onnx", None if way == "plain" else 1)
    start, cpu = time.perf_counter(), time.process_time()
    if way == "plain":
        for batch in source:
            session.run(batch.feeds)
    elif way == "workers":
        numbered = ((i, 0, batch) for i, batch in enumerate(source))

        def work(number: int, first: int, batch: object) -> None:
            session.run(batch.feeds)

        run_workers(numbered, work, lambda batch: None, OrderedFold(), cores())
    else:
        collect(network, layers, source, CalibrationSettings(richest=MomentKind(way), batch_size=BATCH_SIZE))
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measured(zoo: Path, name: str, way: str, samples: int, split: str = "calib") -> dict[str, float]:
    """:func:`one` in a fresh process, with BLAS on one thread as the command has it."""
    command = [sys.executable, __file__, str(zoo), "--one", name, way, str(samples), split]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout)


def median(values: list[float]) -> float:
    """Median, also of a single value."""
    return statistics.median(values)


def time_table(zoo: Path, rounds: int) -> None:
    """Seconds of every way, and ratios of calibration to both bare runs."""
    print(
        "| network | run | seconds | CPU seconds | / plain | / workers | peak MiB |",
        "|---" * 7 + "|",
        sep="\n",
    )
    for name in NETWORKS:
        turns = [{way: measured(zoo, name, way, SAMPLES) for way in WAYS} for _ in range(rounds)]
        for way in WAYS:
            seconds, cpu, memory = (median([t[way][k] for t in turns]) for k in ("seconds", "cpu", "memory"))
            ratios = [median([t[way]["seconds"] / t[bare]["seconds"] for t in turns]) for bare in WAYS[:2]]
            print(
                f"| {name} | {way} | {seconds:.2f} | {cpu:.2f} | {ratios[0]:.2f} | {ratios[1]:.2f} "
                f"| {memory:.0f} |",
                flush=True,
            )


def memory_table(zoo: Path) -> None:
    """Peak memory of calibration with full moments for few and for many samples."""
    print("\n| network | samples | seconds | peak MiB |\n|---|---|---|---|")
    for samples in MEMORY_SAMPLES:
        found = measured(zoo, MEMORY_NETWORK, "full", samples, "val")
        print(
            f"| {MEMORY_NETWORK} | {samples} | {found['seconds']:.2f} | {found['memory']:.0f} |", flush=True
        )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs=4, metavar=("NETWORK", "WAY", "SAMPLES", "SPLIT"))
    arguments = parser.parse_args()
    if arguments.one:
        name, way, samples, split = arguments.one
        print(json.dumps(one(arguments.zoo, name, way, int(samples), split)))
        return
    time_table(arguments.zoo, arguments.rounds)
    memory_table(arguments.zoo)


if __name__ == "__main__":
    main()
