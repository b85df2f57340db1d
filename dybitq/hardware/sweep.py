"""A workload on a grid of machines: every combination of some fields' values."""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import yaml

from dybitq.errors import ConfigError
from dybitq.hardware.engine import Prepared
from dybitq.hardware.machine import machine_from, machine_source, with_settings
from dybitq.hardware.price import prepare, price_arrays, workload_widths
from dybitq.records.progress import Progress
from dybitq.records.workload import Sweep, SweepPoint, Workload
from dybitq.schema.machine import Fusion, Machine

MAX_POINTS = 1_000_000
_CHUNK = 64
_WORTH_PROCESSES = 200


def parse_sweep(text: str) -> dict[str, tuple[Any, ...]]:
    """``array.rows=8,16,32,dram.gb_per_s=4:32:4`` as values by field; ``a:b:step`` includes ``b``.

    Raises:
        ConfigError: a part without a field, an empty range, or more than ``MAX_POINTS`` combinations.
    """
    fields: dict[str, list[Any]] = {}
    current = ""
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if equals:
            current = name.strip()
            if current in fields:
                raise ConfigError(f"--sweep: {current} is given twice")
            fields[current] = []
        else:
            value = name
        if not current:
            raise ConfigError(f"--sweep {text!r}: expected FIELD=VALUES, for example array.rows=8,16,32")
        fields[current] += _values(current, value.strip())
    points = int(np.prod([len(values) for values in fields.values()], dtype=np.float64))
    if points > MAX_POINTS:
        raise ConfigError(f"--sweep has {points} points; at most {MAX_POINTS} are priced at a time")
    return {name: tuple(values) for name, values in fields.items()}


def _values(field: str, text: str) -> list[Any]:
    match = re.fullmatch(r"([-+.\deE]+):([-+.\deE]+):([-+.\deE]+)", text)
    if match is None:
        if ":" in text:  # YAML reads 4:1 as 241, sixties of a clock
            raise ConfigError(f"--sweep: {field}={text}: expected FIRST:LAST:STEP, such as 4:32:4")
        value = yaml.safe_load(text) if text else None
        if value is None:
            raise ConfigError(f"--sweep: {field} has an empty value")
        return [value]
    begin, end, step = (yaml.safe_load(part) for part in match.groups())
    numbers = all(isinstance(number, int | float) for number in (begin, end, step))
    if not numbers or step <= 0 or end < begin:
        raise ConfigError(f"--sweep: {field}={text}: expected FIRST:LAST:STEP with a positive step")
    count = int((end - begin) / step + 1e-9) + 1
    return [begin + index * step for index in range(count)]


def sweep(
    workload: Workload,
    name: str,
    fields: Mapping[str, Sequence[Any]],
    *,
    settings: Mapping[str, Any] | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Sweep:
    """Price a workload on every machine of a grid.

    Args:
        workload: as for ``price.simulate``.
        name: preset or file that the grid starts from.
        fields: values by dotted field.
        settings: fields that are changed in all points.
        workers: processes; a grid of a few hundred points is priced in this one.
        progress: called with stage, points done and points in all.

    Returns:
        Points in the order of the grid, last field fastest. A machine that cannot hold a layer, or whose
        values are refused, is a point with an ``error``.

    Raises:
        ConfigError: the machine itself is unknown or wrong.
    """
    data, source = machine_source(name)
    base = with_settings(data, settings or {})
    machine = machine_from(base, source)
    grid = [dict(zip(fields, values)) for values in itertools.product(*fields.values())]
    chunks = [grid[i : i + _CHUNK] for i in range(0, len(grid), _CHUNK)]
    points: list[SweepPoint] = []

    def collect(done: list[SweepPoint]) -> None:
        points.extend(done)
        if progress is not None:
            progress("machines", len(points), len(grid))

    if workers > 1 and len(grid) >= _WORTH_PROCESSES:
        with ProcessPoolExecutor(workers, initializer=_start, initargs=(workload, base, source)) as pool:
            for done in pool.map(_price_chunk, chunks):
                collect(done)
    else:
        pricer = _Pricer(workload, base, source)
        for chunk in chunks:
            collect([pricer.price(point) for point in chunk])
    return Sweep(workload=workload.name, machine=machine.name, points=_with_pareto(points))


class _Pricer:
    """Prices points; what does not depend on the machine is prepared once."""

    def __init__(self, workload: Workload, base: Mapping[str, Any], source: str) -> None:
        self._workload, self._base, self._source = workload, base, source
        self._prepared: dict[Fusion, Prepared] = {}

    def price(self, settings: Mapping[str, Any]) -> SweepPoint:
        """One point."""
        try:
            machine = machine_from(with_settings(self._base, settings), self._source)
            if machine.fusion not in self._prepared:
                self._prepared[machine.fusion] = prepare(self._workload, machine.fusion)
            return _point(machine, self._prepared[machine.fusion], settings)
        except ConfigError as error:
            return SweepPoint(settings=settings, error=str(error))


_PRICERS: list[_Pricer] = []


def _start(workload: Workload, base: Mapping[str, Any], source: str) -> None:
    _PRICERS.append(_Pricer(workload, base, source))


def _price_chunk(points: list[dict[str, Any]]) -> list[SweepPoint]:
    return [_PRICERS[0].price(point) for point in points]


def _point(machine: Machine, prepared: Prepared, settings: Mapping[str, Any]) -> SweepPoint:
    priced = price_arrays(machine, prepared, workload_widths(machine, prepared))
    cycles = float(priced.costs.total.sum())
    overhead = float(priced.costs.overhead_us.sum()) + machine.overhead.fixed_ms * 1e3
    energy = priced.energy
    return SweepPoint(
        settings=settings,
        total_cycles=round(cycles),
        latency_us=cycles / machine.clock_mhz + overhead,
        energy_pj=float((energy.mac + energy.buffer + energy.dram + energy.leakage).sum()),
        dram_bytes=round(float(priced.costs.dram.total.sum())),
    )


def _with_pareto(points: list[SweepPoint]) -> tuple[SweepPoint, ...]:
    """Mark the points that no other beats in latency and energy."""
    best = np.inf
    front: set[int] = set()
    priced = [index for index, point in enumerate(points) if not point.error]
    for index in sorted(priced, key=lambda i: (points[i].latency_us, points[i].energy_pj, i)):
        if points[index].energy_pj < best:
            best = points[index].energy_pj
            front.add(index)
    return tuple(dataclasses.replace(point, pareto=index in front) for index, point in enumerate(points))
