"""Quality of sensitivities as predictions of the error of mixed plans: Search, in docs/benchmarks.md.

``python benchmarks/search_sensitivity.py --work FOLDER`` draws random plans for every network (formats of all
layers' weights and of all tensors at random, with the ties that a search respects), quantizes them from the
statistics, measures the SQNR of the output on the first samples of ``val``, and prints, for every
sensitivity, Spearman's rank correlation of prediction and measurement and the seconds that it takes.
Measurements and scores are kept in the folder: a run that was cut off goes on where it stopped,
unless the package has changed since.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import prepared

from dybitq.allocation.formulation import error_of
from dybitq.allocation.sensitivity import SENSITIVITIES, Scores, Subject
from dybitq.allocation.space import Space, bits_of, open_space
from dybitq.api.evaluate import evaluate
from dybitq.api.quantize import quantize
from dybitq.api.search_request import SEARCHED
from dybitq.calibration.store import load as load_statistics
from dybitq.data.spec import load_data
from dybitq.graph.export import to_bytes
from dybitq.graph.load import load
from dybitq.graph.survey import survey
from dybitq.plan.recipe import Recipe
from dybitq.runtime.session import Session

NETWORKS = ("resnet20_cifar10", "mobilenet_v1_075_224", "mobilenet_v2_cifar10lp", "squeezenet1_1")
WEIGHTS = "int8,int6,int5,int4,int3,dybit4"
ACTIVATIONS = "int8,int6,int5,int4"
PLANS = 30
SAMPLES = 128  # of val, for the measured SQNR
PROBES = 32  # of calib, for sensitivities that run the network


def random_assignment(space: Space, random: np.random.Generator, draw: str) -> dict[str, tuple[str, str]]:
    """Draw a format for every layer's weights and for every tensor, independently.

    ``alike``: all formats are equally likely. ``shares``: every plan first draws how likely a format below
    8 bits is, so that plans range from nearly all wide to nearly all narrow.
    """
    narrow = random.uniform() if draw == "shares" else None

    def pick(names: tuple[str, ...]) -> str:
        if narrow is None:
            return names[random.integers(len(names))]
        if len(names) == 1 or random.uniform() > narrow:
            return names[0]
        return names[1 + random.integers(len(names) - 1)]

    tensors: dict[str, str] = {}
    found = {}
    for choice in space.choices:
        activations = choice.activations[0]
        if choice.root is not None:
            drawn = pick(choice.activations)
            activations = tensors.setdefault(choice.root, drawn)
        found[choice.layer] = (pick(choice.weights), activations)
    return found


def measured(
    bench: prepared.Bench, name: str, space: Space, samples: int, draw: str
) -> list[tuple[dict[str, tuple[str, str]], float]]:
    """Random plans and the SQNR of their outputs, dB."""
    folder = bench.work / "sensitivity"
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    found = []
    for number in range(PLANS):
        assignment = random_assignment(space, random, draw)
        key = hashlib.sha256(json.dumps([assignment, samples]).encode()).hexdigest()[:12]
        path = folder / f"{name}.{number:02d}.{key}.json"
        if not path.exists():
            with tempfile.TemporaryDirectory() as temporary:
                output = Path(temporary) / "quantized.onnx"
                quantize(bench.model(name), bench.statistics(name), output, plan=space.plan(assignment))
                reference = bench.model(name)
                result = evaluate(output, bench.spec(name), reference=reference, samples=samples)
            path.write_text(json.dumps({"sqnr_db": min(one.sqnr_db for one in result.outputs)}))
            print(f"{name} plan {number}: {path.read_text()}", file=sys.stderr, flush=True)
        found.append((assignment, json.loads(path.read_text())["sqnr_db"]))
    return found


def scored(bench: prepared.Bench, name: str, space: Space, sensitivity: str) -> tuple[Scores, float]:
    """Scores and the seconds they took."""
    path = bench.work / "sensitivity" / f"{name}.{sensitivity}.json"
    if not path.exists():
        network = space.network

        def source() -> Any:
            inputs = Session(to_bytes(network.model), name=name).inputs
            return load_data(bench.spec(name), inputs=inputs, split="calib", batch_size=16, samples=PROBES)

        statistics = load_statistics(bench.statistics(name))
        start = time.perf_counter()
        scores = SENSITIVITIES.get(sensitivity)(
            Subject(space=space, statistics=statistics, source=source, samples=PROBES)
        )
        seconds = time.perf_counter() - start
        document = {"weights": scores.weights, "activations": scores.activations, "fixed": scores.fixed}
        document |= {"relative_error": scores.relative_error}
        path.write_text(json.dumps({"scores": document, "seconds": seconds}))
        print(f"{name} {sensitivity}: {seconds:.1f} s", file=sys.stderr, flush=True)
    kept = json.loads(path.read_text())
    return Scores(**kept["scores"]), kept["seconds"]


def spearman(a: list[float], b: list[float]) -> float:
    """Correlation of ranks, ties at their mean rank."""
    ranks = [_ranks(np.array(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse])


def mean_bits(space: Space) -> Scores:
    """Score without knowledge of the network: ``4^-bits``, every weight and activation alike."""
    weights = {c.layer: {w: 4.0 ** -bits_of(w) for w in c.weights} for c in space.choices}
    return Scores(
        weights=weights,
        activations={c.layer: {a: 4.0 ** -bits_of(a) for a in c.activations} for c in space.choices},
    )


def one_network(
    bench: prepared.Bench, name: str, sensitivities: list[str], samples: int, draw: str
) -> dict[str, Any]:
    """Rank correlations by sensitivity."""
    network = load(bench.model(name))
    layers = {layer.name: layer for layer in survey(network)}
    defaults = prepared.replace(SEARCHED, weights=WEIGHTS, activations=ACTIVATIONS)
    space = open_space(network, layers, Recipe(defaults=defaults))
    plans = measured(bench, name, space, samples, draw)
    truth = [sqnr for _, sqnr in plans]
    found: dict[str, Any] = {"bits alone": (_correlation(mean_bits(space), plans, truth), 0.0, None)}
    for sensitivity in sensitivities:
        scores, seconds = scored(bench, name, space, sensitivity)
        offset = None
        if scores.relative_error:
            errors = np.array([-10 * np.log10(error_of(scores, plan)) for plan, _ in plans])
            offset = float(np.mean(np.abs(errors - np.array(truth))))
        found[sensitivity] = (_correlation(scores, plans, truth), seconds, offset)
    return found


def _correlation(
    scores: Scores, plans: list[tuple[dict[str, tuple[str, str]], float]], truth: list[float]
) -> float:
    return spearman([-error_of(scores, plan) for plan, _ in plans], truth)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--sensitivities", default="")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--draw", choices=("alike", "shares"), default="alike")
    parser.add_argument("--work", type=Path, required=True, help="folder to keep everything in")
    parser.add_argument("--zoo", type=Path, default=os.environ.get("DYBITQ_ZOO"))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    bench = prepared.Bench(zoo=given.zoo, work=given.work, networks=tuple(given.networks.split(",")))
    prepared.check_work(bench)
    names = given.sensitivities.split(",") if given.sensitivities else sorted(SENSITIVITIES)
    results: Mapping[str, dict[str, Any]] = {
        name: one_network(bench, name, names, given.samples, given.draw) for name in bench.networks
    }
    row = prepared.table(("sensitivity", *bench.networks, "seconds, worst", "error of the SQNR, dB, mean"))
    for sensitivity in ("bits alone", *names):
        cells = [results[name][sensitivity] for name in bench.networks]
        offsets = [cell[2] for cell in cells if cell[2] is not None]
        row(
            sensitivity,
            *(f"{cell[0]:.3f}" for cell in cells),
            f"{max(cell[1] for cell in cells):.1f}",
            f"{np.mean(offsets):.1f}" if offsets else "",
        )


if __name__ == "__main__":
    main()
