"""Latency of packed models against onnxruntime's own int8 model of the same network, in turns in one run.

``python benchmarks/latency.py`` prints a Markdown table: median time of one sample on one thread, and its
ratio to the int8 model of onnxruntime's quantizer, formed within a round, median over the rounds. The
time is processor time of the running thread, which other work on the machine disturbs less than wall
time. Beside it stand the operators of the optimized graph that multiply: every quantized Conv has to be a
QLinearConv.
"""

import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import prepared

from dybitq.runtime.session import Session

NETWORKS = ("resnet20_cifar10", "squeezenet1_1")
WEIGHTS = ("int8", "dybit4", "int3", "int5", "dybit6")
BASE = "onnxruntime int8"
ROUNDS, SECONDS = 200, 15.0
PRODUCTS = ("QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul")
FLOATS = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "ConvInteger", "MatMulInteger")


def operators(path: Path) -> str:
    """Operators of the optimized graph that multiply, with their number."""
    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        Session(path, 1, optimized_model_path=optimized)
        nodes = onnx.load(optimized, load_external_data=False).graph.node
    found = Counter(node.op_type for node in nodes)
    return ", ".join(f"{found[op]} {op}" for op in (*PRODUCTS, *FLOATS) if found[op])


def in_turns(sessions: dict[str, Session], feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Seconds of thread time of every round, by name.

    Every round has an order of its own, so that no model always runs with warm caches.
    """
    for session in sessions.values():
        for _ in range(5):
            session.run(feeds)
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    start, order = time.perf_counter(), np.random.default_rng(0)
    for turn in range(ROUNDS):
        for name in order.permutation(list(sessions)):
            before = time.thread_time()
            sessions[name].run(feeds)
            taken[name].append(time.thread_time() - before)
        if turn >= 20 and time.perf_counter() - start > SECONDS:
            break
    return {name: np.array(values) for name, values in taken.items()}


def measure(bench: prepared.Bench) -> None:
    """Print the table."""
    row = prepared.table(("network", "model", "ms", f"/ {BASE}", "operators that multiply"))
    for name in bench.networks:
        paths = {BASE: bench.onnxruntime(name), "float32": bench.model(name)}
        paths |= {weights: bench.quantized(name, weights=weights) for weights in WEIGHTS}
        sessions = {label: Session(path, 1) for label, path in paths.items()}
        taken = in_turns(sessions, next(bench.batches(name, "val")))
        for label, path in paths.items():
            ratio = float(np.median(taken[label] / taken[BASE]))
            milliseconds = 1e3 * float(np.median(taken[label]))
            row(name, label, f"{milliseconds:.3f}", f"{ratio:.3f}", operators(path))


if __name__ == "__main__":
    prepared.run(__doc__, NETWORKS, measure)
