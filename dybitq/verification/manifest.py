"""An integer program as a manifest and raw binaries: what hardware needs, and nothing of ONNX.

All binaries are little-endian and without headers; the manifest has the type and shape of each. Weights are
packed codes (docs/packing.md) with the table of their format.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dybitq import bits
from dybitq.records.formats import NumberFormat
from dybitq.records.geometry.windows import Window
from dybitq.records.integer_network import (
    ActivationProduct,
    Addition,
    Clamp,
    Concatenation,
    Convolution,
    Dequantize,
    Lookup,
    Mean,
    Move,
    Multiplication,
    Operation,
    Other,
    Product,
    Program,
    Quantize,
    Requantization,
    Requantize,
    Weight,
)
from dybitq.verification.bounds import AccumulatorBound, accumulator_bounds

SCHEMA_VERSION = 1
_INLINE = 64  # constants up to this size stand in the manifest itself


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


def write_program(program: Program) -> Manifest:
    """Every operation of a program as an entry and its binaries."""
    manifest = Manifest()
    bounds = {bound.name: bound for bound in accumulator_bounds(program)}
    for number, operation in enumerate(program.operations):
        entry = _entry(manifest, f"data/{number:03d}", operation)
        bound = bounds.get(operation.name)
        if bound is not None:
            entry["accumulator"] = _bound(bound)
        manifest.operations.append(entry)
    for name, codes in program.constants.items():
        reference = manifest.array(f"data/constant_{len(manifest.files):03d}.bin", codes)
        manifest.operations.insert(
            0, {"operation": "constant", "name": name, "output": name, "values": reference}
        )
    return manifest


def _bound(bound: AccumulatorBound) -> dict[str, Any]:
    return {"low": bound.low, "high": bound.high, "bits": bound.bits, "product_bits": bound.product_bits}


def _entry(manifest: Manifest, path: str, operation: Operation) -> dict[str, Any]:
    head = {"operation": _NAMES[type(operation)], "name": operation.name}
    match operation:
        case Quantize():
            return head | {
                "input": operation.input,
                "output": operation.output,
                "scale": operation.scale,
                "zero_point": operation.zero_point,
                "low": operation.low,
                "high": operation.high,
            }
        case Dequantize():
            return head | {
                "input": operation.input,
                "output": operation.output,
                "scale": manifest.array(f"{path}_scale.bin", operation.scale.astype(np.float32)),
                "zero_point": operation.zero_point,
            }
        case Convolution() | Product():
            return head | _weighted(manifest, path, operation)
        case Move():
            return head | {
                "op_type": operation.op_type,
                "operands": [_operand(manifest, f"{path}_{k}", o) for k, o in enumerate(operation.operands)],
                "outputs": list(operation.outputs),
                "attributes": _plain(operation.attributes),
            }
        case Other():
            return head | {
                "op_type": operation.op_type,
                "inputs": list(operation.inputs),
                "outputs": list(operation.outputs),
            }
    return head | _elementwise(manifest, path, operation)


def _weighted(manifest: Manifest, path: str, operation: Convolution | Product) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "input": operation.input,
        "output": operation.output,
        "input_zero": operation.input_zero,
        "weights": _weights(manifest, path, operation.weight),
        "bias": None
        if operation.bias is None
        else manifest.array(f"{path}_bias.bin", operation.bias.astype(np.int32)),
        "requantize": _requantize(manifest, path, operation.requantize),
    }
    if isinstance(operation, Convolution):
        entry["window"] = _window(operation.window)
    return entry


def _addition(manifest: Manifest, path: str, operation: Addition) -> dict[str, Any]:
    return {
        "inputs": list(operation.inputs),
        "output": operation.output,
        "zeros": list(operation.zeros),
        "multipliers": [
            manifest.array(f"{path}_multipliers_{k}.bin", b.astype(np.uint32))
            for k, b in enumerate(operation.multipliers)
        ],
        "shift": operation.shift,
        "zero_point": operation.zero_point,
        "low": operation.low,
        "high": operation.high,
        "rounding": str(operation.rounding),
        "each_branch": operation.each_branch,
        "bits": operation.bits,
    }


def _elementwise(manifest: Manifest, path: str, operation: Operation) -> dict[str, Any]:
    match operation:
        case Addition():
            return _addition(manifest, path, operation)
        case ActivationProduct() | Multiplication():
            return {
                "inputs": list(operation.inputs),
                "output": operation.output,
                "zeros": list(operation.zeros),
                "requantize": _requantize(manifest, path, operation.requantize),
            }
        case Concatenation():
            parts = enumerate(operation.requantize)
            return {
                "inputs": list(operation.inputs),
                "output": operation.output,
                "zeros": list(operation.zeros),
                "axis": operation.axis,
                "requantize": [_requantize(manifest, f"{path}_{k}", target) for k, target in parts],
            }
        case Requantization():
            return {
                "input": operation.input,
                "output": operation.output,
                "input_zero": operation.input_zero,
                "requantize": _requantize(manifest, path, operation.requantize),
            }
        case Mean():
            return {
                "input": operation.input,
                "output": operation.output,
                "input_zero": operation.input_zero,
                "axes": list(operation.axes),
                "count": operation.count,
                "requantize": _requantize(manifest, path, operation.requantize),
            }
        case Lookup():
            table = manifest.array(f"{path}_table.bin", operation.table)
            return {"input": operation.input, "output": operation.output, "table": table}
        case Clamp():
            return {
                "input": operation.input,
                "output": operation.output,
                "low": operation.low,
                "high": operation.high,
            }
    raise TypeError(f"no manifest entry for {type(operation).__name__}")


def _weights(manifest: Manifest, path: str, weight: Weight) -> dict[str, Any]:
    _format(manifest, weight.format)
    name = f"{path}_weights.bin"
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


def _requantize(manifest: Manifest, path: str, target: Requantize | None) -> dict[str, Any] | None:
    if target is None:
        return None
    return {
        "multipliers": manifest.array(f"{path}_multipliers.bin", target.multiplier.astype(np.uint32)),
        "shifts": manifest.array(f"{path}_shifts.bin", target.shift.astype(np.uint8)),
        "zero_point": target.zero_point,
        "low": target.low,
        "high": target.high,
        "rounding": str(target.rounding),
    }


def _window(window: Window) -> dict[str, Any]:
    return {
        "kernel": list(window.kernel),
        "strides": list(window.strides),
        "dilations": list(window.dilations),
        "pads": list(window.pads),
        "group": window.group,
    }


def _operand(manifest: Manifest, path: str, operand: str | np.ndarray | None) -> dict[str, Any] | None:
    if operand is None:
        return None
    if isinstance(operand, str):
        return {"tensor": operand}
    if operand.size <= _INLINE:
        return {"values": operand.tolist(), "dtype": str(operand.dtype)}
    return {"constant": manifest.array(f"{path}.bin", operand)}


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in attributes.items()}


_NAMES: dict[type, str] = {
    Quantize: "quantize",
    Dequantize: "dequantize",
    Convolution: "convolution",
    Product: "product",
    ActivationProduct: "activation_product",
    Addition: "addition",
    Multiplication: "multiplication",
    Concatenation: "concatenation",
    Requantization: "requantization",
    Mean: "mean",
    Lookup: "lookup",
    Clamp: "clamp",
    Move: "move",
    Other: "other",
}
