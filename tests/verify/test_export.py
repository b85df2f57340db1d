"""Exported folders: the manifest keeps its schema, and the page and the folder are enough to compute."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from dybitq.api.export import export, schema
from dybitq.cli.main import group
from dybitq.errors import ConfigError, OutputError, UnsupportedError
from dybitq.records.arithmetic import INTEGER_EXPLICIT, INTEGER_FAST, IntegerOptions
from tests.verify.hardware import Machine
from tests.verify.kit import Net, quantize_net
from tests.verify.networks import NETWORKS

EXPORTED = (
    *("residual", "rescaled concat", "concat of two sums", "mean before a classifier", "mean at the end"),
    *("average pooling", "transposed convolution", "linear resize", "silu", "squeeze and excitation"),
    *("a constant is added", "weights on the left", "attention without softmax", "one dimension"),
    *("grouped, dilated, strided, odd pads", "clamp beside another reader"),
)


def conforms(value, rule, whole, where="manifest") -> list[str]:
    """Mistakes of a document against the part of JSON schema that ours uses."""
    if "$ref" in rule:
        return conforms(value, whole["$defs"][rule["$ref"].removeprefix("#/$defs/")], whole, where)
    if "anyOf" in rule:
        tried = [conforms(value, option, whole, where) for option in rule["anyOf"]]
        return [] if [] in tried else [f"{where}: no alternative fits: {min(tried, key=len)}"]
    if "const" in rule and value != rule["const"]:
        return [f"{where}: {value!r} is not {rule['const']!r}"]
    if "enum" in rule and value not in rule["enum"]:
        return [f"{where}: {value!r} is none of {rule['enum']}"]
    kinds = rule.get("type", [])
    known = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    known |= {"integer": int, "number": (int, float)}
    if kinds and not any(isinstance(value, known[k]) for k in ([kinds] if isinstance(kinds, str) else kinds)):
        return [f"{where}: {value!r} is no {kinds}"]
    if isinstance(value, int) and not rule.get("minimum", value) <= value <= rule.get("maximum", value):
        return [f"{where}: {value} is out of range"]
    found = []
    if isinstance(value, dict):
        properties, rest = rule.get("properties", {}), rule.get("additionalProperties", True)
        found += [f"{where}: no {name!r}" for name in rule.get("required", []) if name not in value]
        for name, item in value.items():
            inner = properties.get(name, rest)
            if inner is False:
                found.append(f"{where}: {name!r} is not expected")
            elif isinstance(inner, dict):
                found += conforms(item, inner, whole, f"{where}.{name}")
    if isinstance(value, list) and "items" in rule:
        for number, item in enumerate(value):
            found += conforms(item, rule["items"], whole, f"{where}[{number}]")
    return found


def check_folder(folder) -> None:
    """The schema holds, every file is named and present, and a machine built from the page agrees."""
    manifest = json.loads((folder / "manifest.json").read_text())
    assert json.loads((folder / "manifest.schema.json").read_text()) == schema()
    assert conforms(manifest, schema(), schema()) == []
    machine = Machine(folder)
    golden = manifest["golden"]
    values = {name: machine.array(reference) for name, reference in golden["tensors"].items()}
    for sample in range(golden["samples"]):
        for name in machine.run({name: values[name][sample] for name in manifest["inputs"]}):
            if name in values:
                np.testing.assert_array_equal(machine.tensors[name], values[name][sample], err_msg=name)
                assert list(machine.tensors[name].shape) == manifest["tensors"][name]["shape"]


@pytest.mark.parametrize("arithmetic", [INTEGER_FAST, INTEGER_EXPLICIT])
@pytest.mark.parametrize("name", EXPORTED)
def test_folder_and_page_are_enough(name, arithmetic, tmp_path):
    """Every tensor of the golden samples comes out bit for bit."""
    path, _ = quantize_net(NETWORKS[name], tmp_path, arithmetic)
    result = export(path, tmp_path / "out", samples=2, all_tensors=True)
    assert result.samples == 2 and result.golden_tensors > 2
    check_folder(tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        (IntegerOptions(rounding="half-up", multiplier_bits=31), "dybit8"),
        (IntegerOptions(residual_bits=16, rounding="half-up"), "dybit4"),
        (IntegerOptions(residual_rounding="branch"), "int3"),
        (IntegerOptions(scales="pow2"), "dybit5"),
    ],
    ids=["wide", "residual16", "branch", "pow2"],
)
def test_options_and_formats_are_exported(options, weights, tmp_path):
    """Rounding rules, wide sums and every width of weights."""
    path, _ = quantize_net(NETWORKS["residual"], tmp_path, INTEGER_EXPLICIT, options, weights=weights)
    export(path, tmp_path / "out", all_tensors=True)
    check_folder(tmp_path / "out")


def test_both_flavours_export_the_same_machine(tmp_path):
    """Operations and binaries are the same whichever flavour they come from."""
    manifests = []
    for arithmetic in (INTEGER_FAST, INTEGER_EXPLICIT):
        path, _ = quantize_net(NETWORKS["residual"], tmp_path, arithmetic)
        export(path, tmp_path / arithmetic)
        manifest = json.loads((tmp_path / arithmetic / "manifest.json").read_text())
        manifests.append([{k: v for k, v in e.items() if k != "name"} for e in manifest["operations"]])
    assert manifests[0] == manifests[1]
    for file in sorted((tmp_path / INTEGER_FAST / "data").iterdir()):
        assert file.read_bytes() == (tmp_path / INTEGER_EXPLICIT / "data" / file.name).read_bytes()


def test_command_line(tmp_path):
    """One line on what was written, JSON on request, golden values from data."""
    net = NETWORKS["residual"]
    path, _ = quantize_net(net, tmp_path)
    np.savez(tmp_path / "d.npz", **net.data(4, 5))
    arguments = ["export", str(path), "-o", str(tmp_path / "out"), "--data", str(tmp_path / "d.npz")]
    made = CliRunner().invoke(group, [*arguments, "--samples", "3"])
    assert made.exit_code == 0, made.output
    assert made.stdout.endswith("golden values of 4 tensors for 3 samples\n")
    check_folder(tmp_path / "out")
    again = CliRunner().invoke(group, [*arguments, "--force", "--json"])
    document = json.loads(again.stdout)
    assert document["schema_version"] == 1 and document["samples"] == 1


def test_folders_that_exist_are_kept(tmp_path):
    """An existing folder is an error; --force replaces only what an export has made."""
    path, _ = quantize_net(NETWORKS["convolution"], tmp_path)
    target = tmp_path / "mine"
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="exists already; use --force"):
        export(path, target)
    with pytest.raises(OutputError, match=r"holds no manifest.json, so it is not replaced"):
        export(path, target, force=True)
    assert (target / "thesis.txt").read_text() == "years of work"
    with pytest.raises(OutputError, match="does not exist; create it first"):
        export(path, tmp_path / "nowhere" / "out")
    export(path, tmp_path / "out")
    (tmp_path / "out" / "stale.bin").write_bytes(b"x")
    export(path, tmp_path / "out", force=True)
    assert not (tmp_path / "out" / "stale.bin").exists()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_models_that_are_not_integer_only_are_refused(tmp_path):
    """The first float operator is named, and nothing is written."""
    net = Net(
        body="c = Conv (x, w)\n s = Softmax <axis = 1> (c)\n y = Conv (s, v)",
        weights={"w": (6, 4, 3, 3), "v": (3, 6, 1, 1)},
    )
    path, _ = quantize_net(net, tmp_path, options=IntegerOptions(only="report"))
    with pytest.raises(UnsupportedError, match="computes in float; only integer-only models"):
        export(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_golden_inputs_cannot_be_made_up_for_unknown_extents(tmp_path):
    """A fully convolutional network needs --data."""
    net = Net(body="y = Conv (x, w)", weights={"w": (6, 4, 3, 3)}, inputs="float[N, 4, H, W] x")
    path, _ = quantize_net(net, tmp_path)
    with pytest.raises(ConfigError, match=r"input 'x' has the shape \[None, 4, None, None\].*give --data"):
        export(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
