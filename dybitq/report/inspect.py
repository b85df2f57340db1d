"""The result of ``inspect``, as text and as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dybitq.errors import first_of
from dybitq.graph.stored.contents import StoredTensor
from dybitq.records.formats import Granularity, PerBlock, PerChannel
from dybitq.records.geometry.products import ActivationProduct, EmbeddingTable
from dybitq.records.layers import QuantizedLayer
from dybitq.records.models import ModelSource
from dybitq.report.page import Page, Shown, Table

_LARGEST = 10
_NAMES_SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCoverage:
    """Quantized part of a model, in layers, weights, bytes and MACs.

    Attributes:
        layers, quantized_layers: layers with weights, and those whose weights are stored in codes.
        weights, quantized_weights: numbers of weights; a weight that several layers share counts once.
        weight_bytes, quantized_bytes: what the file stores for them, scales and tables included.
        tensor_bytes: all tensors of the file.
        macs, quantized_macs: multiplications of weights or activations for one sample, and those of
            them where both operands are codes; None where shapes are unknown.
    """

    layers: int
    quantized_layers: int
    weights: int
    quantized_weights: int
    weight_bytes: int
    quantized_bytes: int
    tensor_bytes: int
    macs: int | None
    quantized_macs: int | None

    @property
    def bits_per_weight(self) -> float:
        """Stored bits for one weight on average, scales and tables included; 0 without weights."""
        return 8 * self.weight_bytes / self.weights if self.weights else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectResult(Shown):
    """Result of ``inspect``: the contents of an ONNX model.

    Attributes:
        model: the file, or the model in memory.
        sha256: hash of it and its external data.
        file_bytes: size of the file.
        external_bytes: size of its external data files.
        opset, ir_version, producer: as the file says.
        domains: other operator domains, with their versions.
        metadata: entries that dybitq wrote (``dybitq.*``), the plan left out.
        layers: layers that multiply, and the look-ups of embeddings.
        tensors: everything stored.
        coverage: sums over the layers.
        notes: what stays in float and why.
    """

    model: ModelSource
    sha256: str
    file_bytes: int
    external_bytes: int
    opset: int
    ir_version: int
    producer: str
    domains: Mapping[str, int]
    metadata: Mapping[str, str]
    layers: tuple[QuantizedLayer, ...]
    tensors: tuple[StoredTensor, ...]
    coverage: StoredCoverage
    notes: tuple[str, ...]

    def page(self) -> Page:
        """Print facts about the file, a table of layers, the coverage, the largest tensors, and notes."""
        return inspection_page(self)

    def document(self) -> dict[str, Any]:
        """Convert the inspection to data."""
        coverage = self.coverage
        return {
            "model": str(self.model),
            "sha256": self.sha256,
            "file_bytes": self.file_bytes,
            "external_bytes": self.external_bytes,
            "opset": self.opset,
            "ir_version": self.ir_version,
            "producer": self.producer,
            "domains": dict(self.domains),
            "metadata": dict(self.metadata),
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
            "layers": [_layer_document(layer) for layer in self.layers],
            "tensors": [
                {
                    "name": tensor.name,
                    "element_type": tensor.element_type,
                    "shape": list(tensor.shape),
                    "bytes": tensor.size_bytes,
                    "share": tensor.size_bytes / coverage.tensor_bytes if coverage.tensor_bytes else 0.0,
                    "layer": tensor.layer,
                }
                for tensor in self.tensors
            ],
            "notes": list(self.notes),
        }


def is_quantized(layer: QuantizedLayer) -> bool:
    """Tell whether the weights of a layer are stored in codes."""
    return layer.granularity is not None


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
    stored = not isinstance(work.geometry, ActivationProduct)
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


def inspection_page(result: InspectResult, *, all_tensors: bool = False) -> Page:
    """Print facts about the file, a table of layers, the coverage, the largest tensors, and notes.

    Args:
        result: of :func:`dybitq.api.inspect.inspect`.
        all_tensors: list every stored tensor instead of the largest ones.
    """
    header = ("layer", "operator", "weight", "stored as", "scale", "activation", "out", "MACs", "bytes", "")
    total = result.coverage.tensor_bytes
    lines: list[str | Table] = [_file_line(result)]
    lines += [f"{key}: {_in_short(value)}" for key, value in result.metadata.items()]
    rows = [_row(layer, total) for layer in result.layers]
    if rows:
        lines += ["", Table(header=header, rows=rows, left=6), ""]
    lines.append(coverage_line(result.coverage))
    lines += _tensor_lines(result, all_tensors=all_tensors)
    lines += [f"note: {note}" for note in result.notes]
    return lines


def _in_short(value: str) -> str:
    """Join names, which metadata hold one per line, on one line."""
    return first_of(value.splitlines(), _NAMES_SHOWN)


def _file_line(result: InspectResult) -> str:
    external = f" and {_size(result.external_bytes)} of external data" if result.external_bytes else ""
    domains = "".join(f", {domain} {version}" for domain, version in result.domains.items())
    producer = f", made by {result.producer}" if result.producer else ""
    size = f"{_size(result.file_bytes)}{external}"
    return f"{result.model}: {size}, opset {result.opset}{domains}, IR version {result.ir_version}{producer}"


def _tensor_lines(result: InspectResult, *, all_tensors: bool) -> Page:
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
    return [summary, "", Table(header=header, rows=rows, left=4), ""]


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
