"""Errors of 8-bit models by kernels that saturate: the section Processors without VNNI of docs/benchmarks.md.

``python benchmarks/saturation.py --work FOLDER`` prints a Markdown table; on a processor with VNNI both
columns of a model are equal. Every model runs on the same samples with onnxruntime's usual kernels and with
exact ones; SQNR is that of the worst output against float32, time that of the thread with exact kernels over
that with the usual ones, for the last model. In the last column the same model has unsigned weights, which no
kernel saturates at, and whose sums are the same: processor time of one thread over that of signed ones.
"""

import itertools
import statistics
import time
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import prepared

from dybitq.data import fidelity
from dybitq.runtime.host import inspect_host
from dybitq.runtime.session import Session

SAMPLES = 128  # at most
ROUNDS = 60


def main() -> None:
    """Quantize in three ways, run each in two."""
    prepared.run(__doc__, prepared.NETWORKS, measure)


def measure(bench: prepared.Bench) -> None:
    """Print the table."""
    host = inspect_host()
    print(f"VNNI: {host.vnni}, products exact: {host.exact}\n")
    head = (
        "network",
        "onnxruntime int8, dB",
        "exact",
        "--no-reduce-range",
        "exact",
        "dybitq",
        "exact",
        "time",
        "unsigned weights, time",
    )
    row = prepared.table(head)
    for name in bench.networks:
        models = (
            bench.onnxruntime(name),
            bench.quantized(name, reduce_range=False),
            bench.quantized(name),
        )
        cells, ratio = [], 0.0
        for path in models:
            usual, exact, ratio = both(bench, name, path)
            cells += [f"{usual:.1f}", f"{exact:.1f}"]
        row(name, *cells, f"{ratio:.2f}", *unsigned_time(bench, name, models[-1]))


def both(bench: prepared.Bench, name: str, path: Path) -> tuple[float, float, float]:
    """SQNR with usual and with exact kernels in dB, and the time of exact ones over usual ones."""
    reference = Session(bench.model(name), 1)
    sessions = [Session(path, 1, exact_products=exact) for exact in (False, True)]
    totals = [{o.name: fidelity.init() for o in reference.outputs} for _ in sessions]
    ratios = []
    for feeds in itertools.islice(bench.batches(name, "val"), SAMPLES):
        wanted, spent = reference.run(feeds), []
        for session, total in zip(sessions, totals):
            start = time.thread_time()
            found = session.run(feeds)
            spent.append(time.thread_time() - start)
            for output, error in total.items():
                fidelity.update(error, np.asarray(found[output]), np.asarray(wanted[output]), output)
        ratios.append(spent[1] / spent[0])
    usual, exact = (min(fidelity.sqnr_db(error) for error in total.values()) for total in totals)
    return usual, exact, statistics.median(ratios)


def unsigned_time(bench: prepared.Bench, name: str, path: Path) -> tuple[str]:
    """Time with unsigned weights over that with signed ones; empty where weights are of ranges of the run."""
    model = onnx.load(path)
    if not make_unsigned(model.graph):
        return ("",)
    feeds = next(bench.batches(name, "val", 1))
    sessions = [Session(path, 1), Session(model.SerializeToString(), 1, name="unsigned weights")]
    same = [session.run(feeds) for session in sessions]
    assert all(np.array_equal(same[0][output], same[1][output]) for output in same[0])
    ratios = []
    for _ in range(ROUNDS):
        spent = []
        for session in sessions:
            session.run(feeds)
            start = time.thread_time()
            session.run(feeds)
            spent.append(time.thread_time() - start)
        ratios.append(spent[1] / spent[0])
    return (f"{statistics.median(ratios):.2f}",)


def make_unsigned(graph: onnx.GraphProto) -> int:
    """Give int8 weights a zero point of 128; how many there were."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    changed = 0
    for node in graph.node:
        weight = stored.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if weight is None or weight.data_type != onnx.TensorProto.INT8:
            continue
        scale = onnx.numpy_helper.to_array(stored[node.input[1]])
        codes = onnx.numpy_helper.to_array(weight).astype(np.int16) + 128
        weight.CopyFrom(onnx.numpy_helper.from_array(codes.astype(np.uint8), weight.name))
        zero = onnx.numpy_helper.from_array(np.full(scale.shape, 128, np.uint8), f"{weight.name}_zero")
        graph.initializer.append(zero)
        node.input[:] = [*node.input[:2], zero.name]
        changed += 1
    return changed


if __name__ == "__main__":
    main()
