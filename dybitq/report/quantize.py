"""The result of ``quantize``, as text and as data."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dybitq.graph.source import ModelProto, model_proto
from dybitq.plan.store import plan_document
from dybitq.records.plan import Plan
from dybitq.report.page import Page, Shown
from dybitq.verification.probe import ProbeResult


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatOperator:
    """An operator that integer-only arithmetic left in float."""

    name: str
    op_type: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthShare:
    """Weights and MACs of the layers that share one weight format."""

    format: str
    bits: int
    layers: int
    weights: int
    macs: int | None
    packed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Quantized part of a network, and the bytes that the file stores.

    Attributes:
        layers, weights, macs: totals of the weighted layers (``macs`` None where shapes are unknown).
        shares: the quantized part by format, widest first.
        float_layers: names of the weighted layers left in float.
        file_bytes: size of the emitted file.
        source_bytes: size of the float file, external data not counted.
        weight_bytes: codes, scales and tables as the emitted file stores them.
    """

    layers: int
    weights: int
    macs: int | None
    shares: tuple[WidthShare, ...]
    float_layers: tuple[str, ...]
    file_bytes: int
    source_bytes: int
    weight_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeResult(Shown):
    """Result of ``quantize``: the quantized model, and how it was made.

    Attributes:
        content: the quantized model, serialised: the bytes of its file.
        output: the file written, None if there is none.
        plan: as it was carried out, ``auto`` formats resolved.
        fitted_errors: relative output error of each quantized layer's weights, as fitted.
        coverage: what is quantized and stored.
        check: the emitted file against the float model in onnxruntime.
        notes: what stayed in float and why, and where there was too little data to do as asked.
        float_operators: in integer-only arithmetic, everything that is none.
    """

    content: bytes = field(repr=False)
    output: Path | None
    plan: Plan
    fitted_errors: Mapping[str, float]
    coverage: Coverage
    check: ProbeResult
    notes: tuple[str, ...]
    float_operators: tuple[FloatOperator, ...] = ()

    @property
    def model(self) -> ModelProto:
        """The quantized model, parsed anew at every access."""
        return model_proto(self.content)

    def page(self) -> Page:
        """Print a few lines: quantized layers, stored bytes, and the result of the test run."""
        return _page(self)

    def document(self) -> dict[str, Any]:
        """Convert the result to data, with the plan and the fitted error of every layer."""
        return {
            "output": None if self.output is None else str(self.output),
            "coverage": dataclasses.asdict(self.coverage),
            "check": dataclasses.asdict(self.check),
            "plan": plan_document(self.plan),
            "fitted_errors": dict(self.fitted_errors),
            "notes": list(self.notes),
            "float_operators": [dataclasses.asdict(op) for op in self.float_operators],
        }


def _page(result: QuantizeResult) -> Page:
    coverage = result.coverage
    name = result.output or "model in memory"
    lines = [f"{name}: {_size(coverage.file_bytes)}, {_ratio(coverage)} the float file"]
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
    return lines


def _size(size_bytes: int) -> str:
    if size_bytes < 100_000:
        return f"{size_bytes:,} B"
    return f"{size_bytes / 1000:,.0f} kB" if size_bytes < 10_000_000 else f"{size_bytes / 1e6:,.1f} MB"


def _ratio(coverage: Coverage) -> str:
    return f"1/{coverage.source_bytes / max(1, coverage.file_bytes):.1f} of"
