"""The result of ``export`` as text and as data."""

import dataclasses
from typing import Any

from dybitq.api.export import ExportResult
from dybitq.errors import counted


def export_text(result: ExportResult) -> str:
    """Print two lines: the files written, and the golden values."""
    return (
        f"{result.folder}: {result.operations} operations, {result.files} binaries, "
        f"{result.weight_bytes:,} B of packed weights, {result.total_bytes:,} B in all\n"
        f"golden values of {result.golden_tensors} tensors for {counted(result.samples, 'sample')}"
    )


def export_document(result: ExportResult) -> dict[str, Any]:
    """Convert a result to data."""
    return {**dataclasses.asdict(result), "folder": str(result.folder)}
