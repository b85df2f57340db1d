"""Bytes in quantized files: packed weights against their bits, and whole files.

``python benchmarks/size.py`` prints a Markdown table. "bits" is the sum over all weights of their width,
in bytes. "stored" is what the file holds for them: codes with their padding, scales, tables, and the name
and header of every initializer of a layer. "allowed" is 1 % more than "bits", 64 bytes for each weight
tensor and 5 for each channel. "functions" decode the codes, "plan" is the metadata.
"""

from pathlib import Path

import onnx
import prepared

from dybitq.api.inspect import inspect

WEIGHTS = ("int2", "int3", "dybit4", "int5", "int8")
NETWORKS = ("resnet20_cifar10", "mobilenet_v1_075_224", "squeezenet1_1", "minilm_l6_v2")


def proto_bytes(message: object) -> int:
    """Bytes of a message inside another: itself, its tag and its length."""
    size = message.ByteSize()
    return size + 1 + (size.bit_length() + 6) // 7


def parts_of(path: Path) -> dict[str, int]:
    """Bytes of the file by what they are for."""
    model = onnx.load(path)
    found = inspect(path)
    own = {tensor.name for tensor in found.tensors if tensor.layer is not None}
    headers = sum(
        proto_bytes(tensor) - len(tensor.raw_data) for tensor in model.graph.initializer if tensor.name in own
    )
    return {
        "stored": found.coverage.quantized_bytes + headers,
        "functions": sum(map(proto_bytes, model.functions)),
        "plan": sum(map(proto_bytes, model.metadata_props)),
        "file": path.stat().st_size,
    }


def measure(bench: prepared.Bench) -> None:
    """Print the table."""
    row = prepared.table(
        ("network", "weights", "bits", "stored", "allowed", "functions", "plan", "file", "float32 / file")
    )
    for name in bench.networks:
        for weights in WEIGHTS:
            path = bench.quantized(name, weights=weights)
            layers = [layer for layer in inspect(path).layers if layer.granularity is not None]
            bits = sum(layer.layer.weight_count * layer.weight_bits for layer in layers) / 8
            channels = sum(
                layer.layer.geometry.extents[layer.layer.geometry.channel_axis] for layer in layers
            )
            parts = parts_of(path)
            allowed = 1.01 * bits + 64 * len(layers) + 5 * channels
            row(
                name,
                weights,
                f"{bits:,.0f}",
                f"{parts['stored']:,}",
                f"{allowed:,.0f}",
                f"{parts['functions']:,}",
                f"{parts['plan']:,}",
                f"{parts['file']:,}",
                f"{bench.model(name).stat().st_size / parts['file']:.2f}",
            )


if __name__ == "__main__":
    prepared.run(__doc__, NETWORKS, measure)
