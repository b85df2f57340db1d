"""The result of ``calibrate``, as text and as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dybitq.errors import first_of
from dybitq.records.statistics import MomentKind, Statistics
from dybitq.report.page import Page, Shown

_SHOWN = 5  # names in a note; the JSON document has all


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CalibrateResult(Shown):
    """Statistics of a network, and a summary of them.

    Attributes:
        statistics: what was collected; usable wherever a statistics file is.
        output: the file written, None if there is none.
        file_bytes: its size.
        samples: samples seen, of all merged parts.
        seconds: wall time of the pass over the data.
        tensors: activation tensors with a histogram.
        layers: layers with weights.
        moments: number of second moments by kind.
        reduced: moments poorer than what was asked for, with their kind, because of the memory budget.
        constant_tensors: tensors that held one and the same value in all samples.
        constant_channels: by layer, how many of its output channels never changed.
    """

    statistics: Statistics = field(repr=False)
    output: Path | None
    file_bytes: int
    samples: int
    seconds: float
    tensors: int
    layers: int
    moments: Mapping[MomentKind, int]
    reduced: Mapping[str, MomentKind]
    constant_tensors: tuple[str, ...]
    constant_channels: Mapping[str, int]

    def page(self) -> Page:
        """Print a few lines: the contents, and notes on unusual values."""
        return _page(self)

    def document(self) -> dict[str, Any]:
        """Convert the result to data."""
        return {
            "output": None if self.output is None else str(self.output),
            "file_bytes": self.file_bytes,
            "samples": self.samples,
            "seconds": round(self.seconds, 3),
            "tensors": self.tensors,
            "layers": self.layers,
            "moments": {kind.value: count for kind, count in self.moments.items()},
            "reduced_moments": {name: kind.value for name, kind in self.reduced.items()},
            "constant_tensors": list(self.constant_tensors),
            "constant_channels": dict(self.constant_channels),
        }


def _page(result: CalibrateResult) -> Page:
    kinds = ", ".join(f"{count} {kind}" for kind, count in result.moments.items()) or "none"
    lines = [
        f"{result.output or 'statistics in memory'}: {result.file_bytes:,} B",
        f"samples {result.samples}, in {result.seconds:.1f} s",
        f"tensors {result.tensors}, layers {result.layers}, second moments {kinds}",
    ]
    if not result.layers:
        lines.append(
            "note: no layer has float32 weights, so there is nothing to quantize; calibrate the float model"
        )
    if result.reduced:
        kept = [f"{name} {kind}" for name, kind in result.reduced.items()]
        lines.append(f"note: less of the second moment, to stay within --memory: {first_of(kept, _SHOWN)}")
    if result.constant_tensors:
        lines.append(f"note: constant in all samples: {first_of(result.constant_tensors, _SHOWN)}")
    if result.constant_channels:
        counts = [f"{count} of {name}" for name, count in result.constant_channels.items()]
        lines.append(f"note: output channels that never change: {first_of(counts, _SHOWN)}")
    return lines
