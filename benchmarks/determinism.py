"""The same command twice: do statistics, quantized model and plan have the same bytes?

``python benchmarks/determinism.py`` runs ``dybitq calibrate`` and ``dybitq quantize`` in fresh processes,
under different hash seeds and numbers of threads, and prints a Markdown table of hashes.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import prepared

NETWORKS = ("mnist_cnn", "kws_dscnn", "resnet20_cifar10", "minilm_l6_v2")
SAMPLES = "64"
SETTINGS = (("--weights", "dybit4"), ("--weights", "auto3", "--rounding", "nearest"))
ENVIRONMENTS = (
    {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
    {"PYTHONHASHSEED": "4242", "OMP_NUM_THREADS": "2"},
)


def dybitq(environment: dict[str, str], *arguments: object) -> None:
    """Run a verb in a process of its own."""
    command = [sys.executable, "-m", "dybitq", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment})


def files(bench: prepared.Bench, name: str, environment: dict[str, str], folder: Path) -> dict[str, str]:
    """Hashes of everything that two commands write."""
    statistics = folder / "statistics"
    dybitq(
        environment,
        *("calibrate", bench.model(name), "--data", bench.spec(name)),
        *("--samples", SAMPLES, "-o", statistics),
    )
    found = {"statistics": prepared.sha256(statistics)}
    for number, settings in enumerate(SETTINGS):
        model, plan = folder / f"{number}.onnx", folder / f"{number}.yaml"
        dybitq(
            environment,
            *("quantize", bench.model(name), "--statistics", statistics, *settings),
            *("-o", model, "--save-plan", plan),
        )
        label = " ".join(settings).replace("--weights ", "")
        found[f"model, {label}"] = prepared.sha256(model)
        found[f"plan, {label}"] = prepared.sha256(plan)
    return found


def measure(bench: prepared.Bench) -> None:
    """Print the table."""
    row = prepared.table(("network", "file", "SHA-256", "same"))
    for name in bench.networks:
        results = []
        for environment in ENVIRONMENTS:
            with tempfile.TemporaryDirectory() as folder:
                results.append(files(bench, name, environment, Path(folder)))
        for label, digest in results[0].items():
            row(name, label, digest[:16], "yes" if digest == results[1][label] else "NO")


if __name__ == "__main__":
    prepared.run(__doc__, NETWORKS, measure)
