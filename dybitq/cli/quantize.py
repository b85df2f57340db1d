"""``dybitq quantize``."""

from pathlib import Path
from typing import Any

import click

from dybitq.cli import console, options
from dybitq.cli._recipe import SECTIONS, recipe_options, target_option

_SECTIONS = {
    **SECTIONS,
    "Recipe": (*SECTIONS["Recipe"], "target"),
    "Data": ("data", "samples", "split"),
}


@click.command(cls=options.SectionedCommand, sections=_SECTIONS)
@options.model_argument
@click.option(
    "--statistics",
    type=options.EXISTING_FILE,
    required=True,
    help="Statistics of this model, from dybitq calibrate.",
)
@options.output_option(help="Quantized ONNX file to write.")
@recipe_options()
@target_option
@click.option("--plan", type=options.EXISTING_FILE, help="Plan to follow, instead of a recipe.")
@click.option("--save-plan", type=options.OUTPUT_FILE, help="YAML file to write the plan to.")
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
    recipe_settings: dict[str, Any],
    target: str | None,
    plan: Path | None,
    save_plan: Path | None,
    data: Path | None,
    samples: int | None,
    split: str,
    force: bool,
    as_json: bool,
) -> None:
    """Quantize MODEL and write an ONNX file with bit-packed weights.

    With --data every layer is fitted on the outputs of the quantized layers before it, which takes longer and
    keeps more accuracy than the statistics alone. With --integer-only all arithmetic between input and output
    is integer. The file is loaded and run in onnxruntime before it gets its name.
    """
    from dybitq.api.quantize import quantize

    options.check_sampling(data)
    with console.progress() as progress:
        result = quantize(
            model,
            statistics,
            output,
            recipe=recipe,
            target=target,
            plan=plan,
            save_plan=save_plan,
            data=data,
            samples=samples,
            split=split,
            force=force,
            progress=progress,
            **recipe_settings,
        )
    console.show_result(result, as_json=as_json)
