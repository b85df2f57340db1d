"""The result of ``export``, as text and as data."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dybitq.report.page import Page, Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult(Shown):
    """What ``export`` wrote.

    Attributes:
        folder: where.
        operations: entries of the manifest.
        files: binaries.
        weight_bytes: packed weights.
        total_bytes: all files together.
        samples: golden samples.
        golden_tensors: tensors with golden values, inputs and outputs included.
    """

    folder: Path
    operations: int
    files: int
    weight_bytes: int
    total_bytes: int
    samples: int
    golden_tensors: int

    def page(self) -> Page:
        """Two lines: what was written, and its golden values."""
        written = (
            f"{self.folder}: {self.operations} operations, {self.files} binaries, "
            f"{self.weight_bytes:,} B of packed weights, {self.total_bytes:,} B in all"
        )
        plural = "s" if self.samples > 1 else ""
        return [written, f"golden values of {self.golden_tensors} tensors for {self.samples} sample{plural}"]

    def document(self) -> dict[str, Any]:
        """The same as data."""
        return {**dataclasses.asdict(self), "folder": str(self.folder)}
