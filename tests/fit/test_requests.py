"""Requests on the command line that low widths make possible, and those that no layer can honour."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from dybitq.cli.main import group
from tests.models import make_model

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small network with its statistics: all of them, of few samples, and without moments."""
    path = tmp_path_factory.mktemp("requests")
    proto = make_model(
        "a = Conv <pads = [1, 1, 1, 1]> (x, w)\n b = Relu (a)\n c = Conv <group = 8> (b, v)\n d = Relu (c)\n"
        "e = GlobalAveragePool (d)\n f = Flatten (e)\n y = Gemm (f, u, t)",
        inputs="float[N, 3, H, W] x",
        outputs="float[N, 10] y",
        weights={
            "w": RNG.standard_normal((8, 3, 3, 3)).astype(np.float32),
            "v": RNG.standard_normal((8, 1, 3, 3)).astype(np.float32),
            "u": RNG.standard_normal((8, 10)).astype(np.float32),
            "t": RNG.standard_normal(10).astype(np.float32),
        },
    )
    onnx.save(proto, path / "net.onnx")
    np.savez(path / "data.npz", x=RNG.standard_normal((40, 3, 9, 8)).astype(np.float32))
    np.savez(path / "larger.npz", x=RNG.standard_normal((40, 3, 12, 14)).astype(np.float32))
    np.savez(path / "channels.npz", x=RNG.standard_normal((40, 4, 9, 8)).astype(np.float32))
    np.savez(path / "still.npz", x=np.full((40, 3, 9, 8), 0.5, np.float32))
    for name, data, options in (
        ("full", "data", ()),
        ("few", "data", ("--samples", "2")),
        ("none", "data", ("--moments", "none")),
        ("diagonal", "data", ("--moments", "diagonal")),
        ("still", "still", ()),
    ):
        made = invoke(path, "calibrate", "net.onnx", "--data", f"{data}.npz", *options, "-o", f"{name}.stats")
        assert made.exit_code == 0, made.output
    return path


def invoke(folder: Path, *words: str) -> Result:
    """Run dybitq on files of the folder."""
    suffixes = (".onnx", ".npz", ".stats")
    return CliRunner().invoke(group, [str(folder / w) if w.endswith(suffixes) else w for w in words])


def quantize(folder: Path, *words: str, statistics: str = "full") -> Result:
    """Quantize the network to 4 bits."""
    words = ("quantize", "net.onnx", "--statistics", f"{statistics}.stats", *words)
    return invoke(folder, *words, "--force", "-o", "out.onnx")


def finite(folder: Path) -> bool:
    """Whether the file that was written computes numbers."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "out.onnx"), providers=["CPUExecutionProvider"])
    x = np.load(folder / "data.npz")["x"]
    return bool(np.isfinite(session.run(None, {"x": x})[0]).all())


@pytest.mark.parametrize(
    ("statistics", "note"),
    [
        ("full", None),
        ("few", "note: 1 layer fitted to fewer patches than they have inputs"),
        ("none", "note: 3 layers fitted to their weights alone and rounded to nearest"),
        ("diagonal", "rounded to nearest"),
        ("still", "note: 1 layer with an input that was the same in all samples"),
    ],
)
def test_what_the_statistics_lack_is_said(folder, statistics, note):
    """The result is a sound model, and its text names the layers that had too little to go by."""
    result = quantize(folder, "--weights", "dybit4", statistics=statistics)
    assert result.exit_code == 0, result.output
    notes = result.stdout.replace("note: cross-layer equalization", "")
    assert (note in notes) if note is not None else ("note:" not in notes)
    assert finite(folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--weights", "int9"),
            "options: unknown weights 'int9'..*Known: float, auto2 to auto8",
        ),
        (("--weights", "uint4"), "options: the format 'uint4' has no negative numbers"),
        (("--weights", "dybit9"), "options: unknown weights 'dybit9'"),
        (("--activations", "int8.5"), "unknown activations 'int8.5'"),
        (("--activations", "uint4"), "unknown activations 'uint4'"),
        (("--activations", "normal4"), "unknown activations 'normal4'"),
        (
            ("--activations", "sparq5-1opt"),
            "unknown activations 'sparq5-1opt'.*Known: .*sparq4-5opt",
        ),
        (("--scale", "pow3"), "unknown scale method 'pow3'"),
        (("--rounding", "up"), "unknown rounding 'up'"),
        (("--range", "pow3"), "unknown range method 'pow3'"),
    ],
)
def test_what_no_layer_can_honour(folder, words, message):
    """A width that a format does not have, or an unknown method: exit code 2 and the name of a layer."""
    import re

    result = quantize(folder, *words)
    assert result.exit_code == 2, result.output
    assert re.search(message, result.stderr), result.stderr
    assert result.stdout == ""


def test_data_of_another_size(folder):
    """Images larger than those of the calibration are as good, if the network takes them."""
    result = quantize(folder, "--weights", "int4", "--data", "larger.npz")
    assert result.exit_code == 0, result.output
    assert finite(folder)


def test_data_of_another_shape(folder):
    """A fourth channel is refused: file, input, and both shapes are named."""
    result = quantize(folder, "--weights", "int4", "--data", "channels.npz")
    assert result.exit_code == 1
    assert "channels.npz" in result.stderr and "'x'" in result.stderr.replace('"', "'")
    assert "4" in result.stderr and "3" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("activations", ["sparq4-5opt", "sparq3-6opt-raw", "sparq2-7opt-nopair"])
def test_sparq_says_what_it_does_with_signed_inputs(folder, activations):
    """First and last layers keep 8 bits unless asked; then the first reads signed codes: a note says so."""
    result = quantize(folder, "--activations", activations)
    assert result.exit_code == 0, result.output
    assert "signed" not in result.stdout
    result = quantize(folder, "--activations", activations, "--first-last", "same")
    assert f"note: 1 layer with {activations} on signed activations" in result.stdout
    assert finite(folder)


@pytest.mark.parametrize(
    "words", [(), ("--data", "data.npz"), ("--granularity", "tensor"), ("--weights", "dybit4")]
)
def test_power_of_two_scales_everywhere(folder, words):
    """``--scales pow2``: every scale in the file, of weights and of activations, is a power of two."""
    result = quantize(folder, "--scales", "pow2", *words)
    assert result.exit_code == 0, result.output
    proto = onnx.load(folder / "out.onnx")
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    coders = [n for n in proto.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    products = {n.output[0]: n.input for n in proto.graph.node if n.op_type == "Mul"}  # scales of biases
    names = {name for node in coders for name in products.get(node.input[1], [node.input[1]])}
    scales = [arrays[name] for name in sorted(names)]
    assert len(scales) >= 4
    mantissas, _ = np.frexp(np.concatenate([s.reshape(-1) for s in scales]))
    np.testing.assert_array_equal(mantissas, np.full(mantissas.shape, 0.5, np.float32))


def test_mean_of_maxima(folder):
    """``--range mean-max`` codes up to the mean over samples of each sample's largest value."""
    result = quantize(folder, "--range", "mean-max")
    assert result.exit_code == 0, result.output
    from dybitq.calibration.store import load

    seen = load(folder / "full.stats").tensors["b"]
    proto = onnx.load(folder / "out.onnx")
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    scales = {float(arrays[n.input[1]]) for n in proto.graph.node if n.op_type == "QuantizeLinear"}
    expected = np.float32(seen.sum_sample_max / seen.samples / 255)
    assert min(abs(s / expected - 1) for s in scales) < 1e-6


@pytest.mark.parametrize("words", [(), ("--data", "data.npz")])
def test_one_scale_for_a_tensor(folder, words):
    """It is said how many pairs of layers could be equalized, and how many were."""
    result = quantize(folder, "--weights", "dybit4", "--granularity", "tensor", *words)
    assert result.exit_code == 0, result.output
    assert "note: cross-layer equalization: 1 pair of layers found, " in result.stdout
    assert finite(folder)
