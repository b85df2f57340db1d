"""``dybitq quantize`` as people run it: what it prints and writes, and how every bad input ends."""

import errno
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from click.testing import CliRunner, Result

import dybitq.api.quantize
import dybitq.demo
from dybitq.cli.main import group
from tests.models import make_model

DEMO = Path(dybitq.demo.__file__).parent
NAMES = ("digits.onnx", "digits.npz", "digits.yaml")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The demo network with its statistics, and another network with its own."""
    folder = tmp_path_factory.mktemp("prepared")
    for name in NAMES:
        (folder / name).write_bytes((DEMO / name).read_bytes())
    calibrate = ["calibrate", "--samples", "64", "--data"]
    for model, data in (("digits.onnx", "digits.yaml"), ("other.onnx", "other.npz")):
        if model == "other.onnx":
            rng = np.random.default_rng(0)
            weights = {"w": rng.standard_normal((8, 5)).astype(np.float32)}
            proto = make_model(
                "y = MatMul (x, w)", inputs="float[N, 8] x", outputs="float[N, 5] y", weights=weights
            )
            onnx.save(proto, folder / model)
            np.savez(folder / data, x=rng.standard_normal((64, 8)).astype(np.float32))
        made = CliRunner().invoke(
            group, [*calibrate, str(folder / data), str(folder / model), "-o", str(folder / f"{model}.stats")]
        )
        assert made.exit_code == 0, made.output
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch) -> Path:
    """A fresh working folder with the prepared files."""
    for name, content in prepared.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file of a folder, hidden ones included."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def quantize(*args: str, model: str = "digits.onnx", statistics: str = "digits.onnx.stats") -> Result:
    """Outcome of ``dybitq quantize``: to ``out.onnx``, by the quickest rounding, unless told otherwise."""
    output = [] if "-o" in args else ["-o", "out.onnx"]
    quick = [] if {"--plan", "--rounding"} & set(args) else ["--rounding", "nearest"]
    return CliRunner().invoke(group, ["quantize", model, "--statistics", statistics, *output, *quick, *args])


def refused(folder: Path, code: int, message: str, *args: str, **options: str) -> str:
    """Run, and check that it ends with ``code`` and one clear message, and that no file changed."""
    before = contents(folder)
    result = quantize(*args, **options)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert re.search(message, lines[0]), lines[0]
    assert contents(folder) == before
    return lines[0]


# --------------------------------------------------------------------------- what it prints and writes


def test_result(folder):
    """The text: file, coverage, a line for each width, the check."""
    before = contents(folder)
    result = quantize("--weights", "dybit4")
    assert (result.exit_code, result.stderr) == (0, "")
    patterns = [
        r"out\.onnx: [\d,]+ B, 1/\d\.\d of the float file",
        r"quantized (\d) of \1 layers, ([\d,]+) of \2 weights; codes and scales take [\d,]+ B",
        r"  int8        2 layers +[\d,]+ weights, [\d,]+ B packed, \d+\.\d% of MACs",
        r"  dybit4      \d layers +[\d,]+ weights, [\d,]+ B packed, \d+\.\d% of MACs",
        r"runs in onnxruntime; \d+\.\d dB against the float model on random inputs .*",
    ]
    lines = result.stdout.splitlines()
    for pattern, line in zip(patterns, lines, strict=False):
        assert re.fullmatch(pattern, line), line
    assert all(line.startswith("note: ") for line in lines[len(patterns) :])
    after = contents(folder)
    assert set(after) - set(before) == {"out.onnx"}
    assert {name: after[name] for name in before} == before
    onnx.checker.check_model(str(folder / "out.onnx"), full_check=True)


def test_json(folder):
    """One document with the coverage, the plan and the check."""
    result = quantize("--weights", "int3", "--json")
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1
    assert document["output"] == "out.onnx"
    assert document["coverage"]["file_bytes"] == (folder / "out.onnx").stat().st_size
    first, *between, last = (layer["weights"] for layer in document["plan"]["layers"])
    assert (first, set(between), last) == ("int8", {"int3"}, "int8")
    assert document["check"]["finite"] is True


def test_metadata(folder):
    """Origin, plan and hashes are in the file, and the plan can be carried out again from there."""
    quantize("--weights", "dybit3", "--no-bias-correction")
    model = onnx.load(folder / "out.onnx")
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert model.producer_name == "dybitq"
    for key, name in (("model", "digits.onnx"), ("statistics", "digits.onnx.stats")):
        assert found[f"dybitq.{key}_sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    plan = json.loads(found["dybitq.plan"])
    assert plan["bias_correction"] is False
    plan["model_sha256"] = found["dybitq.model_sha256"]
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    assert quantize("--plan", "plan.yaml", "-o", "again.onnx").exit_code == 0
    assert (folder / "again.onnx").read_bytes() == (folder / "out.onnx").read_bytes()


@pytest.mark.parametrize("weights", ["auto4", "dybit4", "int8"])
def test_saved_plan_repeats_the_result(folder, weights):
    """A plan file carries out the same, ``auto`` decided."""
    quantize("--weights", weights, "--save-plan", "plan.yaml")
    assert "auto" not in yaml.safe_load((folder / "plan.yaml").read_text())["layers"][1]["weights"]
    quantize("--plan", "plan.yaml", "-o", "again.onnx", "--save-plan", "again.yaml")
    assert (folder / "again.onnx").read_bytes() == (folder / "out.onnx").read_bytes()
    assert (folder / "again.yaml").read_bytes() == (folder / "plan.yaml").read_bytes()


def test_recipe_with_options_over_it(folder):
    """Options change the defaults of a recipe, its rules stay."""
    (folder / "recipe.yaml").write_text("first_last: null\nrules: [{op_type: Gemm, weights: int6}]\n")
    document = json.loads(quantize("--recipe", "recipe.yaml", "--weights", "dybit3", "--json").stdout)
    *others, last = (layer["weights"] for layer in document["plan"]["layers"])
    assert (set(others), last) == ({"dybit3"}, "int6")


def test_force_replaces(folder):
    """An existing output is kept without ``--force`` and replaced with it."""
    (folder / "out.onnx").write_text("precious")
    refused(folder, 1, "out.onnx: exists already; use --force")
    assert quantize("--force").exit_code == 0
    assert (folder / "out.onnx").stat().st_size > 1000


def test_same_bytes_in_other_processes(folder):
    """Hash seeds and numbers of threads change nothing."""
    results = []
    for seed, threads in (("0", "1"), ("12345", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads}
        command = [sys.executable, "-m", "dybitq", "quantize", "digits.onnx", "--weights", "dybit3"]
        command += ["--statistics", "digits.onnx.stats", "-o", f"{seed}.onnx", "--save-plan", f"{seed}.yaml"]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        results.append(((folder / f"{seed}.onnx").read_bytes(), (folder / f"{seed}.yaml").read_bytes()))
    assert results[0] == results[1]


# --------------------------------------------------------------------------- bad input


def test_missing_files_are_usage_errors(folder):
    """Click names what is missing."""
    for args, options in (
        ((), {"model": "none.onnx"}),
        ((), {"statistics": "none.stats"}),
        (("--recipe", "none.yaml"), {}),
    ):
        refused(folder, 2, "does not exist", *args, **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "model.onnx: .*empty"),
        (b"hello world, this is no model", "model.onnx: "),
        ("half", "model.onnx: "),
        ("head", "model.onnx: "),
    ],
)
def test_damaged_model(folder, content, message):
    """Empty, foreign and truncated files."""
    whole = (folder / "digits.onnx").read_bytes()
    cut = {"half": whole[: len(whole) // 2], "head": whole[:40]}
    (folder / "model.onnx").write_bytes(content if isinstance(content, bytes) else cut[content])
    refused(folder, 1, message, model="model.onnx")


def test_opset_that_is_too_old(folder):
    """Refused by number."""
    proto = make_model("y = Relu (x)", opset=7)
    onnx.save(proto, folder / "old.onnx")
    refused(folder, 1, "old.onnx.*opset 7", model="old.onnx")


def test_weights_that_are_not_finite(folder):
    """NaN in a weight is found before anything else."""
    proto = onnx.load(folder / "digits.onnx")
    tensor = next(t for t in proto.graph.initializer if len(t.dims) == 4)
    array = onnx.numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[3] = np.nan
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    onnx.save(proto, folder / "nan.onnx")
    refused(folder, 1, f"nan.onnx.*{re.escape(tensor.name)}.*NaN", model="nan.onnx")


def test_statistics_of_another_model(folder):
    """Both hashes and the cure are in the message."""
    message = "other.onnx.stats: statistics of another model .*run dybitq calibrate on this model"
    refused(folder, 1, message, statistics="other.onnx.stats")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 but no archive", "half"])
def test_damaged_statistics(folder, content):
    """Empty, foreign and truncated statistics."""
    whole = (folder / "digits.onnx.stats").read_bytes()
    (folder / "bad.stats").write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    refused(folder, 1, "bad.stats: ", statistics="bad.stats")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--weights", "dybti4"), 2, r"unknown weights 'dybti4'.*Did you mean 'dybit4'"),
        (("--weights", "int9"), 2, r"unknown weights 'int9'"),
        (("--weights", "auto9"), 2, r"unknown weights 'auto9'.*auto2 to auto8"),
        (("--weights", "uint4"), 2, r"has no negative numbers"),
        (("--activations", "int9"), 2, r"unknown activations 'int9'"),
        (("--scale", "mes"), 2, r"unknown scale method 'mes'.*Did you mean 'mse'"),
        (("--rounding", "nearset"), 2, r"unknown rounding 'nearset'.*Did you mean 'nearest'"),
        (("--range", "percentle"), 2, r"unknown range method 'percentle'.*Did you mean 'percentile'"),
        (("--first-last", "8"), 2, r"first and last layers: unknown weights '8'"),
        (
            ("--scales", "pow2", "--scale", "max"),
            2,
            r"--scales pow2 sets .* but --scale max was given; leave one",
        ),
        (("--scales", "pow2", "--range", "minmax"), 2, r"--scales pow2 sets .* but --range minmax"),
        (("--granularity", "row"), 2, r"'row' is not one of 'channel', 'tensor'"),
        (("--weights", "float"), 1, r"nothing would be quantized: layer .* stay in float; choose formats"),
        (("--samples", "4"), 2, r"--samples chooses from the samples of --data"),
        (("--split", "val"), 2, r"--split chooses from the samples of --data"),
        (("--data", "digits.yaml", "--split", "train"), 2, r"has no split 'train'"),
    ],
)
def test_bad_options(folder, args, code, message):
    """Values that nothing can be made of, with the nearest that something can."""
    refused(folder, code, message, *args)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "rules: [{name: '*conv9*', weights: int4}]",
            r"recipe.yaml: rule 1 \(name: \*conv9\*\) matches none of the",
        ),
        ("rules: [{op_type: Convv, weights: int4}]", r"Did you mean 'Conv'"),
        ("rules: {}", r"recipe.yaml: rules: "),
        ("defaults: {bits: 4}", r"recipe.yaml: defaults.bits: unknown field"),
        ("defaults: [", r"recipe.yaml, line \d: is not valid YAML"),
    ],
)
def test_bad_recipe(folder, text, message):
    """Recipes that do not fit the model, or are none."""
    (folder / "recipe.yaml").write_text(text)
    refused(folder, 2, message, "--recipe", "recipe.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_sha256": "0" * 64}, r"plan.yaml: made for another model"),
        ({"schema_version": 7}, "schema_version"),
        ({"layers": [{"layer": "nowhere", "weights": "int8"}]}, r"plan.yaml: no layer 'nowhere'"),
        ({"edges": [{"tensor": "nowhere"}]}, "no float activation 'nowhere'"),
        ({"layers": []}, "nothing would be quantized"),
        ({"integer": {"only": "strict"}}, "plan.yaml: integer: has options of integer-only arithmetic"),
    ],
)
def test_bad_plan(folder, change, message):
    """Plans edited into something that cannot be."""
    quantize("-o", "first.onnx", "--save-plan", "plan.yaml")
    plan = yaml.safe_load((folder / "plan.yaml").read_text())
    (folder / "plan.yaml").write_text(yaml.safe_dump({**plan, **change}))
    code = 1 if "nothing" in message else 2
    refused(folder, code, message, "--plan", "plan.yaml")


def test_plan_and_recipe_together(folder):
    """A plan is carried out as it stands."""
    quantize("-o", "first.onnx", "--save-plan", "plan.yaml")
    refused(folder, 2, "--plan cannot be combined with a recipe", "--plan", "plan.yaml", "--weights", "int4")
    refused(
        folder, 2, "--plan cannot be combined with a recipe", "--plan", "plan.yaml", "--no-bias-correction"
    )


def test_nothing_to_quantize(folder):
    """A model without layers says what it lacks."""
    proto = make_model("y = Relu (x)", inputs="float[N, 8] x", outputs="float[N, 8] y")
    onnx.save(proto, folder / "relu.onnx")
    done = CliRunner().invoke(
        group, ["calibrate", "relu.onnx", "--data", "other.npz", "-o", "relu.stats", "--moments", "none"]
    )
    if done.exit_code == 0:
        refused(folder, 1, "nothing would be quantized: ", model="relu.onnx", statistics="relu.stats")
    else:
        assert "Error: " in done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("-o", "digits.onnx", "--force"), "digits.onnx: is an input of this command"),
        (("-o", "digits.onnx"), "digits.onnx: is an input of this command"),
        (("-o", "digits.onnx.stats", "--force"), "digits.onnx.stats: is an input"),
        (("--save-plan", "digits.onnx", "--force"), "digits.onnx: is an input"),
        (("--recipe", "recipe.yaml", "--save-plan", "recipe.yaml", "--force"), "recipe.yaml: is an input"),
        (("--data", "digits.yaml", "-o", "digits.npz", "--force"), "digits.npz: is an input"),
        (("-o", "nowhere/out.onnx"), "the folder nowhere does not exist"),
        (("--save-plan", "nowhere/plan.yaml"), "the folder nowhere does not exist"),
    ],
)
def test_outputs_that_cannot_be(folder, args, message):
    """Inputs are never replaced, folders have to exist."""
    (folder / "recipe.yaml").write_text("{}\n")
    refused(folder, 1, message, *args)


def test_model_and_plan_in_one_file(folder):
    """Two outputs need two names."""
    refused(folder, 2, "cannot be written to the same file", "-o", "out", "--save-plan", "./out")


def test_output_that_is_a_folder(folder):
    """A folder is no file."""
    (folder / "sub").mkdir()
    refused(folder, 2, "sub", "-o", "sub")


def test_external_data_is_an_input(folder):
    """The file beside the model is not replaced either."""
    onnx.save(
        onnx.load(folder / "digits.onnx"),
        folder / "ext.onnx",
        save_as_external_data=True,
        location="ext.bin",
        size_threshold=0,
    )
    refused(folder, 1, "ext.bin: is an input", "-o", "ext.bin", "--force", model="ext.onnx")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_is_not_writable(folder):
    """Found out before the work starts."""
    (folder / "closed").mkdir()
    (folder / "closed").chmod(0o500)
    refused(folder, 1, "is not writable", "-o", "closed/out.onnx")


@pytest.mark.parametrize("name", ["out.onnx", "plan.yaml"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_disk_that_fails(folder, monkeypatch, name, code):
    """Whichever of the two files cannot be written, neither is there afterwards."""
    write_bytes, write_text = Path.write_bytes, Path.write_text

    def failing(original):
        def write(path, *args, **options):
            if name in path.name:
                original(path, args[0][:100], **options)
                raise OSError(code, os.strerror(code))
            return original(path, *args, **options)

        return write

    monkeypatch.setattr(Path, "write_bytes", failing(write_bytes))
    monkeypatch.setattr(Path, "write_text", failing(write_text))
    message = f"{name}: cannot be written: {re.escape(os.strerror(code))}"
    refused(folder, 1, message, "--save-plan", "plan.yaml")


def test_disk_that_is_really_full(folder):
    """The operating system refuses in the middle of the file: one message, nothing left."""
    before = contents(folder)
    command = [sys.executable, "-m", "dybitq", "quantize", "digits.onnx", "-o", "out.onnx"]
    result = subprocess.run(
        [*command, "--statistics", "digits.onnx.stats"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert re.fullmatch(r"Error: out\.onnx: cannot be written: File too large\n", result.stderr)
    assert contents(folder) == before


@pytest.mark.parametrize("stage", ["opened", "fit", "emit", "probe", "inspect", "plan_text"])
def test_interrupted(folder, monkeypatch, stage):
    """Ctrl-C at any moment: 130, and nothing left."""

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(dybitq.api.quantize, stage, interrupt)
    before = contents(folder)
    result = quantize("--save-plan", "plan.yaml")
    assert result.exit_code == 130
    assert (result.stdout, result.stderr.strip()) == ("", "Interrupted.")
    assert contents(folder) == before


def test_interrupted_from_the_progress_bar(folder, monkeypatch):
    """Ctrl-C usually arrives while progress is shown."""
    original = dybitq.api.quantize.fit

    def fit(network, layers, plan, statistics, progress):
        def update(stage, done, total):
            if done == 2:
                raise KeyboardInterrupt

        return original(network, layers, plan, statistics, update)

    monkeypatch.setattr(dybitq.api.quantize, "fit", fit)
    before = contents(folder)
    assert quantize().exit_code == 130
    assert contents(folder) == before


def test_result_that_is_not_finite_is_not_kept(folder, monkeypatch):
    """A quantized model that gives NaN never gets its name."""
    from dybitq.verification.probe import ProbeResult

    monkeypatch.setattr(
        dybitq.api.quantize, "probe", lambda *args, **options: ProbeResult(finite=False, sqnr_db=0.0)
    )
    refused(folder, 1, "out.onnx: not kept: the quantized model gives NaN or infinity")


def test_result_that_is_not_valid_is_not_kept(folder, monkeypatch):
    """An emitted model that the ONNX checker refuses is an error, unless it refuses the float model too."""
    import onnx.checker

    def refuse(model):
        if b"QuantizeLinear" in model:
            raise onnx.checker.ValidationError("no good")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    refused(folder, 1, "does not pass the ONNX checker, please report this: no good")
    monkeypatch.setattr(onnx.checker, "check_model", lambda model: refuse(b"QuantizeLinear"))
    result = quantize()
    assert result.exit_code == 0
    assert (
        "note: the float network does not pass the ONNX checker, and neither does the quantized one: no good"
        in result.stdout
    )
