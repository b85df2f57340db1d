"""A reader of exported folders, written from docs/integer-only.md alone: no ONNX, nothing of dybitq.

It computes in Python integers and numpy int64, and is as slow as it is plain.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


class Machine:
    """Runs one exported folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        self.tensors: dict[str, np.ndarray] = {}

    def array(self, reference: dict[str, Any]) -> np.ndarray:
        """A raw binary."""
        kind = np.dtype(reference["dtype"]).newbyteorder("<")
        return np.fromfile(self.folder / reference["file"], kind).reshape(reference["shape"])

    def weights(self, entry: dict[str, Any]) -> np.ndarray:
        """Packed codes, least significant bit first, through the table of their format."""
        bits, count = entry["bits"], int(np.prod(entry["shape"]))
        stream = np.unpackbits(np.fromfile(self.folder / entry["file"], np.uint8), bitorder="little")
        codes = stream[: bits * count].reshape(count, bits) @ (1 << np.arange(bits))
        table = self.array(self.manifest["formats"][entry["format"]]["table"]).astype(np.int64)
        return table[codes].reshape(entry["shape"])

    def run(self, inputs: dict[str, np.ndarray]) -> Iterator[str]:
        """Compute every tensor in order; yields their names."""
        self.tensors = dict(inputs)
        for entry in self.manifest["operations"]:
            result = getattr(self, "do_" + entry["operation"])(entry)
            names = entry.get("outputs") or [entry["output"]]
            for name, array in zip(names, result if isinstance(result, list) else [result], strict=True):
                self.tensors[name] = array
                yield name

    # ------------------------------------------------------------- arithmetic of the page

    def round_shift(self, value: np.ndarray, shift: np.ndarray, rounding: str) -> np.ndarray:
        """``round(value / 2^shift)``."""
        half = (np.int64(1) << shift) >> 1
        if rounding == "half-up":
            return (value + half) >> shift
        odd = (value >> shift) & 1
        return np.where(shift == 0, value, (value + half - 1 + odd) >> np.maximum(shift, 0))

    def requantize(self, total: np.ndarray, entry: dict[str, Any] | None, axis: int) -> np.ndarray:
        """Accumulator to codes; several factors lie along ``axis``."""
        if entry is None:
            return total.astype(np.int32)
        b, c = (self.array(entry[k]).astype(np.int64) for k in ("multipliers", "shifts"))
        shape = [1] * total.ndim
        shape[axis] = -1
        b, c = (v if v.size == 1 else v.reshape(shape) for v in (b, c))
        rounded = self.round_shift(total * b, c, entry["rounding"]) + entry["zero_point"]
        return np.clip(rounded, entry["low"], entry["high"]).astype(np.uint8)

    def centred(self, name: str, zero: int) -> np.ndarray:
        """Codes less zero point."""
        return self.tensors[name].astype(np.int64) - zero

    def do_constant(self, e: dict[str, Any]) -> np.ndarray:
        """Codes that never change."""
        return self.array(e["values"])

    def do_quantize(self, e: dict[str, Any]) -> np.ndarray:
        """The way in."""
        codes = np.rint(self.tensors[e["input"]] / np.float32(e["scale"])) + e["zero_point"]
        return np.clip(codes, e["low"], e["high"]).astype(np.uint8)

    def do_dequantize(self, e: dict[str, Any]) -> np.ndarray:
        """The way out."""
        centred = self.centred(e["input"], e["zero_point"])
        return centred.astype(np.float32) * self.array(e["scale"])

    def do_convolution(self, e: dict[str, Any]) -> np.ndarray:
        """One output place at a time."""
        x, w, win = self.centred(e["input"], e["input_zero"]), self.weights(e["weights"]), e["window"]
        rank = x.ndim - 2
        pads = [(0, 0), (0, 0), *zip(win["pads"][:rank], win["pads"][rank:], strict=True)]
        x = np.pad(x, pads)
        spans = [(k - 1) * d + 1 for k, d in zip(win["kernel"], win["dilations"], strict=True)]
        places = [(n - s) // t + 1 for n, s, t in zip(x.shape[2:], spans, win["strides"], strict=True)]
        group, out = win["group"], w.shape[0]
        total = np.zeros((x.shape[0], out, *places), np.int64)
        for place in np.ndindex(*places):
            cut = [
                slice(p * t, p * t + s, d)
                for p, t, s, d in zip(place, win["strides"], spans, win["dilations"], strict=True)
            ]
            seen = x[:, :, *cut].reshape(x.shape[0], group, -1)
            rows = w.reshape(group, out // group, -1)
            total[:, :, *place] = np.einsum("ngk,gok->ngo", seen, rows).reshape(x.shape[0], out)
        if e["bias"] is not None:
            total += self.array(e["bias"]).astype(np.int64).reshape(-1, *[1] * rank)
        return self.requantize(total, e["requantize"], 1)

    def do_product(self, e: dict[str, Any]) -> np.ndarray:
        """Rows times a matrix."""
        total = self.centred(e["input"], e["input_zero"]) @ self.weights(e["weights"])
        if e["bias"] is not None:
            total = total + self.array(e["bias"])
        return self.requantize(total, e["requantize"], -1)

    def do_activation_product(self, e: dict[str, Any]) -> np.ndarray:
        """Codes times codes."""
        left, right = (self.centred(n, z) for n, z in zip(e["inputs"], e["zeros"], strict=True))
        return self.requantize(left @ right, e["requantize"], -1)

    def do_addition(self, e: dict[str, Any]) -> np.ndarray:
        """Scaled operands over one shift."""
        shift = np.int64(e["shift"])
        terms = [
            self.array(b).astype(np.int64) * self.centred(n, z)
            for n, z, b in zip(e["inputs"], e["zeros"], e["multipliers"], strict=True)
        ]
        if e["each_branch"]:
            total = sum(self.round_shift(term, shift, e["rounding"]) for term in terms)
        else:
            total = self.round_shift(terms[0] + terms[1], shift, e["rounding"])
        kind = np.uint8 if e["bits"] == 8 else np.int32
        return np.clip(total + e["zero_point"], e["low"], e["high"]).astype(kind)

    def do_multiplication(self, e: dict[str, Any]) -> np.ndarray:
        """Elementwise."""
        left, right = (self.centred(n, z) for n, z in zip(e["inputs"], e["zeros"], strict=True))
        return self.requantize(left * right, e["requantize"], -1)

    def do_concatenation(self, e: dict[str, Any]) -> np.ndarray:
        """Every operand rescaled."""
        parts = [
            self.requantize(self.centred(n, z), r, -1)
            for n, z, r in zip(e["inputs"], e["zeros"], e["requantize"], strict=True)
        ]
        return np.concatenate(parts, axis=e["axis"])

    def do_requantization(self, e: dict[str, Any]) -> np.ndarray:
        """Other codes of the same values."""
        return self.requantize(self.centred(e["input"], e["input_zero"]), e["requantize"], -1)

    def do_mean(self, e: dict[str, Any]) -> np.ndarray:
        """Sum over space."""
        total = self.centred(e["input"], e["input_zero"]).sum(axis=tuple(e["axes"]), keepdims=True)
        return self.requantize(total, e["requantize"], -1)

    def do_lookup(self, e: dict[str, Any]) -> np.ndarray:
        """A table."""
        return self.array(e["table"])[self.tensors[e["input"]]]

    def do_clamp(self, e: dict[str, Any]) -> np.ndarray:
        """A clamp."""
        return np.clip(self.tensors[e["input"]], e["low"], e["high"])

    def do_move(self, e: dict[str, Any]) -> list[np.ndarray]:
        """The few operators that the tests need, by their ONNX definitions."""
        operands = []
        for operand in e["operands"]:
            if operand is None:
                operands.append(None)
            elif "tensor" in operand:
                operands.append(self.tensors[operand["tensor"]])
            else:
                operands.append(np.array(operand["values"], operand["dtype"]))
        return [getattr(self, "move_" + e["op_type"].lower())(e["attributes"], *operands)]

    def move_transpose(self, a: dict[str, Any], x: np.ndarray) -> np.ndarray:
        """Axes in another order."""
        return x.transpose(a["perm"])

    def move_flatten(self, a: dict[str, Any], x: np.ndarray) -> np.ndarray:
        """Two axes."""
        return x.reshape(int(np.prod(x.shape[: a.get("axis", 1)])), -1)

    def move_concat(self, a: dict[str, Any], *x: np.ndarray) -> np.ndarray:
        """Side by side."""
        return np.concatenate(x, axis=a["axis"])

    def move_pad(self, a: dict[str, Any], x: np.ndarray, pads: np.ndarray, *rest: np.ndarray) -> np.ndarray:
        """Repeated border, or a constant."""
        both = list(zip(pads[: x.ndim], pads[x.ndim :], strict=True))
        if a.get("mode", "constant") == "edge":
            return np.pad(x, both, mode="edge")
        return np.pad(x, both, constant_values=int(rest[0]))

    def move_depthtospace(self, a: dict[str, Any], x: np.ndarray) -> np.ndarray:
        """Phases fastest within a channel (CRD)."""
        n, c, h, w = x.shape
        s = a["blocksize"]
        return x.reshape(n, c // s**2, s, s, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, -1, h * s, w * s)

    def move_slice(self, a: dict[str, Any], x: np.ndarray, start: Any, end: Any, axes: Any) -> np.ndarray:
        """A part."""
        cut = [slice(None)] * x.ndim
        for s, e, axis in zip(start, end, axes, strict=True):
            cut[axis] = slice(int(s), min(int(e), x.shape[axis]))
        return x[tuple(cut)]

    def move_maxpool(self, a: dict[str, Any], x: np.ndarray) -> np.ndarray:
        """Windows without padding."""
        k = a["kernel_shape"]
        windows = np.lib.stride_tricks.sliding_window_view(x, k, axis=(2, 3))
        return windows.max(axis=(-2, -1))
