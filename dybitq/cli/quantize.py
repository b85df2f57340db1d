"""``dybitq quantize``."""

from dataclasses import replace
from pathlib import Path

import click

from dybitq.cli import console, options


@click.command()
@options.model_argument
@click.option(
    "--statistics", type=options.EXISTING_FILE, required=True, help="Statistics of this model (calibrate)."
)
@options.output_option(help="Quantized ONNX file to write.")
@click.option(
    "--recipe", type=options.EXISTING_FILE, help="Recipe: defaults, then rules by operator and name."
)
@click.option("--plan", type=options.EXISTING_FILE, help="Plan to carry out as it stands.")
@click.option("--weights", help="Weight format, such as int8, int4, dybit4, auto3.  [default: int8]")
@click.option(
    "--activations",
    help="auto, int8, dynamic8, float, int4 to int7, dybit4, sparq4-5opt, ...  [default: auto]",
)
@click.option(
    "--granularity", type=click.Choice(["channel", "tensor"]), help="Weight scales.  [default: channel]"
)
@click.option("--scale", help="Weight scale method: mse, max.  [default: mse]")
@click.option("--rounding", help="Weight rounding: compensated, nearest.  [default: compensated]")
@click.option("--range", "range_", help="Activation range: mse, minmax, percentile, entropy.  [default: mse]")
@click.option(
    "--first-last", help="Weight format of first and last layers; 'same' for no exception.  [default: int8]"
)
@click.option("--bias-correction/--no-bias-correction", default=None, help="Correct biases.  [default: on]")
@click.option("--save-plan", type=options.OUTPUT_FILE, help="YAML file for the plan that was carried out.")
@options.data_option(required=False)
@options.samples_option
@options.split_option("calib")
@options.force_option
@options.json_option
def command(
    model: Path,
    statistics: Path,
    output: Path,
    recipe: Path | None,
    plan: Path | None,
    weights: str | None,
    activations: str | None,
    granularity: str | None,
    scale: str | None,
    rounding: str | None,
    range_: str | None,
    first_last: str | None,
    bias_correction: bool | None,
    save_plan: Path | None,
    data: Path | None,
    samples: int | None,
    split: str,
    force: bool,
    as_json: bool,
) -> None:
    """Quantize MODEL and write an ONNX file with bit-packed weights.

    With --data every layer is fitted on what the quantized layers before it feed, which takes longer and
    keeps more accuracy than the statistics alone. The file is loaded and run in onnxruntime before it
    gets its name.
    """
    from dybitq.api.quantize import quantize
    from dybitq.errors import ConfigError
    from dybitq.files import check_output
    from dybitq.plan.recipe import Recipe
    from dybitq.plan.store import read_plan, read_recipe
    from dybitq.report.quantize import quantize_document, quantize_text

    given = {
        "weights": weights,
        "activations": activations,
        "granularity": granularity,
        "scale": scale,
        "rounding": rounding,
        "range": range_,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    for path in filter(None, (output, save_plan)):
        check_output(path, force=force, inputs=tuple(filter(None, (recipe, plan, data))))
    if plan is not None and (recipe is not None or settings or first_last or bias_correction is not None):
        raise ConfigError(
            "--plan is carried out as it stands; it cannot be combined with a recipe or settings"
        )
    chosen = read_recipe(recipe) if recipe is not None else Recipe()
    chosen = replace(chosen, defaults=replace(chosen.defaults, **settings))
    if first_last is not None:
        chosen = replace(chosen, first_last=None if first_last == "same" else first_last)
    if bias_correction is not None:
        chosen = replace(chosen, bias_correction=bias_correction)
    with console.progress() as progress:
        result = quantize(
            model,
            statistics,
            output,
            recipe=chosen,
            plan=read_plan(plan) if plan is not None else None,
            plan_output=save_plan,
            data=data,
            samples=samples,
            split=split,
            force=force,
            progress=progress,
        )
    console.show(quantize_text(result), quantize_document(result), as_json=as_json)
