"""Latency of integer-only models against onnxruntime's own int8 model, in turns in one run.

``python benchmarks/integer_latency.py`` prints a Markdown table like ``latency.py``: thread time of one
sample on one thread, and its ratio to onnxruntime's static int8 model, formed within a round, median over the
rounds.
"""

import numpy as np
import prepared
from integer_networks import integer_model
from latency import BASE, in_turns, operators

from dybitq.runtime.session import Session

NETWORKS = ("resnet20_cifar10", "squeezenet1_1")


def measure(bench: prepared.Bench) -> None:
    """Print the table."""
    row = prepared.table(("network", "model", "ms", f"/ {BASE}", "operators that multiply"))
    for name in bench.networks:
        paths = {
            BASE: bench.onnxruntime(name),
            "float32": bench.model(name),
            "plain W8A8": bench.quantized(name),
            "integer-only, fast": integer_model(bench, name),
            "integer-only, fast, dybit4": integer_model(bench, name, weights="dybit4"),
            "integer-only, fast, pow2": integer_model(bench, name, scales="pow2"),
            "integer-only, explicit": integer_model(bench, name, "explicit"),
        }
        sessions = {label: Session(path, 1) for label, path in paths.items()}
        taken = in_turns(sessions, next(bench.batches(name, "val")))
        for label, path in paths.items():
            ratio = float(np.median(taken[label] / taken[BASE]))
            milliseconds = 1e3 * float(np.median(taken[label]))
            row(name, label, f"{milliseconds:.3f}", f"{ratio:.3f}", operators(path))


if __name__ == "__main__":
    prepared.run(__doc__, NETWORKS, measure)
