"""Pictures of a simulation: the roofline with its layers, and latency by layer split by cause."""

from pathlib import Path
from typing import Any

from dybitq.errors import ConfigError, UnsupportedError
from dybitq.files import atomic_output
from dybitq.records.workload import LayerCost, SimulationReport
from dybitq.report.simulate import SimulateResult

SUFFIXES = (".svg", ".png", ".pdf")
_COLOURS = {"compute": "#2b6cb0", "stall": "#dd6b20", "fill": "#d69e2e", "overhead": "#a0aec0"}


def save_plot(result: SimulateResult, path: Path, *, force: bool) -> None:
    """Write the picture; the suffix of ``path`` chooses its format.

    Raises:
        ConfigError: another suffix than .svg, .png or .pdf.
        UnsupportedError: matplotlib is not installed.
        OutputError: the file exists already (without ``force``) or cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--plot {path}: expected a name that ends in {', '.join(SUFFIXES)}")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UnsupportedError("plots need matplotlib; install dybitq[report]") from error
    layers = [layer for layer in result.report.layers if not layer.fused_into]
    # The same picture has the same bytes: no date, no random identifiers.
    with mpl.rc_context({"svg.hashsalt": "dybitq", "svg.fonttype": "none"}):
        figure = Figure(figsize=(max(9.0, 0.16 * len(layers) + 3), 8.5), layout="constrained")
        roof, bars = figure.subplots(2, 1)
        _roofline(roof, result.report, layers)
        _latency(bars, result.report, layers)
        with atomic_output(path, force=force) as temporary:
            figure.savefig(temporary, format=path.suffix.lower()[1:], metadata=no_date(path.suffix.lower()))


def no_date(suffix: str) -> dict[str, None]:
    """Return metadata without the date of the picture."""
    return {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix, {})


def _microseconds(report: SimulationReport, cycles: float) -> float:
    return cycles / report.clock_mhz


def _roofline(axes: Any, report: SimulationReport, layers: list[LayerCost]) -> None:
    """Draw GMAC/s over MACs per byte; the roof is that of 8-bit operands."""
    points = [layer for layer in layers if layer.macs and layer.dram_bytes.total and layer.total_cycles]
    intensity = [layer.macs / layer.dram_bytes.total for layer in points]
    rate = [layer.macs / _microseconds(report, layer.total_cycles) / 1e3 for layer in points]
    peak = report.peak_macs * report.clock_mhz / 1e3
    if points:
        low, high = min(intensity) / 2, max(intensity) * 2
        if peak and report.gb_per_s:
            knee = peak / report.gb_per_s
            low, high = min(low, knee / 4), max(high, knee * 4)
            line = [low, knee, high]
            roof = [min(peak, report.gb_per_s * x) for x in line]
            axes.plot(line, roof, color="#4a5568", label="roof at 8 bits")
        for bound in sorted({layer.bound for layer in points}):
            chosen = [index for index, layer in enumerate(points) if layer.bound == bound]
            axes.scatter(
                [intensity[i] for i in chosen], [rate[i] for i in chosen], s=18, label=f"bound by {bound}"
            )
        axes.legend(fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="MAC per DRAM byte", ylabel="GMAC/s")
    axes.set_title(f"{report.workload} on {report.machine} ({report.status})", fontsize=10)


def _latency(axes: Any, report: SimulationReport, layers: list[LayerCost]) -> None:
    """Draw stacked bars: the time of each launch by cause."""
    names = [layer.name if len(layer.name) <= 24 else "..." + layer.name[-21:] for layer in layers]
    base = [0.0] * len(layers)
    parts = {
        "compute": [_microseconds(report, min(layer.cycles, layer.total_cycles)) for layer in layers],
        "stall": [_microseconds(report, layer.stall_cycles) for layer in layers],
        "fill": [_microseconds(report, layer.fill_cycles) for layer in layers],
        "overhead": [layer.overhead_us for layer in layers],
    }
    places = range(len(layers))
    for name, values in parts.items():
        axes.bar(places, values, bottom=base, color=_COLOURS[name], label=name, width=0.8)
        base = [low + value for low, value in zip(base, values)]
    axes.set_xticks(list(places), names, rotation=90, fontsize=6)
    axes.set_ylabel("latency, us")
    axes.legend(fontsize=8)
    axes.margins(x=0.005)
