"""``dybitq allocate``."""

import json
from pathlib import Path

import click

from dybitq.cli import console, options


@click.command()
@click.argument("problem", type=options.EXISTING_FILE)
@click.option(
    "--strategy",
    default="ilp",
    show_default=True,
    help="Solver: ilp (exact), lagrangian, ebs, greedy-speedup or greedy-error.",
)
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="greedy-speedup: number of groups with the largest cost to consider at every step.",
)
@click.option(
    "--nodes",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="ilp: nodes of the search tree after which to stop with the gap that is left.",
)
@click.option("--explain", is_flag=True, help="List for every group what other choices would change.")
@options.output_option(required=False, help="JSON file to write the solution to.")
@options.force_option
@options.json_option
def command(
    problem: Path,
    strategy: str,
    top_k: int,
    nodes: int,
    explain: bool,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Choose the best label for every group of PROBLEM within the budgets.

    PROBLEM is a JSON file with groups, their choices with objective and costs, ties between groups, and
    budgets. The solution comes with a certificate: a bound on its distance from the optimum.
    """
    from dybitq.allocation.feasibility import InfeasibleError
    from dybitq.allocation.strategies import StrategySettings
    from dybitq.api.allocate import allocate
    from dybitq.files import atomic_output, check_output
    from dybitq.report.allocate import infeasible_document

    if output is not None:
        check_output(output, force=force, inputs=(problem,))
    settings = StrategySettings(top_k=top_k, most_nodes=nodes)
    try:
        result = allocate(problem, strategy=strategy, settings=settings, reasons=explain)
    except InfeasibleError as error:
        if as_json:
            console.show("", infeasible_document(error), as_json=True)
        raise
    if output is not None:
        whole = {"schema_version": console.SCHEMA_VERSION, **result.document()}
        with atomic_output(output, force=force) as temporary:
            temporary.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    console.show_result(result, as_json=as_json)
