"""Plans that a search finds against uniform ones within the same latency: Search, in docs/benchmarks.md.

``python benchmarks/search_plans.py --work FOLDER [--plot FILE]`` prints a table. For every network and
machine there are three budgets: a third, two thirds and all of the way from the latency of uniform int8 to
that of uniform int4. The search is told the budget, the statistics and 32 samples of ``calib`` (sensitivity
``gain``); what it finds is compared with every uniform plan that is as fast: weights in int8, int4, int2 or
dybit4, activations in int8, int4 or int2, first and last layers at 8 bits. All plans are quantized
from the statistics. Top-1 is measured on ``val``, differences sample by sample. Measurements are kept in the
folder: a run that was cut off goes on where it stopped,
unless the package has changed since.
"""

import argparse
import hashlib
import json
import math
import os
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import prepared

from dybitq.allocation.prices import Prices
from dybitq.allocation.space import Space, open_space
from dybitq.api.quantize import quantize
from dybitq.api.search import search
from dybitq.api.search_request import SEARCHED
from dybitq.data.spec import load_data
from dybitq.data.tasks import TASKS
from dybitq.graph.load import load
from dybitq.graph.survey import survey
from dybitq.graph.work.workload import read_workload
from dybitq.hardware.machine import load_machine
from dybitq.plan.recipe import Recipe
from dybitq.plan.store import plan_text, read_plan
from dybitq.records.plan import Plan
from dybitq.runtime.session import Session

NETWORKS = ("resnet20_cifar10", "mobilenet_v1_075_224", "mobilenet_v2_cifar10lp", "squeezenet1_1")
MACHINES = ("dybit_zcu102_like", "bitfusion_45nm")
WEIGHTS, ACTIVATIONS = ("int8", "int4", "dybit4", "int2"), ("int8", "int4", "int2")
SIGMAS = 1.64  # one-sided 95 %
SENSITIVITY = "gain"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Point:
    """A plan on a machine: its latency as a share of uniform int8, and which samples it gets right."""

    label: str
    latency: float
    right: np.ndarray


def right(bench: prepared.Bench, name: str, plan: Plan, samples: int | None) -> np.ndarray:
    """Mark the samples of ``val`` that the quantized network classifies correctly, 0 or 1."""
    folder = bench.work / "plans"
    folder.mkdir(exist_ok=True)
    decisions = replace(plan, layers=tuple(replace(p, reason="") for p in plan.layers))
    key = hashlib.sha256(f"{plan_text(decisions)}{samples}".encode()).hexdigest()[:16]
    path = folder / f"{name}.{key}.npy"
    if not path.exists():
        with tempfile.TemporaryDirectory() as temporary:
            output = Path(temporary) / "quantized.onnx"
            quantize(bench.model(name), bench.statistics(name), output, plan=plan)
            np.save(path, _scores(bench, name, output, samples))
        print(f"{name}: {100 * np.load(path).mean():.2f} %", file=sys.stderr, flush=True)
    return np.asarray(np.load(path))


def _scores(bench: prepared.Bench, name: str, model: Path, samples: int | None) -> np.ndarray:
    session = Session(model)
    source = load_data(bench.spec(name), inputs=session.inputs, split="val", batch_size=16, samples=samples)
    task, found = TASKS.get(source.task or ""), []
    for batch in source:
        output = session.run(batch.feeds)[session.outputs[0].name][: batch.count]
        assert batch.labels is not None
        found.append(task.score(output, batch.labels, source.label_offset)["top-1"])
    return np.concatenate(found)


def uniform(space: Space, weights: str, activations: str) -> dict[str, tuple[str, str]]:
    """Use the same formats everywhere, except in layers that the recipe fixes."""
    return {
        c.layer: (
            weights if weights in c.weights else c.weights[0],
            activations if activations in c.activations else c.activations[0],
        )
        for c in space.choices
    }


def found_plan(bench: prepared.Bench, name: str, machine: str, budget_us: float) -> Plan:
    """Read the result of a search from the folder, or run it now."""
    path = bench.work / "plans" / f"{name}.{machine}.{budget_us:.3f}.yaml"
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        search(
            bench.model(name),
            bench.statistics(name),
            machine,
            path,
            budgets=[f"latency={budget_us!r}us"],
            sensitivity=SENSITIVITY,
            data=bench.spec(name),
        )
    return read_plan(path)


def compared(bench: prepared.Bench, name: str, machine: str, samples: int | None) -> list[dict[str, Any]]:
    """One row for each budget, and the points of the plot."""
    network = load(bench.model(name))
    layers = {layer.name: layer for layer in survey(network)}
    space = open_space(
        network,
        layers,
        Recipe(defaults=replace(SEARCHED, weights=",".join(WEIGHTS), activations=",".join(ACTIVATIONS))),
    )
    prices = Prices(read_workload(bench.model(name)), load_machine(machine), space)

    def latency(plan: Plan, assignment: dict[str, tuple[str, str]]) -> float:
        return prices.exact(plan, assignment)["latency"]

    plans = {(w, a): uniform(space, w, a) for w in WEIGHTS for a in ACTIVATIONS}
    costs = {pair: latency(space.plan(one), one) for pair, one in plans.items()}
    high, low = costs["int8", "int8"], costs["int4", "int4"]
    rows = []
    for share in (1 / 3, 2 / 3, 1.0):
        budget = high - share * (high - low)
        plan = found_plan(bench, name, machine, budget)
        mine = right(bench, name, plan, samples)
        fitting = {
            pair: right(bench, name, space.plan(plans[pair]), samples)
            for pair, cost in costs.items()
            if cost <= budget * (1 + 1e-9)
        }
        best = max(fitting, key=lambda pair: float(fitting[pair].mean()))
        gain = mine - fitting[best]
        rows.append(
            {
                "budget": budget / high,
                "latency": latency(plan, space.widest()) / high,
                "found": float(mine.mean()) * 100,
                "uniform": "/".join(best),
                "uniform_top1": float(fitting[best].mean()) * 100,
                "uniform_plans": {
                    "/".join(p): [costs[p] / high, float(v.mean()) * 100] for p, v in fitting.items()
                },
                "difference": float(gain.mean()) * 100,
                "error": float(gain.std(ddof=1)) / math.sqrt(gain.size) * 100,
            }
        )
    return rows


def verdict(row: dict[str, Any]) -> str:
    """Judge if the difference is larger than its error."""
    if row["difference"] > SIGMAS * row["error"]:
        return "better"
    return "worse" if row["difference"] < -SIGMAS * row["error"] else "equal"


def plot(results: dict[tuple[str, str], list[dict[str, Any]]], path: Path) -> None:
    """Top-1 against latency, one panel for each network and machine."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    names, machines = list(dict.fromkeys(n for n, _ in results)), list(dict.fromkeys(m for _, m in results))
    with mpl.rc_context({"svg.hashsalt": "dybitq", "svg.fonttype": "none"}):
        figure = Figure(figsize=(3 * len(names), 2.8 * len(machines)), layout="constrained")
        panels = figure.subplots(len(machines), len(names), squeeze=False)
        for (name, machine), rows in results.items():
            axes = panels[machines.index(machine)][names.index(name)]
            dots = {key: value for row in rows for key, value in row["uniform_plans"].items()}
            axes.scatter(
                [x for x, _ in dots.values()],
                [y for _, y in dots.values()],
                s=18,
                color="#dd6b20",
                label="uniform",
            )
            axes.plot(
                [row["latency"] for row in rows],
                [row["found"] for row in rows],
                "o-",
                color="#2b6cb0",
                label="found",
            )
            axes.set_title(f"{name}\n{machine}", fontsize=8)
            axes.set(xlabel="latency, share of int8", ylabel="top-1, %")
            axes.grid(alpha=0.3)
        panels[0][0].legend(fontsize=7)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, metadata=metadata)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--machines", default=",".join(MACHINES))
    parser.add_argument("--samples", type=int, help="samples of val  [default: all]")
    parser.add_argument("--work", type=Path, required=True, help="folder to keep everything in")
    parser.add_argument("--zoo", type=Path, default=os.environ.get("DYBITQ_ZOO"))
    parser.add_argument("--plot", type=Path, help="picture to write")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    bench = prepared.Bench(zoo=given.zoo, work=given.work, networks=tuple(given.networks.split(",")))
    prepared.check_work(bench)
    head = (
        "network",
        "machine",
        "budget",
        "found: latency",
        "top-1",
        "best uniform",
        "top-1",
        "difference",
        "± se",
        "",
    )
    row_of = prepared.table(head)
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name in bench.networks:
        for machine in given.machines.split(","):
            results[name, machine] = compared(bench, name, machine, given.samples)
            for row in results[name, machine]:
                row_of(
                    *(name, machine, f"{row['budget']:.3f}", f"{row['latency']:.3f}", f"{row['found']:.2f}"),
                    *(row["uniform"], f"{row['uniform_top1']:.2f}", f"{row['difference']:+.2f}"),
                    *(f"{row['error']:.2f}", verdict(row)),
                )
    (bench.work / "plans.json").write_text(
        json.dumps([[*key, rows] for key, rows in results.items()], indent=1)
    )
    if given.plot is not None:
        plot(results, given.plot)


if __name__ == "__main__":
    main()
