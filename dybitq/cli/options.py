"""Options that several verbs share, as decorators, so that one word means one thing everywhere.

``-q``, ``-v`` and ``--debug`` are not listed in a verb: the group adds them to every command.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from dybitq.cli import console

F = TypeVar("F", bound=Callable[..., Any])


class FiniteNumber(click.FloatRange):
    """A number, neither NaN nor infinite; ``min`` and ``max`` as for :class:`click.FloatRange`."""

    name = "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert to a number.

        Raises:
            click.BadParameter: it is not a number, not finite, or out of range.
        """
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number

    def _describe_range(self) -> str:
        return "" if self.min is None and self.max is None else super()._describe_range()


class SectionedCommand(click.Command):
    """A command whose ``--help`` lists its options in sections.

    Args:
        sections: names of parameters by the title of their section, in the order of the help. Options that
            are in none stand under "Options", before the others.
    """

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of options for each section."""
        title_of = {name: title for title, names in self.sections.items() for name in names}
        rows: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Options", *self.sections)}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None and not isinstance(parameter, click.Argument):
                rows[title_of.get(parameter.name or "", "Options")].append(row)
        for title, listed in rows.items():
            if listed:
                with formatter.section(title):
                    formatter.write_dl(listed)


EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING_PATH = click.Path(exists=True, path_type=Path)
OUTPUT_FILE = click.Path(dir_okay=False, path_type=Path)


def model_argument(function: F) -> F:
    """Add the argument ``MODEL``: an ONNX file; parameter ``model``."""
    return click.argument("model", type=EXISTING_FILE)(function)


def data_option(*, required: bool = True) -> Callable[[F], F]:
    """Add ``--data``: a data spec, an npz or a folder of images; parameter ``data``."""
    return click.option(
        "--data",
        type=EXISTING_PATH,
        required=required,
        help="Data spec (YAML), .npz with one array per model input, or folder of images.",
    )


def split_option(default: str) -> Callable[[F], F]:
    """Add ``--split``: the split of the data spec to read; parameter ``split``."""
    return click.option("--split", default=default, show_default=True, help="Split of the data spec to read.")


def samples_option(function: F) -> F:
    """Add ``--samples``: the number of samples to read; parameter ``samples`` (None for all)."""
    return click.option(
        "--samples",
        type=click.IntRange(min=1),
        help="Read N samples, spread evenly over the split.  [default: all]",
    )(function)


def refuse_given(names: tuple[str, ...], why: str) -> None:
    """Refuse options that the user gave although they have no effect here.

    Raises:
        click.UsageError: the first of them, and ``why``.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if parameter.name in names and given:
            raise click.UsageError(f"{parameter.opts[-1]} {why}")


def check_sampling(data: Path | None) -> None:
    """Refuse ``--samples`` and ``--split`` without ``--data``."""
    if data is None:
        refuse_given(("samples", "split"), "chooses from the samples of --data; name them with --data")


def batch_size_option(default: int) -> Callable[[F], F]:
    """Add ``--batch-size``: samples per run of the network; parameter ``batch_size``."""
    return click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=default,
        show_default=True,
        help="Samples per run of the network.",
    )


def threads_option(function: F) -> F:
    """Add ``--threads``: of onnxruntime; parameter ``threads`` (None: let onnxruntime choose)."""
    return click.option(
        "--threads", type=click.IntRange(min=1), help="Threads of onnxruntime.  [default: one per core]"
    )(function)


def hardware_option(*, required: bool = True) -> Callable[[F], F]:
    """Add ``--hardware``: a preset's name or a YAML file, kept as text; parameter ``hardware``."""
    return click.option(
        "--hardware", metavar="NAME|FILE", required=required, help="Accelerator: a preset, or a YAML file."
    )


def output_option(*, required: bool = True, help: str = "File to write.") -> Callable[[F], F]:
    """Add ``-o``/``--output``: one file; parameter ``output``."""
    return click.option("-o", "--output", type=OUTPUT_FILE, required=required, help=help)


def force_option(function: F) -> F:
    """Add ``--force``: replace existing outputs; parameter ``force``."""
    return click.option("--force", is_flag=True, help="Replace an output that exists already.")(function)


def json_option(function: F) -> F:
    """Add ``--json``: parameter ``as_json``, an argument of :func:`dybitq.cli.console.show`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")(
        function
    )


_VERBOSITY = f"{__name__}.verbosity"


def _change_verbosity(context: click.Context, parameter: click.Parameter, value: int) -> None:
    """Add to the level; click shares ``meta`` between a group and its command."""
    step = {"quiet": console.QUIET, "verbose": console.VERBOSE, "debug": console.DEBUG}[str(parameter.name)]
    context.meta[_VERBOSITY] = context.meta.get(_VERBOSITY, console.NORMAL) + step * int(value)
    console.set_verbosity(context.meta[_VERBOSITY])


def add_global_options(command: click.Command) -> None:
    """Give a command ``-q``, ``-v`` and ``--debug``, unless it has them from an earlier call."""
    if any(parameter.name == "debug" for parameter in command.params):
        return
    shared: dict[str, Any] = {"expose_value": False, "is_eager": True, "callback": _change_verbosity}
    command.params += [
        click.Option(["-q", "--quiet"], is_flag=True, help="No progress bar, no warnings.", **shared),
        click.Option(["-v", "--verbose"], count=True, help="Log each step on stderr.", **shared),
        click.Option(["--debug"], is_flag=True, help="Log everything, with tracebacks.", **shared),
    ]
