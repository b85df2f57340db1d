"""``dybitq hardware`` as functions."""

from collections.abc import Mapping
from typing import Any

from dybitq.hardware.machine import load_machine, machine_source, preset_names, with_settings
from dybitq.hardware.price import peak_macs
from dybitq.records.workload import MachineSummary
from dybitq.schema.machine import Machine


def summary(machine: Machine) -> MachineSummary:
    """Return a machine in one line."""
    return MachineSummary(
        name=machine.name,
        status=machine.status,
        engine=machine.engine,
        clock_mhz=machine.clock_mhz,
        peak_macs=peak_macs(machine),
        description=machine.description,
    )


def list_machines() -> tuple[MachineSummary, ...]:
    """Return the machines inside the package, by name."""
    return tuple(summary(load_machine(name)) for name in preset_names())


def show_machine(name: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the description of a machine as a mapping, ``extends`` resolved and settings applied.

    Raises:
        ConfigError: an unknown machine or mistakes in it.
    """
    load_machine(name, settings)
    return with_settings(machine_source(name)[0], settings or {})


def check_machine(name: str) -> tuple[MachineSummary, tuple[str, ...]]:
    """Validate a machine; also the constants whose origin it does not state.

    Raises:
        ConfigError: an unknown machine or mistakes in it, all listed at once.
    """
    machine = load_machine(name)
    data = machine_source(name)[0]
    sources = [str(key) for key in data.get("sources") or {}]
    silent = [field for field in _leaves(data) if not any(_covers(source, field) for source in sources)]
    return summary(machine), tuple(silent)


def _covers(source: str, field: str) -> bool:
    return field == source or field.startswith(f"{source}.")


def _leaves(data: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of all constants; names, texts and switches of the description are none."""
    found: list[str] = []
    for key, value in data.items():
        if not prefix and key in ("name", "description", "status", "engine", "sources"):
            continue
        if isinstance(value, Mapping):
            found += _leaves(value, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key}")
    return found
