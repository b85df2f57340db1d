"""``dybitq demo``."""

from pathlib import Path

import click

from dybitq.cli import console, options


@click.command()
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to keep model, data, statistics and results in.",
)
@options.force_option
@options.json_option
def command(output: Path | None, force: bool, as_json: bool) -> None:
    """Run all steps on a small network that is part of this package.

    Calibrates, quantizes, evaluates and simulates a network that reads handwritten digits, and prints the
    result of each step.
    """
    from dybitq.api.demo import demo

    with console.progress() as progress:
        result = demo(output, force=force, progress=progress)
    console.show_result(result, as_json=as_json)
