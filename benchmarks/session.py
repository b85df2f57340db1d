"""Time to create a session of packed models, against onnxruntime's own int8 model of the same network.

``python benchmarks/session.py`` prints a Markdown table of ratios, by network and weight format. Sessions
are made in turns, on one thread; the time is processor time of the process, the ratio is formed within a
round, and the median over the rounds is printed.
"""

import time

import numpy as np
import prepared

from dybitq.runtime.session import Session

NETWORKS = ("resnet20_cifar10", "squeezenet1_1", "mobilenet_v1_075_224", "minilm_l6_v2")
WEIGHTS = ("int8", "int2", "dybit4", "int3", "int5", "int6", "int7")
BASE = "onnxruntime int8"
ROUNDS, SECONDS = 25, 20.0


def creation(models: dict[str, bytes]) -> dict[str, np.ndarray]:
    """Processor seconds of every round, by name; every round has its own order."""
    taken: dict[str, list[float]] = {name: [] for name in models}
    start, order = time.perf_counter(), np.random.default_rng(0)
    for turn in range(ROUNDS):
        for name in order.permutation(list(models)):
            before = time.process_time()
            session = Session(models[name], 1)
            taken[name].append(time.process_time() - before)
            del session
        if turn >= 6 and time.perf_counter() - start > SECONDS:
            break
    return {name: np.array(values) for name, values in taken.items()}


def measure(bench: prepared.Bench) -> None:
    """Print the table."""
    row = prepared.table(("network", f"{BASE}, ms", *WEIGHTS))
    for name in bench.networks:
        models = {BASE: bench.onnxruntime(name).read_bytes()}
        for weights in WEIGHTS:
            path = bench.quantized(name, weights=weights, rounding="nearest")
            models[weights] = path.read_bytes()
        taken = creation(models)
        ratios = [float(np.median(taken[weights] / taken[BASE])) for weights in WEIGHTS]
        row(name, f"{1e3 * float(np.median(taken[BASE])):.1f}", *(f"{ratio:.2f}" for ratio in ratios))


if __name__ == "__main__":
    prepared.run(__doc__, NETWORKS, measure)
