"""The result of ``inspect`` as text and as data."""

from typing import Any

from dybitq.api.inspect import Inspection, StoredCoverage, is_quantized
from dybitq.errors import first_of
from dybitq.records.formats import Granularity, PerBlock, PerChannel
from dybitq.records.geometry.products import EmbeddingTable, MatrixPair
from dybitq.records.layers import QuantizedLayer
from dybitq.report.simulate import table

_LARGEST = 10
_NAMES_SHOWN = 6


def granularity_text(granularity: Granularity | None) -> str:
    """Name a granularity: ``tensor``, ``channel``, ``block of 32``, or nothing for float weights."""
    if granularity is None:
        return ""
    if isinstance(granularity, PerChannel):
        return "channel"
    return f"block of {granularity.size}" if isinstance(granularity, PerBlock) else "tensor"


def _size(size_bytes: int) -> str:
    if size_bytes < 100_000:
        return f"{size_bytes:,} B"
    return f"{size_bytes / 1000:,.0f} kB" if size_bytes < 10_000_000 else f"{size_bytes / 1e6:,.1f} MB"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "0.0%"


def _shape(layer: QuantizedLayer) -> str:
    return "x".join("?" if extent is None else str(extent) for extent in layer.layer.weight_shape)


def _row(layer: QuantizedLayer, total: int) -> tuple[str, ...]:
    work = layer.layer
    stored = not isinstance(work.geometry, MatrixPair)
    looked_up = isinstance(work.geometry, EmbeddingTable)
    return (
        work.name,
        work.op_type,
        _shape(layer),
        f"{layer.weight_bits} {layer.weight_format}",
        granularity_text(layer.granularity) if stored else "activation",
        "" if looked_up else f"{layer.activation_bits} {layer.activation_format}",
        str(layer.output_bits),
        "?" if work.macs is None else f"{work.macs:,}",
        f"{layer.stored_bytes:,}" if stored else "",
        _share(layer.stored_bytes, total) if stored else "",
    )


def coverage_line(coverage: StoredCoverage) -> str:
    """Print N of M weights, x of y bytes, and the MACs."""
    line = (
        f"quantized: {coverage.quantized_weights:,} of {coverage.weights:,} weights in "
        f"{coverage.quantized_layers} of {coverage.layers} layers; "
        f"{coverage.quantized_bytes:,} of {coverage.weight_bytes:,} stored bytes "
        f"({coverage.bits_per_weight:.2f} bits a weight)"
    )
    if coverage.macs and coverage.quantized_macs is not None:
        line += f"; {_share(coverage.quantized_macs, coverage.macs)} of {coverage.macs / 1e6:,.2f} MMAC"
    return line


def inspection_text(result: Inspection, *, all_tensors: bool = False) -> str:
    """Print facts about the file, a table of layers, the coverage, the largest tensors, and notes.

    Args:
        result: of :func:`dybitq.api.inspect.inspect`.
        all_tensors: list every stored tensor instead of the largest ones.
    """
    header = ("layer", "operator", "weight", "stored as", "scale", "activation", "out", "MACs", "bytes", "")
    total = result.coverage.tensor_bytes
    lines = [_file_line(result)]
    lines += [f"{key}: {_in_short(value)}" for key, value in result.metadata.items()]
    rows = [_row(layer, total) for layer in result.layers]
    if rows:
        lines += ["", table(header, rows, left=6), ""]
    lines.append(coverage_line(result.coverage))
    lines += _tensor_lines(result, all_tensors=all_tensors)
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join(lines)


def _in_short(value: str) -> str:
    """Join names, which metadata hold one per line, on one line."""
    return first_of(value.splitlines(), _NAMES_SHOWN)


def _file_line(result: Inspection) -> str:
    external = f" and {_size(result.external_bytes)} of external data" if result.external_bytes else ""
    domains = "".join(f", {domain} {version}" for domain, version in result.domains.items())
    producer = f", made by {result.producer}" if result.producer else ""
    size = f"{_size(result.file_bytes)}{external}"
    return f"{result.path}: {size}, opset {result.opset}{domains}, IR version {result.ir_version}{producer}"


def _tensor_lines(result: Inspection, *, all_tensors: bool) -> list[str]:
    tensors, total = result.tensors, result.coverage.tensor_bytes
    others = [tensor for tensor in tensors if tensor.layer is None]
    rest = sum(tensor.size_bytes for tensor in others)
    graph = result.file_bytes + result.external_bytes - total
    summary = (
        f"tensors: {len(tensors)} in {total:,} B, {len(others)} of them in {rest:,} B of no layer; "
        f"everything else in the file: {graph:,} B"
    )
    shown = tensors if all_tensors else sorted(tensors, key=lambda t: -t.size_bytes)[:_LARGEST]
    if not shown:
        return [summary]
    header = ("all" if all_tensors else "largest", "type", "shape", "layer", "bytes", "")
    rows: list[tuple[str, ...]] = [
        (
            tensor.name,
            tensor.element_type,
            "x".join(map(str, tensor.shape)) or "scalar",
            tensor.layer or "",
            f"{tensor.size_bytes:,}",
            _share(tensor.size_bytes, total),
        )
        for tensor in shown
    ]
    return [summary, "", table(header, rows, left=4), ""]


def _granularity_document(granularity: Granularity | None) -> dict[str, Any] | None:
    if granularity is None:
        return None
    if isinstance(granularity, PerChannel):
        return {"kind": "channel", "axis": granularity.axis}
    if isinstance(granularity, PerBlock):
        return {"kind": "block", "axis": granularity.axis, "size": granularity.size}
    return {"kind": "tensor"}


def _layer_document(layer: QuantizedLayer) -> dict[str, Any]:
    work = layer.layer
    return {
        "name": work.name,
        "kind": work.geometry.kind,
        "op_type": work.op_type,
        "weight": work.weight,
        "weight_shape": list(work.weight_shape),
        "weights": work.weight_count,
        "quantized": is_quantized(layer),
        "weight_bits": layer.weight_bits,
        "weight_format": layer.weight_format,
        "granularity": _granularity_document(layer.granularity),
        "activation_bits": layer.activation_bits,
        "activation_format": layer.activation_format,
        "output_bits": layer.output_bits,
        "input_shape": list(work.input_shape),
        "output_shape": list(work.output_shape),
        "macs": work.macs,
        "stored_bytes": layer.stored_bytes,
        "reason": layer.reason,
    }


def inspection_document(result: Inspection) -> dict[str, Any]:
    """Convert an inspection to data."""
    coverage = result.coverage
    return {
        "model": str(result.path),
        "sha256": result.sha256,
        "file_bytes": result.file_bytes,
        "external_bytes": result.external_bytes,
        "opset": result.opset,
        "ir_version": result.ir_version,
        "producer": result.producer,
        "domains": dict(result.domains),
        "metadata": dict(result.metadata),
        "coverage": {
            "layers": coverage.layers,
            "quantized_layers": coverage.quantized_layers,
            "weights": coverage.weights,
            "quantized_weights": coverage.quantized_weights,
            "weight_bytes": coverage.weight_bytes,
            "quantized_bytes": coverage.quantized_bytes,
            "tensor_bytes": coverage.tensor_bytes,
            "bits_per_weight": coverage.bits_per_weight,
            "macs": coverage.macs,
            "quantized_macs": coverage.quantized_macs,
        },
        "layers": [_layer_document(layer) for layer in result.layers],
        "tensors": [
            {
                "name": tensor.name,
                "element_type": tensor.element_type,
                "shape": list(tensor.shape),
                "bytes": tensor.size_bytes,
                "share": tensor.size_bytes / coverage.tensor_bytes if coverage.tensor_bytes else 0.0,
                "layer": tensor.layer,
            }
            for tensor in result.tensors
        ],
        "notes": list(result.notes),
    }
