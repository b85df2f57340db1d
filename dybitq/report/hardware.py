"""The results of ``hardware`` as text and as data."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from dybitq.records.workload import MachineSummary
from dybitq.report.page import Table


def summary_document(machine: MachineSummary) -> dict[str, Any]:
    """Convert one machine to data."""
    return {
        "name": machine.name,
        "status": machine.status,
        "engine": machine.engine,
        "clock_mhz": machine.clock_mhz,
        "peak_macs_per_cycle": machine.peak_macs,
        "description": machine.description,
    }


def list_text(machines: Sequence[MachineSummary]) -> str:
    """Print a table of machines."""
    rows: list[tuple[str, ...]] = [
        (
            machine.name,
            machine.status,
            machine.engine,
            f"{machine.clock_mhz:g}",
            f"{machine.peak_macs:.0f}" if machine.peak_macs else "",
            machine.description,
        )
        for machine in machines
    ]
    header = ("name", "status", "engine", "MHz", "MACs/cycle", "description")
    return Table(header=header, rows=rows, left=3, right_text=True).text()


def list_document(machines: Sequence[MachineSummary]) -> dict[str, Any]:
    """Convert machines to data."""
    return {"machines": [summary_document(machine) for machine in machines]}


def show_text(data: Mapping[str, Any]) -> str:
    """Print a description as YAML that can be edited and used."""
    return yaml.safe_dump(dict(data), sort_keys=False, width=100, default_flow_style=None, allow_unicode=True)


def check_text(checked: Sequence[tuple[str, MachineSummary, Sequence[str]]]) -> str:
    """Print one line for each machine, and one for each constant without a source."""
    lines = []
    for source, machine, silent in checked:
        lines.append(f"{source}: valid; {machine.engine}, {machine.clock_mhz:g} MHz, {machine.status}")
        lines += [f"  no source stated: {field}" for field in silent]
    return "\n".join(lines)


def check_document(checked: Sequence[tuple[str, MachineSummary, Sequence[str]]]) -> dict[str, Any]:
    """Convert checked machines to data."""
    return {
        "checked": [
            {"source": source, **summary_document(machine), "without_source": list(silent)}
            for source, machine, silent in checked
        ]
    }
