"""``dybitq inspect`` as a function."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dybitq.graph import keys
from dybitq.graph.read import external_files, read
from dybitq.graph.stored.contents import StoredTensor
from dybitq.graph.stored.quantized import stored_survey
from dybitq.records.geometry.products import MatrixPair
from dybitq.records.layers import QuantizedLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCoverage:
    """How much of a model is quantized.

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
class Inspection:
    """What an ONNX file is and holds.

    Attributes:
        path: the file.
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

    path: Path
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


def inspect(path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Inspection:
    """Say what an ONNX file stores, layer by layer: float, quantized by any tool, or made by dybitq.

    Args:
        path: ONNX file.
        shapes: of graph inputs whose extents the model leaves open, so that MACs can be counted.

    Raises:
        ModelError: the file cannot be read.
        UnsupportedError: an opset or construct that cannot be handled.
        ConfigError: ``shapes`` names no input or contradicts the model.
    """
    model, sha256 = read(path)
    survey = stored_survey(model, shapes)
    opsets = dict(model.opset_imports)
    return Inspection(
        path=path,
        sha256=sha256,
        file_bytes=path.stat().st_size,
        external_bytes=sum(file.stat().st_size for file in external_files(model, path)),
        opset=opsets.pop("", opsets.pop("ai.onnx", 0)),
        ir_version=model.ir_version,
        producer=" ".join(part for part in (model.producer_name, model.producer_version) if part),
        domains=opsets,
        metadata={
            key: value
            for key, value in model.metadata_props.items()
            if key.startswith(keys.PREFIX) and key not in (keys.PLAN, keys.CHECKSUM)
        },
        layers=survey.layers,
        tensors=survey.tensors,
        coverage=coverage_of(survey.layers, survey.tensors),
        notes=survey.notes,
    )


def is_quantized(layer: QuantizedLayer) -> bool:
    """Whether the weights of a layer are stored in codes."""
    return layer.granularity is not None


def coverage_of(layers: tuple[QuantizedLayer, ...], tensors: tuple[StoredTensor, ...]) -> StoredCoverage:
    """Sums over the layers of a file."""
    weighted = [layer for layer in layers if not isinstance(layer.layer.geometry, MatrixPair)]
    quantized = [layer for layer in weighted if is_quantized(layer)]
    macs = [layer.layer.macs for layer in layers]
    integer = [layer.layer.macs for layer in layers if layer.weight_bits <= 8 and layer.activation_bits <= 8]
    return StoredCoverage(
        layers=len(weighted),
        quantized_layers=len(quantized),
        weights=_weights(weighted),
        quantized_weights=_weights(quantized),
        weight_bytes=sum(layer.stored_bytes for layer in weighted),
        quantized_bytes=sum(layer.stored_bytes for layer in quantized),
        tensor_bytes=sum(tensor.size_bytes for tensor in tensors),
        macs=_sum(macs),
        quantized_macs=None if None in macs else _sum(integer),
    )


def _weights(layers: list[QuantizedLayer]) -> int:
    """Number of weights, each stored tensor once."""
    distinct = {layer.layer.weight: layer.layer.weight_count for layer in layers}
    return sum(distinct.values())


def _sum(macs: list[int | None]) -> int | None:
    known = [count for count in macs if count is not None]
    return sum(known) if len(known) == len(macs) else None
