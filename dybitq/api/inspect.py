"""``dybitq inspect`` as a function."""

from collections.abc import Mapping

from dybitq.graph import keys
from dybitq.graph.read import external_files, read
from dybitq.graph.source import ModelLike, model_source
from dybitq.graph.stored.contents import StoredTensor
from dybitq.graph.stored.quantized import stored_survey
from dybitq.records.geometry.products import MatrixPair
from dybitq.records.layers import QuantizedLayer
from dybitq.records.models import size_bytes
from dybitq.report.inspect import InspectResult, StoredCoverage, is_quantized


def inspect(model: ModelLike, *, shapes: Mapping[str, tuple[int, ...]] | None = None) -> InspectResult:
    """Describe what an ONNX model stores, layer by layer: float, quantized by any tool, or made by dybitq.

    Args:
        model: any ONNX model.
        shapes: of graph inputs whose extents the model leaves open, so that MACs can be counted.

    Raises:
        ModelError: the model cannot be read.
        UnsupportedError: an opset or construct that cannot be handled.
        ConfigError: ``shapes`` names no input or contradicts the model.
    """
    source = model_source(model)
    graph, sha256 = read(source)
    survey = stored_survey(graph, shapes)
    opsets = dict(graph.opset_imports)
    return InspectResult(
        model=source,
        sha256=sha256,
        file_bytes=size_bytes(source),
        external_bytes=sum(file.stat().st_size for file in external_files(graph, source)),
        opset=opsets.pop("", opsets.pop("ai.onnx", 0)),
        ir_version=graph.ir_version,
        producer=" ".join(part for part in (graph.producer_name, graph.producer_version) if part),
        domains=opsets,
        metadata={
            key: value
            for key, value in graph.metadata_props.items()
            if key.startswith(keys.PREFIX) and key not in (keys.PLAN, keys.CHECKSUM)
        },
        layers=survey.layers,
        tensors=survey.tensors,
        coverage=coverage_of(survey.layers, survey.tensors),
        notes=survey.notes,
    )


def coverage_of(layers: tuple[QuantizedLayer, ...], tensors: tuple[StoredTensor, ...]) -> StoredCoverage:
    """Return sums over the layers of a file."""
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
    """Return number of weights, each stored tensor once."""
    distinct = {layer.layer.weight: layer.layer.weight_count for layer in layers}
    return sum(distinct.values())


def _sum(macs: list[int | None]) -> int | None:
    known = [count for count in macs if count is not None]
    return sum(known) if len(known) == len(macs) else None
