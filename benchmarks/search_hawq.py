"""HAWQ-V3's published bit allocations, found again by ``dybitq allocate``.

``python benchmarks/search_hawq.py INPUTS.json`` takes the published inputs (Hessian traces, weight errors,
sizes, BOPS and T4 latencies of every layer; ties; the nine published configurations), writes every problem
as a PROBLEM.json into a temporary folder, runs the command on it, and prints a Markdown table. It fails if
a configuration differs.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STRATEGIES = ("ilp", "lagrangian", "ebs", "greedy-speedup", "greedy-error")


def problem(golden: dict[str, Any], constraint: str, ratio: float) -> dict[str, Any]:
    """One published problem as a document; the budget lies at ``ratio`` between all 4 and all 8 bits."""
    inputs = golden["inputs"]
    costs = {
        "size": {bits: [n * bits / 8 / 2**20 for n in inputs["params"]] for bits in (4, 8)},
        "bops": {4: [n / 64e6 for n in inputs["macs"]], 8: [n / 16e6 for n in inputs["macs"]]},
        "latency": {bits: inputs[f"lat_int{bits}ms"] for bits in (4, 8)},
    }[constraint]
    groups = [
        {
            "name": f"layer{layer}",
            "choices": [
                {
                    "label": str(bits),
                    "objective": trace * inputs[f"dW{bits}_sq"][layer],
                    "costs": {constraint: costs[bits][layer]},
                }
                for bits in (4, 8)
            ],
        }
        for layer, trace in enumerate(inputs["trace"])
    ]
    low, high = sum(costs[4]), sum(costs[8])
    ties = [[f"layer{layer}" for layer in tie] for tie in golden["ties"]]
    return {"groups": groups, "ties": ties, "budgets": {constraint: low + ratio * (high - low)}}


def allocate(document: dict[str, Any], strategy: str) -> dict[str, Any]:
    """Run the command on a problem."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.json"
        path.write_text(json.dumps(document))
        command = [sys.executable, "-m", "dybitq", "allocate", str(path), "--strategy", strategy, "--json"]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(answer.stdout))


def main(path: Path) -> int:
    """Print the table; how many configurations differ."""
    golden = json.loads(path.read_text())
    print("| constraint | ratio | bits found | objective | cost | limit | published | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    different = 0
    gaps: dict[str, list[float]] = {strategy: [] for strategy in STRATEGIES}
    for row in golden["solutions"]:
        document = problem(golden, row["constraint"], row["ratio"])
        start = time.perf_counter()
        answer = allocate(document, "ilp")
        seconds = time.perf_counter() - start
        bits = "".join(answer["choices"].values())
        base = sum(group["choices"][0]["objective"] for group in document["groups"])
        limit, cost = document["budgets"][row["constraint"]], answer["costs"][row["constraint"]]
        facts = (round(answer["objective"] - base, 6), round(cost, 5), round(limit, 5))
        same = (bits, *facts) == (row["bits"], row["objective"], row["cost"], row["limit"])
        different += not same
        print(
            f"| {row['constraint']} | {row['ratio']} | `{bits}` | {facts[0]:.6f} | {facts[1]:.5f} "
            f"| {facts[2]:.5f} | {'equal' if same else 'DIFFERENT: ' + row['bits']} | {seconds:.2f} |"
        )
        for strategy in STRATEGIES:
            gaps[strategy].append(allocate(document, strategy)["objective"] / answer["objective"] - 1)
    print("\n| strategy | optimal | mean excess over the optimum | worst |")
    print("|---|---|---|---|")
    for strategy, values in gaps.items():
        optimal, mean = sum(value < 1e-9 for value in values), sum(values) / len(values)
        print(f"| {strategy} | {optimal} of {len(values)} | {mean:.2%} | {max(values):.2%} |")
    return different


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])) if len(sys.argv) == 2 else __doc__)
