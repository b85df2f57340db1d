"""``dybitq calibrate``."""

import os
from pathlib import Path
from typing import Literal

import click

from dybitq.cli import console, options


@click.command()
@click.argument("files", nargs=-1, required=True, type=options.EXISTING_FILE, metavar="MODEL")
@options.data_option(required=False)
@options.output_option(help="Statistics file to write, NAME.stats.")
@click.option("--merge", "merging", is_flag=True, help="Merge statistics: --merge A B -o C.")
@options.split_option("calib")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="Read N samples, spread evenly over the split.  [default: all]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Samples per run of the network.  [default: by the size of its activations]",
)
@click.option(
    "--moments",
    type=click.Choice(["full", "block", "diagonal", "none"]),
    default="full",
    show_default=True,
    help="Richest kind of second moments of layer inputs to keep.",
)
@click.option(
    "--memory",
    type=click.IntRange(min=0),
    default=1024,
    show_default=True,
    metavar="MB",
    help="Memory for all second moments together; the largest are reduced first.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="Batches in flight at once.  [default: one per core]"
)
@options.force_option
@options.json_option
def command(
    files: tuple[Path, ...],
    data: Path | None,
    output: Path,
    merging: bool,
    split: str,
    samples: int | None,
    batch_size: int | None,
    moments: Literal["full", "block", "diagonal", "none"],
    memory: int,
    threads: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Run data through the float32 MODEL once and write its statistics.

    With --merge the arguments are statistics files of one model on different data; the result is the
    statistics of all data.
    """
    # Batches are spread over the cores already; BLAS threads would compete with them. numpy reads this
    # when it is first imported, which is below.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("MKL_NUM_THREADS", "1")
    from dybitq.api.calibrate import calibrate, merge

    if merging:
        names = ("data", "split", "samples", "batch_size", "moments", "memory", "threads")
        options.refuse_given(names, "has no effect with --merge, which adds up statistics; leave it out")
        result = merge(files, output, force=force)
    else:
        if len(files) != 1:
            raise click.UsageError(
                f"calibrate takes one MODEL, found {len(files)} files (is --merge missing?)"
            )
        if data is None:
            raise click.UsageError("Missing option '--data'.")
        with console.progress() as progress:
            result = calibrate(
                files[0],
                data,
                output,
                split=split,
                samples=samples,
                batch_size=batch_size,
                moments=moments,
                memory=memory,
                threads=threads,
                force=force,
                progress=progress,
            )
    console.show_result(result, as_json=as_json)
