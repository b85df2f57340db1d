"""The result of ``simulate``, as text, as data and as CSV."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dybitq.errors import first_of
from dybitq.records.workload import LayerCost, PerOperand, SimulationReport, Sweep, SweepPoint
from dybitq.report.page import Page, Shown, Table

_SKIPPED_SHOWN = 8

DEFINITIONS = {
    "cycles": "cycles in which the array (or vector unit) is occupied, skew and edges included",
    "total_cycles": "cycles from the first load to the last store of the layer: cycles + fill + stall "
    "(SCALE-Sim machines: the number that tool prints, cycles - 1)",
    "fill_cycles": "memory cycles before the first and after the last computation",
    "stall_cycles": "cycles in which the array waits for memory between computations",
    "utilisation": "MACs / (cycles x multipliers x products per multiplier at these widths)",
    "mapping_utilisation": "share of the array that useful work is mapped to, skew left out",
    "end_to_end_utilisation": "MACs / (total_cycles x multipliers x products per multiplier at these widths)",
    "sram": "buffer accesses in words of the operand; output words are accumulators",
    "dram_bytes": "bytes over the DRAM port, bursts included; distinct_bytes: the least that has to move",
    "energy_pj": "MAC + buffer + DRAM + leakage",
}


def _operands(counts: PerOperand) -> dict[str, int]:
    return {"input": counts.input, "weight": counts.weight, "output": counts.output}


def layer_document(layer: LayerCost) -> dict[str, Any]:
    """Convert one layer to data."""
    return {
        "name": layer.name,
        "op_type": layer.op_type,
        "fused_into": layer.fused_into or None,
        "shape": layer.shape,
        "macs": layer.macs,
        "bits": {"weight": layer.w_bits, "activation": layer.a_bits, "output": layer.out_bits},
        "runs_at": {"weight": layer.w_run, "activation": layer.a_run},
        "mode": layer.mode,
        "folds": layer.folds,
        "cycles": layer.cycles,
        "fill_cycles": layer.fill_cycles,
        "stall_cycles": layer.stall_cycles,
        "total_cycles": layer.total_cycles,
        "overhead_us": layer.overhead_us,
        "utilisation": layer.utilisation,
        "mapping_utilisation": layer.mapping_utilisation,
        "end_to_end_utilisation": layer.end_to_end_utilisation,
        "sram_reads": _operands(layer.sram_reads),
        "sram_writes": _operands(layer.sram_writes),
        "sram_bytes": _operands(layer.sram_bytes),
        "dram_bytes": _operands(layer.dram_bytes),
        "distinct_bytes": _operands(layer.distinct_bytes),
        "energy_pj": layer.energy.total,
        "energy_split_pj": {
            "mac": layer.energy.mac,
            "buffer": layer.energy.buffer,
            "dram": layer.energy.dram,
            "leakage": layer.energy.leakage,
        },
        "bound": layer.bound,
        "extra": dict(layer.extra),
    }


def totals(report: SimulationReport) -> dict[str, Any]:
    """Sum up the layers, as data."""
    layers = report.layers
    return {
        "macs": sum(layer.macs for layer in layers),
        "cycles": sum(layer.cycles for layer in layers),
        "total_cycles": report.total_cycles,
        "latency_us": report.latency_us,
        "dram_bytes": sum(layer.dram_bytes.total for layer in layers),
        "energy_pj": report.energy_pj,
        "energy_split_pj": {
            part: sum(getattr(layer.energy, part) for layer in layers)
            for part in ("mac", "buffer", "dram", "leakage")
        },
    }


def _machine(report: SimulationReport) -> dict[str, Any]:
    return {
        "name": report.machine,
        "status": report.status,
        "engine": report.engine,
        "clock_mhz": report.clock_mhz,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceComparison:
    """Another price to compare a report with: the same work at 8 bits, another machine, or another model.

    ``speedup`` is the other latency over this one's; ``layer_speedups`` the same by operator name, where
    both have the operator.
    """

    label: str
    report: SimulationReport
    speedup: float
    layer_speedups: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateResult(Shown):
    """Result of ``simulate``: a report and its comparisons (the first is with int8)."""

    report: SimulationReport
    comparisons: tuple[PriceComparison, ...]

    def page(self) -> Page:
        """Print a table of layers, totals, comparisons and notes."""
        return _page(self)

    def document(self) -> dict[str, Any]:
        """Convert the simulation to one JSON document."""
        report = self.report
        layers = [layer_document(layer) for layer in report.layers]
        for comparison in self.comparisons:
            for row in layers:
                speedup = comparison.layer_speedups.get(row["name"])
                row.setdefault("speedup", {})[comparison.label] = speedup
        return {
            "workload": report.workload,
            "machine": _machine(report),
            "totals": totals(report),
            "comparisons": [
                {
                    "label": item.label,
                    "workload": item.report.workload,
                    "machine": _machine(item.report),
                    "speedup": item.speedup,
                    "totals": totals(item.report),
                }
                for item in self.comparisons
            ],
            "layers": layers,
            "skipped": [
                {"name": item.name, "op_type": item.op_type, "reason": item.reason, "macs": item.macs}
                for item in report.skipped
            ],
            "notes": list(report.notes),
            "definitions": DEFINITIONS,
        }

    def csv(self) -> str:
        """Print the layers as CSV."""
        return csv_text(self.document()["layers"])


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult(Sweep, Shown):
    """A model priced on every machine of a grid."""

    def page(self) -> Page:
        """Print a table of points; the best in latency and energy are marked."""
        return _sweep_page(self)

    def document(self) -> dict[str, Any]:
        """Convert all points to data."""
        return {
            "workload": self.workload,
            "machine": self.machine,
            "points": [_point_document(point) for point in self.points],
        }

    def csv(self) -> str:
        """Print all points as CSV."""
        return csv_text([_point_document(point) for point in self.points])


def _flat(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = "" if value is None else value
    return flat


def csv_text(rows: list[dict[str, Any]]) -> str:
    """Print rows of nested data as CSV, nested keys joined with dots; the header has the keys of all rows."""
    flat = [_flat(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


# --------------------------------------------------------------------------- text


def _short(text: str, width: int = 32) -> str:
    return text if len(text) <= width else "..." + text[3 - width :]


def _time(microseconds: float) -> str:
    return f"{microseconds / 1e3:.3f} ms" if microseconds >= 1000 else f"{microseconds:.1f} us"


def _layer_row(layer: LayerCost, result: SimulateResult) -> tuple[str, ...]:
    if layer.fused_into:
        blank = ("",) * (9 + len(result.comparisons))
        return (_short(layer.name), layer.op_type, f"in {_short(layer.fused_into, 24)}", *blank)
    bits = f"{layer.w_bits}x{layer.a_bits}" if layer.macs else f"{layer.a_bits}"
    speedups = [comparison.layer_speedups.get(layer.name) for comparison in result.comparisons]
    return (
        _short(layer.name),
        layer.op_type,
        layer.shape,
        bits,
        f"{layer.macs / 1e6:.2f}",
        f"{layer.cycles}",
        f"{layer.fill_cycles}",
        f"{layer.stall_cycles}",
        f"{layer.total_cycles}",
        f"{layer.utilisation:.1%}" if layer.macs else "",
        f"{layer.dram_bytes.total / 1024:.1f}",
        f"{layer.energy.total / 1e6:.2f}",
        *(f"{speedup:.2f}" if speedup else "" for speedup in speedups),
        layer.bound,
    )


def _page(result: SimulateResult) -> Page:
    report = result.report
    header = (
        "layer", "operator", "shape", "bits", "MMAC", "cycles", "fill", "stall", "total", "util", "DRAM KiB",
        "uJ",
        *(f"x {comparison.label}" for comparison in result.comparisons), "bound",
    )  # fmt: skip
    rows = [_layer_row(layer, result) for layer in report.layers]
    rows = [(*row, *("",) * (len(header) - len(row))) for row in rows]
    lines: list[str | Table] = [
        f"{report.workload} on {report.machine} ({report.status}; {report.engine}, {report.clock_mhz:g} MHz)",
        "",
        Table(header=header, rows=rows, left=3),
        "",
        _total_line(report),
        _energy_line(report),
    ]
    lines += [_comparison_line(item.label, item.speedup, item.report) for item in result.comparisons]
    if report.skipped:
        lines.append(_skipped_line(report))
    lines += [f"note: {note}" for note in report.notes]
    return lines


def _total_line(report: SimulationReport) -> str:
    sums = totals(report)
    return (
        f"{sums['macs'] / 1e6:.2f} MMAC in {sums['cycles']} array cycles, {report.total_cycles} in all: "
        f"{_time(report.latency_us)}; {sums['dram_bytes'] / 1024:.1f} KiB of DRAM traffic"
    )


def _energy_line(report: SimulationReport) -> str:
    split = totals(report)["energy_split_pj"]
    whole = report.energy_pj or 1.0
    parts = ", ".join(f"{name} {value / whole:.0%}" for name, value in split.items())
    return f"energy {report.energy_pj / 1e6:.2f} uJ: {parts}"


def _comparison_line(label: str, speedup: float, other: SimulationReport) -> str:
    return f"{speedup:.2f} x the speed of {label} ({_time(other.latency_us)}, {other.energy_pj / 1e6:.2f} uJ)"


def _skipped_line(report: SimulationReport) -> str:
    macs = sum(item.macs for item in report.skipped)
    whole = macs + sum(layer.macs for layer in report.layers)
    share = f"{macs / whole:.1%} of the MACs" if whole else "no MACs"
    names = [f"{item.name} ({item.op_type}: {item.reason})" for item in report.skipped]
    return f"left out, {share}: {first_of(names, _SKIPPED_SHOWN)}"


# --------------------------------------------------------------------------- sweep


def _point_document(point: SweepPoint) -> dict[str, Any]:
    return {
        "settings": dict(point.settings),
        "total_cycles": point.total_cycles,
        "latency_us": point.latency_us,
        "energy_pj": point.energy_pj,
        "dram_bytes": point.dram_bytes,
        "pareto": point.pareto,
        "error": point.error or None,
    }


def _sweep_page(result: Sweep) -> Page:
    fields = tuple(result.points[0].settings) if result.points else ()
    header = (*fields, "cycles", "latency", "uJ", "DRAM KiB", "pareto")
    rows = []
    for point in result.points:
        values = tuple(f"{point.settings[name]}" for name in fields)
        if point.error:
            rows.append((*values, "", "", "", "", point.error.splitlines()[0]))
            continue
        rows.append(
            (
                *values,
                f"{point.total_cycles}",
                _time(point.latency_us),
                f"{point.energy_pj / 1e6:.2f}",
                f"{point.dram_bytes / 1024:.1f}",
                "*" if point.pareto else "",
            )
        )
    return [
        f"{result.workload} on {len(result.points)} machines around {result.machine}",
        "",
        Table(header=header, rows=rows, left=0, right_text=True),
        "",
        "*: no other is as fast with as little energy",
    ]
