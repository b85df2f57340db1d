"""``dybitq search``."""

from pathlib import Path
from typing import Any

import click

from dybitq.cli import console, options
from dybitq.cli._recipe import SECTIONS, recipe_options

_SECTIONS = {
    "Machine and budgets": (
        *("hardware", "settings", "shapes"),
        *("budgets", "minimise", "pareto", "stored"),
    ),
    "Method": ("sensitivity", "strategy"),
    **SECTIONS,
    "Data": ("data", "samples", "split", "drop_split"),
}


@click.command(cls=options.SectionedCommand, sections=_SECTIONS)
@options.model_argument
@click.option(
    "--statistics",
    type=options.EXISTING_FILE,
    required=True,
    help="Statistics of this model, from dybitq calibrate.",
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
    help="Shape of a model input, to price it; may be repeated.",
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
@click.option(
    "--pareto", type=click.IntRange(min=2), metavar="N", help="Write up to N plans of a Pareto front."
)
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
    help="Solver: ilp (exact), lagrangian, ebs, greedy-speedup or greedy-error.",
)
@click.option("--stored", is_flag=True, help="Also allow widths that the machine stores but runs wider.")
@click.option("--explain", is_flag=True, help="List for every layer what other choices would change.")
@click.option("--plot", type=options.OUTPUT_FILE, help="Picture of the plans, as .svg, .png or .pdf.")
@recipe_options(weights="int2 to int8, dybit3 to dybit5", activations="auto, int2 to int7, sparq4-5opt")
@options.data_option(required=False)
@click.option(
    "--samples",
    type=click.IntRange(min=2),
    help="Samples for sensitivities that run the network.  [default: 32, or all if fewer]",
)
@options.split_option("calib")
@click.option(
    "--drop-split",
    default="calib",
    show_default=True,
    help="Split of the data spec to measure --budget drop on.",
)
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
    recipe: Path | None,
    recipe_settings: dict[str, Any],
    plot: Path | None,
    force: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Find the formats of MODEL's weights and activations that are best within budgets.

    Writes a plan for ``quantize --plan``. A budget without a unit is a ratio to the same network at uniform
    int8. The formats to choose from are lists: --weights int8,int4,dybit4.
    """
    from dybitq.allocation.feasibility import InfeasibleError
    from dybitq.api.search import search
    from dybitq.cli.simulate import parse_shapes
    from dybitq.files import check_output
    from dybitq.hardware.machine import parse_settings
    from dybitq.report.allocate import infeasible_document
    from dybitq.report.front_plot import save_front

    options.check_sampling(data)
    if not any(budget.startswith("drop") for budget in given["budgets"]):
        options.refuse_given(
            ("drop_split",), "names the split that --budget drop is measured on; add --budget drop=0.5"
        )
    if plot is not None:
        inputs = (recipe, data, model, statistics, Path(hardware))
        check_output(plot, force=force, inputs=tuple(filter(None, inputs)))
    try:
        with console.progress() as progress:
            result = search(
                model,
                statistics,
                hardware,
                output,
                settings=parse_settings(settings),
                shapes=parse_shapes(shapes),
                recipe=recipe,
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
