"""Time of the search: of the solver alone, and of the whole command from existing statistics.

``python benchmarks/search_time.py`` prints a Markdown table: 50 groups of 49 choices (weights and activations
of 2 to 8 bits), two budgets. The problems are random: sensitivities over four
decades, sizes over three and a half, latency and weight size as costs, on a machine with 2, 4 and 8 bit
modes; budgets at 5, 20 and 50 % of the way from the least to the most; with and without ties of
activations between six neighbours. Seconds are processor time of one thread, worst of five problems.

``python benchmarks/search_time.py --whole --work FOLDER`` times ``dybitq search`` on a network of the zoo,
with widths of 2 to 8 bits for weights and activations of every layer and two budgets: the whole process, from
statistics that exist, on one thread. With nothing kept and with the scores of an earlier search, in turn.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import prepared

from dybitq.allocation.solve import solve
from dybitq.records.allocation import Budget, Choice, ChoiceGroup, Problem, Tie

STRATEGIES = ("ilp", "lagrangian", "ebs", "greedy-speedup", "greedy-error")
GROUPS, BITS = 50, range(2, 9)


def problem(seed: int, tight: float, *, tied: bool) -> Problem:
    """One random problem."""
    random = np.random.default_rng(seed)
    groups = []
    for index in range(GROUPS):
        weight_error, input_error = 10.0 ** random.uniform(-4, 0, 2)
        macs, weights = 10.0 ** random.uniform(5, 8), 10.0 ** random.uniform(3, 6.5)
        choices = [
            Choice(
                label=f"w{w}a{a}",
                objective=weight_error * 4.0**-w + input_error * 4.0**-a,
                costs={
                    "latency": max(macs / (8 // w * (8 // a)) / 1024, weights * w / 64),
                    "size": weights * w / 8,
                },
                parts={"weights": f"{w}", "activations": f"{a}"},
            )
            for w in BITS
            for a in BITS
        ]
        groups.append(ChoiceGroup(name=f"layer{index}", choices=tuple(choices)))
    budgets = []
    for cost in ("latency", "size"):
        least = sum(min(choice.costs[cost] for choice in group.choices) for group in groups)
        most = sum(max(choice.costs[cost] for choice in group.choices) for group in groups)
        budgets.append(Budget(cost=cost, maximum=least + tight * (most - least)))
    ties = []
    if tied:
        names = [group.name for group in groups]
        ties = [Tie(groups=tuple(names[at : at + 6]), part="activations") for at in range(0, GROUPS - 5, 8)]
    return Problem(groups=tuple(groups), ties=tuple(ties), budgets=tuple(budgets))


def solver() -> None:
    """Print the table of the strategies."""
    print("| strategy | ties | budgets | seconds, worst | excess over the optimum, mean |")
    print("|---|---|---|---|---|")
    for tied in (False, True):
        for tight in (0.05, 0.2, 0.5):
            problems = [problem(seed, tight, tied=tied) for seed in range(5)]
            best: list[float] = []
            for strategy in STRATEGIES:
                seconds, excess = [], []
                for index, one in enumerate(problems):
                    start = time.process_time()
                    solution = solve(one, strategy)
                    seconds.append(time.process_time() - start)
                    if strategy == "ilp":
                        best.append(solution.objective)
                    excess.append(solution.objective / best[index] - 1)
                ties = "of 6" if tied else "none"
                print(f"| {strategy} | {ties} | {tight:.0%} | {max(seconds):.2f} | {np.mean(excess):.1%} |")


def command(bench: prepared.Bench, name: str) -> tuple[float, float]:
    """Processor and wall seconds of one ``dybitq search``, start of the interpreter included."""
    widths = ",".join(f"int{bits}" for bits in BITS)
    arguments = [
        *(
            "search",
            str(bench.model(name)),
            "--statistics",
            str(bench.statistics(name)),
            "--stored",
            "--force",
        ),
        *("--hardware", "dybit_zcu102_like", "--budget", "latency=0.8", "--budget", "size=0.5"),
        *("--weights", widths, "--activations", widths, "-o", str(bench.work / "timed.yaml")),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "dybitq", *arguments], check=True, capture_output=True, env=environment
    )
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return used, wall


def whole(bench: prepared.Bench, runs: int) -> None:
    """Print the table of whole searches."""
    row = prepared.table(("network", "scores", "processor s, median", "worst", "wall s, median", "worst"))
    for name in bench.networks:
        kept = Path(f"{bench.statistics(name)}.scores")
        found: dict[str, list[tuple[float, float]]] = {"none": [], "kept": []}
        for _ in range(runs):
            shutil.rmtree(kept, ignore_errors=True)
            for seconds in found.values():  # the second run finds the scores of the first
                seconds.append(command(bench, name))
        for state, seconds in found.items():
            columns = [f"{f(column):.2f}" for column in zip(*seconds) for f in (np.median, np.max)]
            row(name, state, *columns)


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whole", action="store_true", help="time the whole command")
    parser.add_argument("--networks", default="mobilenet_v2_cifar10lp")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--work", type=Path, help="folder to keep statistics in, for --whole")
    parser.add_argument("--zoo", type=Path, default=os.environ.get("DYBITQ_ZOO"))
    given = parser.parse_args()
    if not given.whole:
        solver()
        return
    if given.work is None:
        parser.error("--whole needs --work")
    given.work.mkdir(parents=True, exist_ok=True)
    whole(
        prepared.Bench(zoo=given.zoo, work=given.work, networks=tuple(given.networks.split(","))), given.runs
    )


if __name__ == "__main__":
    main()
