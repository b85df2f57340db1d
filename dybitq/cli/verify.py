"""``dybitq verify``."""

from pathlib import Path
from typing import Literal

import click

from dybitq.cli import console, options


@click.command()
@options.model_argument
@options.data_option(required=False)
@options.split_option("val")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Samples to compare, spread evenly over the split.",
)
@options.batch_size_option(4)
@click.option(
    "--integer-only",
    type=click.Choice(["strict", "report"]),
    default="strict",
    show_default=True,
    help="Strict: float operators refute the proof; report: they are listed.",
)
@options.threads_option
@options.json_option
def command(
    model: Path,
    data: Path | None,
    split: str,
    samples: int,
    batch_size: int,
    integer_only: Literal["strict", "report"],
    threads: int | None,
    as_json: bool,
) -> None:
    """Prove that MODEL computes in integers between its input and its output.

    Every node is examined, accumulators are bounded from the weights, and with --data every integer tensor
    is compared with a reference in numpy. The exit code is 3 where anything differs.
    """
    from dybitq.api.verify import verify
    from dybitq.errors import GateMissed
    from dybitq.report.verify import failure

    options.check_sampling(data)
    with console.progress() as progress:
        result = verify(
            model,
            data=data,
            split=split,
            samples=samples,
            batch_size=batch_size,
            integer_only=integer_only,
            threads=threads,
            progress=progress,
        )
    console.show_result(result, as_json=as_json)
    message = failure(result)
    if message is not None:
        raise GateMissed(message)
