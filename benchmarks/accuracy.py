"""Accuracy of quantized networks at default settings, beside onnxruntime's own quantizer.

``python benchmarks/accuracy.py`` prints two Markdown tables. The first has a row for each network with
labels: top-1 of the float32 network and of the W8A8 model, the drop with its paired standard error, the
drop that can be excluded (drop - 1.64 standard errors), agreement with float32, and the SQNR of the
outputs. The second has every network, W8A8 by dybitq and by onnxruntime, in the same run. ``--settings
weights=dybit4`` measures another setting.
"""

import argparse
import sys

import prepared

from dybitq.api.evaluate import evaluate
from dybitq.report.evaluate import EvaluateResult

SIGMAS = 1.64  # one-sided 95 %


def measured(bench: prepared.Bench, name: str, path: object) -> EvaluateResult:
    """Evaluate a model on the validation split, against the float32 network."""
    return evaluate(path, bench.spec(name), reference=bench.model(name))


def sqnr(result: EvaluateResult) -> float:
    """SQNR of the worst output, dB."""
    return min(output.sqnr_db for output in result.outputs)


def measure(bench: prepared.Bench, settings: dict[str, str], with_data: bool) -> None:
    """Print both tables."""
    ours = {}
    row = prepared.table(
        ("network", "float32", "top-1", "drop", "± se", "drop - 1.64 se", "agreement", "SQNR dB")
    )
    for name in bench.networks:
        path = bench.quantized(name, with_data=with_data, **settings)
        ours[name] = found = measured(bench, name, path)
        if found.metrics:
            best = found.metrics[0]
            excluded = best.drop - SIGMAS * best.drop_error
            row(
                name,
                f"{best.reference:.2f}",
                f"{best.value:.2f}",
                f"{best.drop:+.2f}",
                f"{best.drop_error:.2f}",
                f"{excluded:+.2f}",
                f"{found.agreement:.2f}",
                f"{sqnr(found):.1f}",
            )
    print()
    row = prepared.table(("network", "dybitq drop", "SQNR dB", "onnxruntime drop", "SQNR dB"))
    for name, found in ours.items():
        other = measured(bench, name, bench.onnxruntime(name))
        drops = [f"{r.metrics[0].drop:+.2f}" if r.metrics else "" for r in (found, other)]
        row(name, drops[0], f"{sqnr(found):.1f}", drops[1], f"{sqnr(other):.1f}")


def main() -> None:
    """Take the settings off the command line, the rest is shared."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--settings", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--with-data", action="store_true")
    mine, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    settings = dict(entry.split("=", 1) for entry in mine.settings)
    prepared.run(__doc__, prepared.NETWORKS, lambda bench: measure(bench, settings, mine.with_data))


if __name__ == "__main__":
    main()
