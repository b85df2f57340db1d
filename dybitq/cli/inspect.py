"""``dybitq inspect``."""

from pathlib import Path

import click

from dybitq.cli import console, options


@click.command()
@options.model_argument
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=D,D,...",
    help="Shape of a model input, to count MACs; may be repeated.",
)
@click.option("--tensors", is_flag=True, help="List every stored tensor instead of the largest ten.")
@options.json_option
def command(model: Path, shapes: tuple[str, ...], tensors: bool, as_json: bool) -> None:
    """Describe MODEL: the quantization of each layer, and the bits that it stores.

    MODEL is any ONNX file: float, quantized by dybitq, or quantized by another tool.
    """
    from dybitq.api.inspect import inspect
    from dybitq.cli.simulate import parse_shapes
    from dybitq.report.inspect import inspection_page
    from dybitq.report.page import as_text

    result = inspect(model, shapes=parse_shapes(shapes))
    if tensors and not as_json:
        console.show(as_text(inspection_page(result, all_tensors=True)), {}, as_json=False)
    else:
        console.show_result(result, as_json=as_json)
