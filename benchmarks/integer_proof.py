"""The proof of integer-only networks, in both flavours, on real samples.

``python benchmarks/integer_proof.py`` prints a Markdown table: operators that are integer arithmetic, float
operators, the widest accumulator, samples and integer tensors compared with the numpy reference, values
compared, and how many differ. Networks with few validation samples add calibration samples. ``--flavours``
and ``--weights`` choose what is proven.
"""

import argparse
import sys
import time

import prepared
from integer_accuracy import NETWORKS
from integer_networks import integer_model

from dybitq.api.verify import verify
from dybitq.report.verify import VerifyResult
from dybitq.verification.static import NodeKind

SAMPLES = 64
LARGE = ("mobilenet_v2_cifar10lp", "mobilenet_v1_075_224", "squeezenet1_1", "espcn_y_x3", "yolox_nano")


def proofs(bench: prepared.Bench, name: str, flavour: str, weights: str) -> list[VerifyResult]:
    """Results on the validation split, and on the calibration split where that is short."""
    path = integer_model(bench, name, flavour, weights)
    found: list[VerifyResult] = []
    for split in ("val", "calib"):
        left = SAMPLES - sum(r.comparison.samples for r in found if r.comparison is not None)
        if left <= 0:
            break
        batch_size = 2 if name in LARGE else 8
        spec = bench.spec(name)
        found.append(verify(path, data=spec, split=split, samples=left, batch_size=batch_size))
    return found


def measure(bench: prepared.Bench, flavours: list[str], weights: str) -> None:
    """Print the table."""
    head = ("network", "flavour", "integer", "float", "bits", "samples", "tensors", "values", "differ", "s")
    row = prepared.table(head)
    for name in bench.networks:
        for flavour in flavours:
            start = time.perf_counter()
            found = proofs(bench, name, flavour, weights)
            compared = [r.comparison for r in found if r.comparison is not None]
            differ = sum(c.output_differences + sum(m.count for m in c.mismatches.values()) for c in compared)
            row(
                name,
                flavour,
                found[0].nodes[NodeKind.INTEGER] + found[0].nodes[NodeKind.MOVE],
                found[0].nodes[NodeKind.FLOAT],
                found[0].bits,
                sum(c.samples for c in compared),
                max(c.tensors for c in compared),
                f"{sum(c.values for c in compared):,}",
                differ,
                f"{time.perf_counter() - start:.0f}",
            )


def main() -> None:
    """Take what is proven off the command line, the rest is shared."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--flavours", default="fast,explicit")
    parser.add_argument("--weights", default="int8")
    mine, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    flavours = mine.flavours.split(",")
    prepared.run(__doc__, NETWORKS, lambda bench: measure(bench, flavours, mine.weights))


if __name__ == "__main__":
    main()
