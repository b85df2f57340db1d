"""The result of ``export``, as text and as data."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dybitq.errors import counted
from dybitq.report.page import Page, Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult(Shown):
    """Result of ``export``: the files written.

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
        """Print two lines: the files written, and the golden values."""
        written = (
            f"{self.folder}: {self.operations} operations, {self.files} binaries, "
            f"{self.weight_bytes:,} B of packed weights, {self.total_bytes:,} B in all"
        )
        samples = counted(self.samples, "sample")
        return [written, f"golden values of {self.golden_tensors} tensors for {samples}"]

    def document(self) -> dict[str, Any]:
        """Convert the result to data."""
        return {**dataclasses.asdict(self), "folder": str(self.folder)}
