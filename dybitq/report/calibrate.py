"""The result of ``calibrate`` as text and as data."""

from typing import Any

from dybitq.api.calibrate import CalibrateResult
from dybitq.errors import first_of

_SHOWN = 5  # names in a note; the JSON document has all


def calibrate_text(result: CalibrateResult) -> str:
    """Print a few lines: the contents of the file, and notes on unusual values."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in result.moments.items()) or "none"
    lines = [
        f"{result.output}: {result.file_bytes:,} B",
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
    return "\n".join(lines)


def calibrate_document(result: CalibrateResult) -> dict[str, Any]:
    """Convert a result to data."""
    return {
        "output": str(result.output),
        "file_bytes": result.file_bytes,
        "samples": result.samples,
        "seconds": round(result.seconds, 3),
        "tensors": result.tensors,
        "layers": result.layers,
        "moments": {kind.value: count for kind, count in result.moments.items()},
        "reduced_moments": {name: kind.value for name, kind in result.reduced.items()},
        "constant_tensors": list(result.constant_tensors),
        "constant_channels": dict(result.constant_channels),
    }
