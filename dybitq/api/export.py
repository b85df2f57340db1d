"""``dybitq export`` as a function: an integer-only model as raw binaries with a manifest."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

import dybitq
from dybitq.data.memory import Data, DataLike, data_of
from dybitq.data.spec import load_data
from dybitq.errors import ConfigError, UnsupportedError
from dybitq.files import atomic_folder, check_folder
from dybitq.graph.source import ModelLike, model_source
from dybitq.graph.stored.plain import StoredModel, read_plain
from dybitq.records.integer_network import Dequantize, IntegerNetwork, Quantize, outputs_of
from dybitq.records.models import ModelSource
from dybitq.report.export import ExportResult
from dybitq.runtime.session import Session
from dybitq.verification.interpreter import interpret
from dybitq.verification.manifest import SCHEMA_VERSION, Manifest, write_network
from dybitq.verification.read.network import read_network
from dybitq.verification.static import prove

MANIFEST = "manifest.json"
SCHEMA = "manifest.schema.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Samples that become golden vectors, and whether those of every tensor are written."""

    split: str
    samples: int
    all_tensors: bool


def export(
    model: ModelLike,
    output: str | os.PathLike[str],
    *,
    data: DataLike | None = None,
    split: str = "val",
    samples: int = 1,
    all_tensors: bool = False,
    force: bool = False,
) -> ExportResult:
    """Write ``model`` as a folder that hardware can be built from; see docs/export.md.

    Golden values are those of the integer reference, not of onnxruntime.

    Args:
        model: integer-only model, of either flavour.
        output: folder to be made.
        data: where golden inputs come from: data spec, .npz or folder of images, or samples in memory;
            without it they are drawn from a seeded generator.
        split: split of the data spec to read.
        samples: number of golden samples.
        all_tensors: golden values of every tensor, not of inputs and outputs alone.
        force: replace a folder that an earlier export has made.

    Raises:
        OutputError: the folder exists or cannot be written.
        UnsupportedError: the model is not integer-only, and the message names the first operator that is not;
            or it was changed since dybitq wrote it.
        ConfigError: without data, and an input has extents that nothing fixes.
    """
    folder, source = Path(output), model_source(model)
    chosen = Golden(split=split, samples=samples, all_tensors=all_tensors)
    given = None if data is None else data_of(data)
    check_folder(folder, force=force, marker=MANIFEST)
    stored, network = _proven(source)
    manifest = write_network(network)
    feeds = _feeds(stored, network, given, chosen)
    golden = _golden(stored, network, manifest, feeds, chosen)
    document = _document(stored, network, manifest, golden)
    with atomic_folder(folder, force=force, marker=MANIFEST) as temporary:
        _write(temporary, document, manifest)
    return ExportResult(
        folder=folder,
        operations=len(manifest.operations),
        files=len(manifest.files),
        weight_bytes=sum(len(c) for n, c in manifest.files.items() if n.endswith("_weights.bin")),
        total_bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        samples=len(feeds),
        golden_tensors=len(golden["tensors"]),
    )


def _proven(source: ModelSource) -> tuple[StoredModel, IntegerNetwork]:
    """Read a model that is integer-only and unchanged.

    Raises:
        UnsupportedError: it is not; the message names the first reason.
    """
    stored = read_plain(source)
    findings = prove(stored.inner).findings
    if findings:
        first = findings[0]
        raise UnsupportedError(
            f"{source}: {first.op_type} {first.operator!r}: {first.problem}; only integer-only models can be "
            "exported, see dybitq verify"
        )
    if stored.changes:
        raise UnsupportedError(
            f"{source}: changed since it was written: {stored.changes[0].problem}; only what dybitq wrote "
            "can be exported, see dybitq verify"
        )
    try:
        network = read_network(stored)
    except ValueError as error:  # somebody else's file
        raise UnsupportedError(f"{source}: {error}") from error
    return stored, network


def schema() -> dict[str, Any]:
    """Return the JSON schema of the manifest."""
    text = resources.files("dybitq.api").joinpath(SCHEMA).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def _write(folder: Path, document: Mapping[str, Any], manifest: Manifest) -> None:
    for name, content in manifest.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / MANIFEST).write_text(_lines(document), encoding="utf-8")
    (folder / SCHEMA).write_text(json.dumps(schema(), indent=1) + "\n", encoding="utf-8")


def _lines(document: Mapping[str, Any]) -> str:
    """JSON with one line for every operation, tensor and format."""
    parts = []
    for key, value in document.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            inner = ",\n  ".join(json.dumps(entry) for entry in value)
            parts.append(f"{json.dumps(key)}: [\n  {inner}\n ]")
        elif isinstance(value, dict) and key != "model":
            inner = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in value.items())
            parts.append(f"{json.dumps(key)}: {{\n  {inner}\n }}")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def _document(
    stored: StoredModel, network: IntegerNetwork, manifest: Manifest, golden: dict[str, Any]
) -> dict[str, Any]:
    tensors = golden.pop("shapes")
    for name, step in network.scales.items():
        tensors[name]["step"] = step
    return {
        "schema_version": SCHEMA_VERSION,
        "generator": f"dybitq {dybitq.__version__}",
        "model": {
            "file": stored.source.name if isinstance(stored.source, Path) else str(stored.source),
            "sha256": stored.sha256,
        },
        "byte_order": "little",
        "inputs": [op.input for op in network.operations if isinstance(op, Quantize)],
        "outputs": list(stored.inner.outputs),
        "tensors": tensors,
        "formats": manifest.formats,
        "operations": manifest.operations,
        "golden": golden,
    }


def _feeds(
    stored: StoredModel, network: IntegerNetwork, data: Data | None, chosen: Golden
) -> list[Mapping[str, np.ndarray]]:
    """Return inputs of the golden samples, one sample each."""
    if data is not None:
        source = load_data(
            data,
            inputs=Session(stored.source, 1).inputs,
            split=chosen.split,
            batch_size=1,
            samples=chosen.samples,
        )
        return [batch.feeds for batch in source]
    generator = np.random.default_rng(0)
    steps = {op.input: op for op in network.operations if isinstance(op, Quantize)}
    found: list[Mapping[str, np.ndarray]] = []
    for _ in range(chosen.samples):
        feeds = {}
        for info in stored.inner.inputs:
            shape = [1 if axis == 0 and extent is None else extent for axis, extent in enumerate(info.shape)]
            if None in shape or info.name not in steps:
                raise ConfigError(
                    f"{stored.source}: input {info.name!r} has the shape {list(info.shape)}; golden inputs "
                    "cannot be made up for it, give --data"
                )
            quantize = steps[info.name]
            codes = generator.integers(quantize.low, quantize.high + 1, [int(d or 1) for d in shape])
            feeds[info.name] = ((codes - quantize.zero_point) * np.float32(quantize.scale)).astype(np.float32)
        found.append(feeds)
    return found


def _golden(
    stored: StoredModel,
    network: IntegerNetwork,
    manifest: Manifest,
    feeds: list[Mapping[str, np.ndarray]],
    chosen: Golden,
) -> dict[str, Any]:
    """Golden values as binaries, one file a tensor with all samples in a row; shapes of one sample."""
    known = [name for operation in network.operations for name in outputs_of(operation)]
    ends = {op.output for op in network.operations if isinstance(op, Quantize)}
    ends |= {
        name for op in network.operations if isinstance(op, Dequantize) for name in (op.input, op.output)
    }
    ends |= set(stored.inner.outputs)
    wanted = set(known) if chosen.all_tensors else ends
    values: dict[str, list[np.ndarray]] = {}
    shapes: dict[str, dict[str, Any]] = {}
    for sample in feeds:
        for name, array in sample.items():
            values.setdefault(name, []).append(array)
        for computed in interpret(stored.inner, sample):
            for name, array in computed.outputs.items():
                if name in known:
                    shapes[name] = {"dtype": str(array.dtype), "shape": list(array.shape)}
                if name in wanted:
                    values.setdefault(name, []).append(array)
    for name, arrays in values.items():
        shapes.setdefault(name, {"dtype": str(arrays[0].dtype), "shape": list(arrays[0].shape)})
    tensors = {
        name: manifest.array(f"golden/{number:03d}.bin", np.stack(arrays))
        for number, (name, arrays) in enumerate(values.items())
        if len({array.shape for array in arrays}) == 1
    }
    return {"samples": len(feeds), "tensors": tensors, "shapes": shapes}
