"""The result of ``quantize`` as text and as data."""

import dataclasses
from typing import Any

from dybitq.api.quantize import Coverage, QuantizeResult
from dybitq.plan.store import plan_document


def quantize_text(result: QuantizeResult) -> str:
    """Print a few lines: quantized layers, stored bytes, and the result of the test run."""
    coverage = result.coverage
    lines = [f"{result.output}: {_size(coverage.file_bytes)}, {_ratio(coverage)} the float file"]
    done = coverage.layers - len(coverage.float_layers)
    quantized = sum(share.weights for share in coverage.shares)
    lines.append(
        f"quantized {done} of {coverage.layers} layers, {quantized:,} of {coverage.weights:,} weights; "
        f"codes and scales take {_size(coverage.weight_bytes)}"
    )
    for share in coverage.shares:
        macs = (
            "" if share.macs is None or not coverage.macs else f", {share.macs / coverage.macs:.1%} of MACs"
        )
        lines.append(
            f"  {share.format:8} {share.layers:4} {'layer ' if share.layers == 1 else 'layers'} "
            f"{share.weights:12,} weights, "
            f"{_size(share.packed_bytes)} packed{macs}"
        )
    if coverage.float_layers:
        lines.append("left in float: " + ", ".join(coverage.float_layers))
    lines.append(
        f"runs in onnxruntime; {result.check.sqnr_db:.1f} dB against the float model on random inputs "
        "(dybitq evaluate measures real ones)"
    )
    if result.float_operators:
        count = len(result.float_operators)
        lines.append(f"{count} operator{' is' if count == 1 else 's are'} not integer arithmetic:")
        lines += [f"  {op.op_type} {op.name}: {op.reason}" for op in result.float_operators]
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join(lines)


def quantize_document(result: QuantizeResult) -> dict[str, Any]:
    """Convert a result to data, with the plan and the fitted error of every layer."""
    return {
        "output": str(result.output),
        "coverage": dataclasses.asdict(result.coverage),
        "check": dataclasses.asdict(result.check),
        "plan": plan_document(result.plan),
        "fitted_errors": dict(result.fitted_errors),
        "notes": list(result.notes),
        "float_operators": [dataclasses.asdict(op) for op in result.float_operators],
    }


def _size(size_bytes: int) -> str:
    if size_bytes < 100_000:
        return f"{size_bytes:,} B"
    return f"{size_bytes / 1000:,.0f} kB" if size_bytes < 10_000_000 else f"{size_bytes / 1e6:,.1f} MB"


def _ratio(coverage: Coverage) -> str:
    return f"1/{coverage.source_bytes / max(1, coverage.file_bytes):.1f} of"
