"""``dybitq simulate``."""

from pathlib import Path

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
@click.option("--activations", metavar="FORMAT", help="Price as if activations were, such as int8 or sparq4.")
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=D,D,...",
    help="Shape of a model input; may be repeated.",
)
@click.option("--strict", is_flag=True, help="Refuse widths that the machine runs as others.")
@click.option(
    "--compare",
    multiple=True,
    metavar="PRESET|MODEL",
    help="Add a speed-up column against another machine or model; may be repeated.",
)
@click.option("--max-latency", type=float, metavar="MS", help="Exit with 3 when the latency is above this.")
@options.json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print the layers as CSV.")
def command(
    model: Path,
    hardware: str,
    settings: tuple[str, ...],
    weights: str | None,
    activations: str | None,
    shapes: tuple[str, ...],
    strict: bool,
    compare: tuple[str, ...],
    max_latency: float | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Price MODEL on an accelerator: cycles, traffic and energy of every layer.

    MODEL is an ONNX file (float, or quantized by any tool) or a SCALE-Sim topology (.csv).
    """
    from dybitq.api.simulate import simulate
    from dybitq.errors import ConfigError, GateMissed
    from dybitq.hardware.machine import parse_settings
    from dybitq.report.simulate import simulation_csv, simulation_document, simulation_text

    if as_json and as_csv:
        raise ConfigError("--json and --csv exclude each other")
    result = simulate(
        model,
        hardware,
        settings=parse_settings(settings),
        shapes=parse_shapes(shapes),
        weights=weights,
        activations=activations,
        strict=strict,
        compare=compare,
    )
    text = simulation_csv(result) if as_csv else simulation_text(result)
    console.show(text, simulation_document(result) if as_json else {}, as_json=as_json)
    latency_ms = result.report.latency_us / 1e3
    if max_latency is not None and latency_ms > max_latency:
        raise GateMissed(f"latency {latency_ms:.4g} ms is above --max-latency {max_latency:g} ms")


def parse_shapes(lines: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """``input=1,3,224,224`` lines by input name."""
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
