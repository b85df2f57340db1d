"""Picture of a search: plans by cost and predicted accuracy."""

from pathlib import Path
from typing import Any

from dybitq.allocation.budgets import COSTS, sqnr_of
from dybitq.errors import ConfigError, UnsupportedError
from dybitq.files import atomic_output
from dybitq.report.plot import SUFFIXES, no_date
from dybitq.report.search import SearchResult


def save_front(result: SearchResult, path: Path, *, force: bool) -> None:
    """Write the picture; the suffix of ``path`` chooses its format.

    Raises:
        ConfigError: another suffix than .svg, .png or .pdf.
        UnsupportedError: matplotlib is not installed.
        OutputError: the file exists already (without ``force``) or cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"--plot {path}: expected a name that ends in {', '.join(SUFFIXES)}")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UnsupportedError("plots need matplotlib; install dybitq[report]") from error
    with mpl.rc_context({"svg.hashsalt": "dybitq", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.5, 4.5), layout="constrained")
        _draw(figure.subplots(), result)
        with atomic_output(path, force=force) as temporary:
            figure.savefig(temporary, format=suffix[1:], metadata=no_date(suffix))


def _draw(axes: Any, result: SearchResult) -> None:
    cost = result.minimise or next((x.cost for x in result.limits if x.name in COSTS), "latency")
    base = result.baseline[cost] or 1.0
    costs = [one.found.costs[cost] / base for one in result.plans]
    errors = [one.found.error for one in result.plans]
    values = [sqnr_of(error) for error in errors] if result.relative_error else errors
    axes.plot(costs, values, marker="o", color="#2b6cb0")
    for number, (one, x, y) in enumerate(zip(result.plans, costs, values), start=1):
        axes.annotate(
            str(number) if one.path is None else one.path.stem,
            (x, y),
            textcoords="offset points",
            xytext=(5, -9),
            fontsize=7,
        )
    for limit in result.limits:
        if limit.cost == cost:
            axes.axvline(
                limit.absolute(result.baseline) / base, color="#dd6b20", linestyle="--", label="budget"
            )
            axes.legend(fontsize=8)
    axes.set(
        xlabel=f"{cost}, share of uniform int8",
        ylabel="predicted SQNR, dB" if result.relative_error else f"objective ({result.sensitivity})",
    )
    axes.set_title(f"plans on {result.hardware}", fontsize=10)
    axes.grid(alpha=0.3)
