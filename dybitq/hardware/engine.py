"""The contract of a timing model, and the registry that finds it by the name a machine gives."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dybitq.errors import ConfigError
from dybitq.hardware.costs import Array, Costs, Widths
from dybitq.hardware.launches import Launches
from dybitq.hardware.residency import Lifetimes
from dybitq.hardware.tiling import Grid
from dybitq.records.workload import Workload
from dybitq.registry import Registry
from dybitq.schema.machine import Machine

__all__ = ["Engine", "Machine", "Prepared", "engines", "need"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """Everything about a workload that does not depend on the machine's numbers.

    ``bits`` ``[T, 1]`` are the stored widths that the workload asks for; ``extra_place`` and ``extra_tensor``
    list the launches and tensors of all extra streams. ``memo`` keeps the candidates that ``selection`` lays
    out once.
    """

    workload: Workload
    launches: Launches
    grid: Grid
    lives: Lifetimes
    bits: Array
    extra_place: Array
    extra_tensor: Array
    memo: dict[tuple[int, ...], Any] = field(default_factory=dict, repr=False)


Engine = Callable[[Machine, Prepared, Widths], Costs]

engines: Registry[Engine] = Registry("timing model", "dybitq.hardware.engines")


def need(section: T | None, machine: Machine, name: str) -> T:
    """Return the section of a machine that its timing model cannot do without.

    Raises:
        ConfigError: the section is missing (only for machines built by hand; files are checked on reading).
    """
    if section is None:
        raise ConfigError(
            f"machine {machine.name!r}: the timing model {machine.engine!r} needs a section {name!r}; add it"
        )
    return section
