"""``dybitq search``."""

from pathlib import Path
from typing import Any

import click

from dybitq.cli import console, options
from dybitq.cli._recipe import recipe_options


@click.command()
@options.model_argument
@click.option(
    "--statistics", type=options.EXISTING_FILE, required=True, help="Statistics of this model (calibrate)."
)
@options.hardware_option()
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of the machine, such as array.rows=16; may be repeated.",
)
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=D,D,...",
    help="Shape of a model input, for the prices; may be repeated.",
)
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    metavar="NAME=VALUE",
    help="latency=0.6, latency=3ms, size=0.4, size=40kB, energy, memory, dram, bops, sqnr=20dB, drop=0.5.",
)
@click.option(
    "--minimise", metavar="COST", help="Cost to minimise where sqnr or drop is bounded.  [default: latency]"
)
@click.option("--pareto", type=click.IntRange(min=2), metavar="N", help="Write a front of up to N plans.")
@click.option(
    "--sensitivity",
    metavar="NAME",
    help="output-error, compensated or weight-nrmse; with --data also gain, divergence, hutchinson or "
    "orthogonality.  [default: gain with --data, else output-error]",
)
@click.option(
    "--strategy",
    default="ilp",
    show_default=True,
    help="How to search: ilp (exact), lagrangian, ebs, greedy-speedup or greedy-error.",
)
@click.option("--stored", is_flag=True, help="Also take widths that the machine stores but runs wider.")
@click.option("--explain", is_flag=True, help="Say for every layer what other choices would change.")
@click.option("--plot", type=options.OUTPUT_FILE, help="Picture of the plans, as .svg, .png or .pdf.")
@recipe_options
@options.data_option(required=False)
@click.option(
    "--samples",
    type=click.IntRange(min=2),
    help="Samples for sensitivities that run the network.  [default: 32, or all there are]",
)
@click.option("--split", help="Split of the data spec.  [default: calib; val to measure a drop]")
@options.output_option(help="Plan to write, NAME.yaml.")
@options.force_option
@options.json_option
def command(
    model: Path,
    statistics: Path,
    hardware: str,
    output: Path,
    data: Path | None,
    settings: tuple[str, ...],
    shapes: tuple[str, ...],
    recipe_settings: dict[str, Any],
    plot: Path | None,
    force: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Find the formats of MODEL's weights and activations that are best within budgets.

    Ends in a plan for ``quantize --plan``. A plain number as a budget is a ratio to the same network at
    uniform int8. What may be chosen is said as for quantize, with lists: --weights int8,int4,dybit4.
    """
    from dybitq.api.search import search
    from dybitq.cli.simulate import parse_shapes
    from dybitq.files import check_output
    from dybitq.hardware.machine import parse_settings
    from dybitq.report.allocate import infeasible_document
    from dybitq.report.front_plot import save_front
    from dybitq.search.feasibility import InfeasibleError

    options.check_sampling(data)
    if plot is not None:
        check_output(
            plot, force=force, inputs=tuple(filter(None, (model, statistics, given["recipe"], data)))
        )
    try:
        with console.progress() as progress:
            result = search(
                model,
                statistics,
                hardware,
                output,
                settings=parse_settings(settings),
                shapes=parse_shapes(shapes),
                data=data,
                force=force,
                progress=progress,
                **given,
                **recipe_settings,
            )
    except InfeasibleError as error:
        if as_json:
            console.show("", infeasible_document(error), as_json=True)
        raise
    if plot is not None:
        save_front(result, plot, force=force)
    console.show_result(result, as_json=as_json)
