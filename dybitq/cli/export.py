"""``dybitq export``."""

from pathlib import Path

import click

from dybitq.cli import console, options


@click.command()
@options.model_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder to create.",
)
@options.data_option(required=False)
@options.split_option("val")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Golden samples: the first N of the data, or random ones of a fixed seed.",
)
@click.option(
    "--all-tensors", is_flag=True, help="Write golden values of every tensor, not only of inputs and outputs."
)
@options.force_option
@options.json_option
def command(
    model: Path,
    output: Path,
    data: Path | None,
    split: str,
    samples: int,
    all_tensors: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write the integer-only MODEL as raw binaries with a JSON manifest.

    The folder holds packed codes, tables, multipliers, shifts, biases and shapes of every layer, and golden
    vectors: all that hardware needs, without ONNX.
    """
    from dybitq.api.export import export

    result = export(
        model, output, data=data, split=split, samples=samples, all_tensors=all_tensors, force=force
    )
    console.show_result(result, as_json=as_json)
