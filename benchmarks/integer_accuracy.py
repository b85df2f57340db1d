"""Accuracy of integer-only networks beside plain W8A8 of the same recipe.

``python benchmarks/integer_accuracy.py`` prints a Markdown table: top-1 of float32, of plain W8A8 (float32
factors), of integer-only arithmetic with dyadic factors, and of the same with powers of two. What counts is
the drop from plain to integer-only on the same samples, with its paired standard error, and the drop that can
be excluded (drop - 1.64 standard errors). Networks without labels have their SQNR against float32 alone.
"""

import prepared
from accuracy import SIGMAS, measured, sqnr
from integer_networks import integer_model

from dybitq.api.evaluate import evaluate

WAYS: dict[str, dict[str, object]] = {"dyadic": {}, "pow2": {"scales": "pow2"}}
NETWORKS = tuple(name for name in prepared.NETWORKS if name != "minilm_l6_v2")  # Softmax and LayerNorm


def measure(bench: prepared.Bench) -> None:
    """Print the table."""
    row = prepared.table(
        ("network", "way", "top-1", "below W8A8", "± se", "less 1.64 se", "agreement", "SQNR dB")
    )
    for name in bench.networks:
        plain = bench.quantized(name)
        result = measured(bench, name, plain)
        best = result.metrics[0] if result.metrics else None
        if best is not None:
            row(name, "float32", f"{best.reference:.2f}", "", "", "", "", "")
        top = "" if best is None else f"{best.value:.2f}"
        agreement = "" if best is None else f"{result.agreement:.2f}"
        row(name, "W8A8", top, "", "", "", agreement, f"{sqnr(result):.1f}")
        for way, options in WAYS.items():
            path = integer_model(bench, name, **options)
            found = measured(bench, name, path)
            cells = ["", "", "", "", ""]
            if best is not None:
                against = evaluate(path, bench.spec(name), reference=plain).metrics[0]
                least = against.drop - SIGMAS * against.drop_error
                cells = [f"{against.value:.2f}", f"{against.drop:+.2f}", f"{against.drop_error:.2f}"]
                cells += [f"{least:+.2f}", f"{found.agreement:.2f}"]
            row(name, way, *cells, f"{sqnr(found):.1f}")


if __name__ == "__main__":
    prepared.run(__doc__, NETWORKS, measure)
