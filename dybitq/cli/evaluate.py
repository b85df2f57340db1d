"""``dybitq evaluate``."""

from pathlib import Path

import click

from dybitq.cli import console, options


@click.command()
@options.model_argument
@options.data_option()
@click.option("--reference", type=options.EXISTING_FILE, help="Float32 network to compare with.")
@click.option(
    "--max-drop",
    type=options.FiniteNumber(min=0),
    help="Gate: largest drop of the task's metric, in points; exit code 3 if missed.",
)
@click.option(
    "--min-sqnr",
    type=options.FiniteNumber(),
    help="Gate: smallest SQNR of any output, in dB; exit code 3 if missed.",
)
@click.option("--per-layer", is_flag=True, help="Compare every quantized activation with the reference too.")
@options.split_option("val")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="Read N samples, spread evenly over the split.  [default: all]",
)
@options.batch_size_option(16)
@options.threads_option
@options.json_option
def command(
    model: Path,
    data: Path,
    reference: Path | None,
    max_drop: float | None,
    min_sqnr: float | None,
    per_layer: bool,
    split: str,
    samples: int | None,
    batch_size: int,
    threads: int | None,
    as_json: bool,
) -> None:
    """Run data through MODEL and measure its accuracy, alone or against its float32 reference.

    MODEL is any ONNX file. With labels and a task in the data spec this gives the task's metrics; with a
    reference also their drop, the agreement of the two, and the error of the outputs.
    """
    from dybitq.api.evaluate import evaluate
    from dybitq.errors import GateMissed
    from dybitq.report.evaluate import missed_gates

    with console.progress() as progress:
        result = evaluate(
            model,
            data,
            reference=reference,
            max_drop=max_drop,
            min_sqnr=min_sqnr,
            per_layer=per_layer,
            split=split,
            samples=samples,
            batch_size=batch_size,
            threads=threads,
            progress=progress,
        )
    console.show_result(result, as_json=as_json)
    missed = missed_gates(result)
    if missed is not None:
        raise GateMissed(missed)
