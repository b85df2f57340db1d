"""An integer network as a manifest and raw binaries, with nothing of ONNX.

All binaries are little-endian and without headers; the manifest has the type and shape of each. Weights are
packed codes (docs/packing.md) with the table of their format.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

import numpy as np

from dybitq import bits
from dybitq.records.formats import NumberFormat
from dybitq.records.geometry.windows import Window
from dybitq.records.integer_network import IntegerNetwork, Operation, Requantize, Weight
from dybitq.verification.bounds import AccumulatorBound, accumulator_bounds

SCHEMA_VERSION = 1
_INLINE = 64  # constants up to this size stand in the manifest itself
_OMITTED = ("name", "reason", "input_rank")  # stands in front; of interest for a float model only
_KEYS = {"weight": "weights", "multiplier": "multipliers", "shift": "shifts"}  # of arrays
_ELEMENTS = {
    "bias": np.int32,
    "scale": np.float32,
    "table": np.uint8,
    "multipliers": np.uint32,
    "shifts": np.uint8,
}  # types of the files


@dataclass(slots=True, kw_only=True)
class Manifest:
    """A manifest under construction.

    Attributes:
        operations: entries in order.
        formats: number formats used, by name.
        files: content by path below the folder.
    """

    operations: list[dict[str, Any]] = field(default_factory=list)
    formats: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def array(self, path: str, array: np.ndarray) -> dict[str, Any]:
        """Store ``array`` as a binary; the reference to it."""
        little = array.astype(array.dtype.newbyteorder("<"))
        self.files[path] = little.tobytes()
        return {"file": path, "dtype": str(array.dtype), "shape": list(array.shape)}


def write_network(network: IntegerNetwork) -> Manifest:
    """Write every operation of a network as an entry and its binaries."""
    manifest = Manifest()
    bounds = {bound.name: bound for bound in accumulator_bounds(network)}
    for number, operation in enumerate(network.operations):
        entry = _entry(manifest, f"data/{number:03d}", operation)
        bound = bounds.get(operation.name)
        if bound is not None:
            entry["accumulator"] = _bound(bound)
        manifest.operations.append(entry)
    for name, codes in network.constants.items():
        reference = manifest.array(f"data/constant_{len(manifest.files):03d}.bin", codes)
        manifest.operations.insert(
            0, {"operation": "constant", "name": name, "output": name, "values": reference}
        )
    return manifest


def _bound(bound: AccumulatorBound) -> dict[str, Any]:
    return {"low": bound.low, "high": bound.high, "bits": bound.bits, "product_bits": bound.product_bits}


def _entry(manifest: Manifest, path: str, operation: Operation) -> dict[str, Any]:
    head = {"operation": operation.kind, "name": operation.name}
    return head | _fields(manifest, path, operation)


def _fields(manifest: Manifest, path: str, record: Operation | Requantize | Window) -> dict[str, Any]:
    """Every field of a record under its name, in order; arrays become files."""
    entry = {}
    for field_of_record in fields(record):
        name, value = field_of_record.name, getattr(record, field_of_record.name)
        if name not in _OMITTED:
            key = _KEYS.get(name, name) if isinstance(value, np.ndarray | Weight) else name
            entry[key] = _value(manifest, path, key, value)
    return entry


def _value(manifest: Manifest, path: str, key: str, value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return manifest.array(f"{path}_{key}.bin", value.astype(_ELEMENTS[key]))
    if isinstance(value, Weight):
        return _weights(manifest, f"{path}_{key}.bin", value)
    if isinstance(value, Requantize | Window):
        return _fields(manifest, path, value)
    if isinstance(value, Mapping):
        return {name: list(item) if isinstance(item, tuple) else item for name, item in value.items()}
    if not isinstance(value, tuple):
        return str(value) if isinstance(value, StrEnum) else value
    match key:
        case "operands":
            return [_operand(manifest, f"{path}_{k}", item) for k, item in enumerate(value)]
        case "requantize":
            return [_fields(manifest, f"{path}_{k}", item) for k, item in enumerate(value)]
        case "multipliers":
            numbered = enumerate(item.astype(_ELEMENTS[key]) for item in value)
            return [manifest.array(f"{path}_{key}_{k}.bin", item) for k, item in numbered]
    return list(value)


def _weights(manifest: Manifest, name: str, weight: Weight) -> dict[str, Any]:
    _format(manifest, weight.format)
    manifest.files[name] = bits.pack(np.ascontiguousarray(weight.codes), weight.format.bits)
    return {
        "file": name,
        "format": weight.format.name,
        "bits": weight.format.bits,
        "shape": list(weight.codes.shape),
    }


def _format(manifest: Manifest, fmt: NumberFormat) -> None:
    if fmt.name not in manifest.formats:
        table = manifest.array(f"tables/{fmt.name}.bin", fmt.table.astype(np.int16))
        manifest.formats[fmt.name] = {"bits": fmt.bits, "table": table}


def _operand(manifest: Manifest, path: str, operand: str | np.ndarray | None) -> dict[str, Any] | None:
    if operand is None:
        return None
    if isinstance(operand, str):
        return {"tensor": operand}
    if operand.size <= _INLINE:
        return {"values": operand.tolist(), "dtype": str(operand.dtype)}
    return {"constant": manifest.array(f"{path}.bin", operand)}
