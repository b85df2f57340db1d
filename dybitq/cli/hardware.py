"""``dybitq hardware``."""

import click

from dybitq.cli import console, options


@click.group()
def command() -> None:
    """List, show or check the machines of simulate and search."""


@command.command("list")
@options.json_option
def list_command(as_json: bool) -> None:
    """List the machines inside the package."""
    from dybitq.api.hardware import list_machines
    from dybitq.report.hardware import list_document, list_text

    machines = list_machines()
    console.show(list_text(machines), list_document(machines), as_json=as_json)


@command.command("show")
@click.argument("machine", metavar="NAME|FILE")
@click.option(
    "--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change a field; may be repeated."
)
@options.json_option
def show_command(machine: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Print a machine as YAML with all inherited fields, to be edited and used with --hardware."""
    from dybitq.api.hardware import show_machine
    from dybitq.hardware.machine import parse_settings
    from dybitq.report.hardware import show_text

    data = show_machine(machine, parse_settings(settings))
    console.show(show_text(data), {"machine": data}, as_json=as_json)


@command.command("check")
@click.argument("machines", metavar="NAME|FILE...", nargs=-1, required=True)
@options.json_option
def check_command(machines: tuple[str, ...], as_json: bool) -> None:
    """Validate machines; list every mistake, and every constant without a source."""
    from dybitq.api.hardware import check_machine
    from dybitq.report.hardware import check_document, check_text

    checked = [(name, *check_machine(name)) for name in machines]
    console.show(check_text(checked), check_document(checked), as_json=as_json)


for _subcommand in (list_command, show_command, check_command):
    options.add_global_options(_subcommand)
