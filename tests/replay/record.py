"""Take a case down the command line and give a fingerprint of every file that comes out.

A fingerprint has two parts, each the first 16 digits of a sha256:

``exact``: of the bytes of the file. The same wherever floats add up alike, see environment.py.

``structure``: of what does not depend on the last bits of floats, so that it holds on every machine. Of a
plan: layers, formats and methods, without the reasons. Of statistics: members, names, shapes and counts.
Of a model: nodes, wiring, attributes, functions, and names, types and shapes of initializers.
"""

import hashlib
import io
import json
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from click.testing import CliRunner

from dybitq.cli.main import group
from tests.replay.networks import Case


def record(name: str, case: Case) -> dict[str, str]:
    """Fingerprints of all artefacts of a case, run in the current folder.

    Returns:
        ``exact structure`` by ``name: command: artefact``.
    """
    Path("model.onnx").write_bytes(case.model())
    np.savez("data.npz", **case.arrays())
    for file, text in case.files.items():
        Path(file).write_text(text)
    made: dict[str, str] = {}
    run(name, f"calibrate model.onnx --data data.npz -o model.stats {case.calibrate}")
    made[f"{name}: calibrate {case.calibrate}".rstrip() + ": statistics"] = statistics_print("model.stats")
    for options in case.quantize:
        quantize(name, options)
        key = f"{name}: quantize {options}".rstrip()
        made[f"{key}: plan"], made[f"{key}: model"] = plan_print("done.yaml"), model_print("small.onnx")
    for options in case.search:
        for old in Path().glob("found*.yaml"):
            old.unlink()
        run(name, f"search model.onnx --statistics model.stats -o found.yaml --force {options}")
        for plan in sorted(Path().glob("found*.yaml")):
            quantize(name, f"--plan {plan}")
            key = f"{name}: search {options}: {plan.stem}"
            made[f"{key} plan"], made[f"{key} model"] = plan_print(str(plan)), model_print("small.onnx")
    return made


def quantize(name: str, options: str) -> None:
    """Run ``dybitq quantize`` on the case's model, to small.onnx and done.yaml."""
    fixed = "quantize model.onnx --statistics model.stats -o small.onnx --save-plan done.yaml --force"
    run(name, f"{fixed} {options}")


def run(name: str, command: str) -> None:
    """Run ``dybitq`` in this process; it has to succeed."""
    result = CliRunner().invoke(group, shlex.split(command))
    assert result.exit_code == 0, f"{name}: dybitq {command}: exit code {result.exit_code}\n{result.output}"


def digest(content: bytes | Any) -> str:
    """First 16 digits of the sha256 of bytes, or of a value as JSON."""
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def plan_print(path: str) -> str:
    """Fingerprint of a plan; reasons and relative changes of scales have floats in them."""
    content = Path(path).read_bytes()
    plan = yaml.safe_load(content)
    loose = ("reason", "snap")
    for part in ("layers", "edges"):
        plan[part] = [{k: v for k, v in line.items() if k not in loose} for line in plan.get(part, ())]
    return f"{digest(content)} {digest(plan)}"


def statistics_print(path: str) -> str:
    """Fingerprint of a statistics file; the used bins of histograms depend on the last bits of floats."""
    members: dict[str, Any] = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith(".npy"):
                array = np.load(io.BytesIO(content))
                shape = None if name in ("bins.npy", "counts.npy") else array.shape
                members[name] = (str(array.dtype), shape)
            else:
                members[name] = list(discrete(json.loads(content)))
    return f"{digest(Path(path).read_bytes())} {digest(members)}"


def discrete(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Names and whole numbers of a JSON document, each with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "bins":
                yield from discrete(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from discrete(inner, f"{path}/{index}")
    elif not isinstance(value, float):
        yield path, value


def model_print(path: str) -> str:
    """Fingerprint of an emitted model."""
    content = Path(path).read_bytes()
    model = onnx.load_model_from_string(content)
    structure = {
        "opsets": sorted((entry.domain, entry.version) for entry in model.opset_import),
        "metadata": sorted(entry.key for entry in model.metadata_props),
        "functions": [
            (f.domain, f.name, list(f.input), list(f.output), nodes(f.node)) for f in model.functions
        ],
        "nodes": nodes(model.graph.node),
        "initializers": [(t.name, t.data_type, list(t.dims)) for t in model.graph.initializer],
        "values": [v.SerializeToString(deterministic=True).hex() for v in model.graph.input]
        + [v.SerializeToString(deterministic=True).hex() for v in model.graph.output],
    }
    return f"{digest(content)} {digest(structure)}"


def nodes(sequence: Any) -> list[Any]:
    """Operators, wiring, and attributes whose values are discrete."""
    return [
        (
            node.domain,
            node.op_type,
            node.name,
            list(node.input),
            list(node.output),
            [(a.name, a.type, a.i, a.s.hex(), list(a.ints)) for a in node.attribute],
        )
        for node in sequence
    ]
