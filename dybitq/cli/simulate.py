"""``dybitq simulate``."""

from pathlib import Path
from typing import Any

import click

from dybitq.cli import console, options


@click.command()
@options.model_argument
@options.hardware_option()
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of the machine, such as array.rows=16; may be repeated.",
)
@click.option("--weights", metavar="FORMAT", help="Price as if weights were in this format, such as dybit4.")
@click.option(
    "--activations", metavar="FORMAT", help="Price as if activations were in this format, such as int8."
)
@click.option("--plan", type=options.EXISTING_FILE, help="Price a float MODEL as if quantized by this plan.")
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=D,D,...",
    help="Shape of a model input; may be repeated.",
)
@click.option("--strict", is_flag=True, help="Refuse widths that the machine runs as wider ones.")
@click.option(
    "--compare",
    multiple=True,
    metavar="PRESET|MODEL",
    help="Add a column with the speed-up over another machine or model; may be repeated.",
)
@click.option("--sweep", metavar="GRID", help="Price a grid: array.rows=8,16,32,dram.gb_per_s=4:32:4.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes of a sweep.  [default: one per core]")
@click.option(
    "--plot", type=options.OUTPUT_FILE, help="Roofline and latency by layer, as .svg, .png or .pdf."
)
@options.force_option
@click.option(
    "--max-latency",
    type=options.FiniteNumber(min=0),
    metavar="MS",
    help="Gate: largest latency; exit code 3 if missed.",
)
@options.json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print the layers as CSV.")
def command(
    model: Path,
    hardware: str,
    settings: tuple[str, ...],
    weights: str | None,
    activations: str | None,
    plan: Path | None,
    shapes: tuple[str, ...],
    strict: bool,
    compare: tuple[str, ...],
    sweep: str | None,
    workers: int | None,
    plot: Path | None,
    force: bool,
    max_latency: float | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Price MODEL on an accelerator: cycles, traffic and energy of every layer.

    MODEL is an ONNX file (float, or quantized by any tool) or a SCALE-Sim topology (.csv).
    """
    from dybitq.api.simulate import simulate
    from dybitq.errors import ConfigError, GateMissed
    from dybitq.files import check_output
    from dybitq.hardware.machine import parse_settings
    from dybitq.report.plot import save_plot

    if as_json and as_csv:
        raise ConfigError("--json and --csv cannot be combined; leave one of them out")
    work: dict[str, Any] = {
        "settings": parse_settings(settings),
        "shapes": parse_shapes(shapes),
        "weights": weights,
        "activations": activations,
        "plan": plan,
    }
    if sweep is not None:
        if compare or strict or plot is not None or max_latency is not None:
            raise ConfigError("--sweep cannot be combined with --compare, --strict, --plot or --max-latency")
        _sweep(model, hardware, sweep, work, workers=workers, as_json=as_json, as_csv=as_csv)
        return
    if plot is not None:
        check_output(plot, force=force, inputs=(model,))
    result = simulate(model, hardware, strict=strict, compare=compare, **work)
    if plot is not None:
        save_plot(result, plot, force=force)
    _show(result, as_json=as_json, as_csv=as_csv)
    latency_ms = result.report.latency_us / 1e3
    if max_latency is not None and latency_ms > max_latency:
        raise GateMissed(f"latency {latency_ms:.4g} ms is above --max-latency {max_latency:g} ms")


def _sweep(
    model: Path,
    hardware: str,
    grid: str,
    work: dict[str, Any],
    *,
    workers: int | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    from dybitq.api.simulate import sweep

    with console.progress() as progress:
        result = sweep(model, hardware, grid, workers=workers, progress=progress, **work)
    _show(result, as_json=as_json, as_csv=as_csv)


def _show(result: Any, *, as_json: bool, as_csv: bool) -> None:
    if as_csv:
        console.show(result.csv(), {}, as_json=False)
    else:
        console.show_result(result, as_json=as_json)


def parse_shapes(lines: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Parse ``input=1,3,224,224`` lines to shapes by input name."""
    from dybitq.errors import ConfigError

    result = {}
    for line in lines:
        name, _, text = line.rpartition("=")
        try:
            shape = tuple(int(part) for part in text.split(","))
        except ValueError:
            shape = ()
        if not name or not shape or min(shape) < 1:
            raise ConfigError(f"--shape {line!r}: expected NAME=D,D,..., for example input=1,3,224,224")
        result[name] = shape
    return result
