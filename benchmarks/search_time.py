"""Time of the search alone: 50 groups of 49 choices (weights and activations of 2 to 8 bits), two budgets.

``python benchmarks/search_time.py`` prints a Markdown table. The problems are random: sensitivities over four
decades, sizes over three and a half, latency and weight size as costs, on a machine with 2, 4 and 8 bit
modes; budgets at 5, 20 and 50 % of the way from the least to the most; with and without ties of
activations between six neighbours. Seconds are processor time of one thread, worst of five problems.
"""

import time

import numpy as np

from dybitq.allocation import Budget, Choice, Group, Problem, Tie
from dybitq.search.solve import solve

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
        groups.append(Group(name=f"layer{index}", choices=tuple(choices)))
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


def main() -> None:
    """Print the table."""
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


if __name__ == "__main__":
    main()
