"""Weights that no processor's kernels saturate at: which layers are bounded, and that outputs are exact."""

from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from dybitq.api.evaluate import evaluate
from dybitq.cli.main import group
from dybitq.encodings import codec, formats
from dybitq.fit.weights.kernel_range import LARGEST, weight_format
from dybitq.plan.recipe import Rule, Settings
from dybitq.runtime.host import products_are_exact
from dybitq.runtime.session import Session
from tests.emit.toolkit import Made, make
from tests.models import make_model

BODY = "d = Conv <group = 8> (x, depthwise)\n p = Conv (d, pointwise)\n y = Conv <group = 2> (p, grouped)"
SHAPES = {"depthwise": (8, 1, 3, 3), "pointwise": (16, 8, 1, 1), "grouped": (16, 8, 1, 1)}


def made_of(tmp_path: Path, *, reduce_range: bool) -> Made:
    """Sums that saturate in 16 bits unless weights are small: everything is positive and large."""
    rng = np.random.default_rng(0)
    batches = [{"x": rng.uniform(0.5, 1, (2, 8, 9, 9)).astype(np.float32)} for _ in range(3)]
    weights = {name: rng.uniform(0.8, 1, shape).astype(np.float32) for name, shape in SHAPES.items()}
    proto = make_model(BODY, inputs="float[N, 8, 9, 9] x", outputs="float[N, 16, 7, 7] y", weights=weights)
    return make(proto, tmp_path, batches=batches, weights="int8", reduce_range=reduce_range)


def largest(made: Made) -> dict[str, int]:
    """Largest magnitude of the integers of every layer, by the name of its weight."""
    found = {}
    for name, weight in made.fitted.weights.items():
        integers = codec.decode(weight.codes, weight.format)
        found[str(made.layers[name].weight)] = int(np.abs(integers).max())
    return found


def test_only_kernels_that_add_pairs_bound_their_weights(tmp_path):
    """A depthwise convolution keeps the whole range, a grouped one does not."""
    found = largest(made_of(tmp_path, reduce_range=True))
    assert found["depthwise"] > LARGEST
    assert found["pointwise"] <= LARGEST and found["grouped"] <= LARGEST
    assert min(largest(made_of(tmp_path, reduce_range=False)).values()) > LARGEST


@pytest.mark.parametrize("reduce_range", [True, False])
def test_default_kernels_give_what_exact_ones_give(tmp_path, reduce_range):
    """With small weights on every processor; with others on those whose products are exact."""
    made = made_of(tmp_path, reduce_range=reduce_range)
    default, exact = (Session(made.model, 1, exact_products=e).run(made.feeds)["y"] for e in (False, True))
    assert np.array_equal(default, exact) == (reduce_range or products_are_exact())


def test_evaluate_says_that_this_processor_saturates(tmp_path):
    """Only where it does, in this very model."""
    for reduce_range in (True, False):
        made = made_of(tmp_path, reduce_range=reduce_range)
        path = tmp_path / f"{reduce_range}.onnx"
        onnx.save(onnx.load_model_from_string(made.model), path)
        np.savez(tmp_path / "x.npz", x=np.concatenate([made.feeds["x"]] * 2))
        found = evaluate(path, tmp_path / "x.npz", reference=tmp_path / "float.onnx", threads=1)
        assert found.saturates == (not reduce_range and not products_are_exact())
        assert found.saturation_db is None or (found.saturates and found.saturation_db < 20)


@pytest.mark.parametrize("name", sorted(formats.names(signed=True)))
def test_formats_without_their_large_integers(name):
    """Codes keep their meaning; only 8-bit kernels' formats lose any, and none that is not too large."""
    whole, bounded = formats.get(name), weight_format(name, bounded=True)
    assert weight_format(name, bounded=False) is whole
    if not whole.fits_int8 or whole.max_integer <= LARGEST:
        assert bounded is whole
        return
    kept = np.setdiff1d(np.arange(whole.table.size), bounded.reserved)
    assert np.array_equal(bounded.table[kept], whole.table[kept]) and bounded.max_integer <= LARGEST
    lost = np.setdiff1d(np.arange(whole.table.size), [*kept, *whole.reserved])
    assert (np.abs(whole.table[lost]) > LARGEST).all()
    values = np.linspace(-200, 200, 999).astype(np.float32)
    assert set(codec.encode(values, bounded).tolist()) <= set(kept.tolist())


SHARED = "a = MatMul (x, w)\n b = Relu (a)\n y = MatMul (b, w)"


def test_layers_that_share_a_weight_are_bounded_each_by_itself(tmp_path):
    """What bounds one of two readers does not bound the other, whichever comes first."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((16, 16)).astype(np.float32)}
    proto = make_model(SHARED, inputs="float[N, 16] x", outputs="float[N, 16] y", weights=weights)
    for number in (0, 1):
        rules = (Rule(name=f"MatMul_{number}", settings=Settings(reduce_range=False)),)
        made = make(proto, tmp_path, weights="int8", activations="dynamic8", rules=rules)
        found = {
            name: int(np.abs(codec.decode(weight.codes, weight.format)).max())
            for name, weight in made.fitted.weights.items()
        }
        assert found[f"MatMul_{number}"] > LARGEST >= found[f"MatMul_{1 - number}"]


@pytest.mark.parametrize("settings", [{"weights": "auto8"}, {"scale": "pow2"}, {"granularity": "tensor"}])
def test_no_other_setting_escapes_the_bound(tmp_path, settings):
    """Whatever chooses formats and scales keeps to it."""
    rng = np.random.default_rng(3)
    weights = {"w": rng.standard_normal((6, 8, 3, 3)).astype(np.float32)}
    proto = make_model(
        "y = Conv (x, w)", inputs="float[N, 8, 9, 9] x", outputs="float[N, 6, 7, 7] y", weights=weights
    )
    made = make(proto, tmp_path, **{"weights": "int8", **settings})
    (weight,) = made.fitted.weights.values()
    assert np.abs(codec.decode(weight.codes, weight.format)).max() <= LARGEST


def test_recipe_plan_and_command_line(tmp_path, monkeypatch):
    """The setting goes into rules and plans, and a plan that was carried out gives the same file."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    assert runner.invoke(group, ["demo", "-q", "-o", "digits"]).exit_code == 0
    base = ["quantize", "digits/digits.onnx", "--statistics", "digits/digits.stats", "-q"]
    Path("rule.yaml").write_text("rules:\n- {name: block1, reduce_range: false}\n")
    for name, options in (
        ("default", []),
        ("whole", ["--no-reduce-range"]),
        ("rule", ["--recipe", "rule.yaml"]),
    ):
        made = runner.invoke(group, [*base, *options, "-o", f"{name}.onnx", "--save-plan", f"{name}.plan"])
        assert made.exit_code == 0, made.output
        again = runner.invoke(group, [*base, "--plan", f"{name}.plan", "-o", f"{name}2.onnx"])
        assert again.exit_code == 0, again.output
        assert Path(f"{name}.onnx").read_bytes() == Path(f"{name}2.onnx").read_bytes()
    plans = {name: Path(f"{name}.plan").read_text() for name in ("default", "whole", "rule")}
    counts = {name: text.count("reduce_range: false") for name, text in plans.items()}
    assert counts == {"default": 0, "whole": 7, "rule": 1}


def test_outputs_that_are_no_numbers_are_not_compared(tmp_path):
    """A classifier that hands out names beside scores is evaluated as before."""
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 4] x) => (float[N, 4] y, string[1] label) <string[1] name = {"cat"}>
        { y = Relu (x)\n label = Identity (name) }"""
    )
    onnx.save(proto, tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=np.ones((3, 4), np.float32))
    with mock.patch("dybitq.api.evaluate.products_are_exact", return_value=False):
        found = evaluate(tmp_path / "m.onnx", tmp_path / "x.npz", reference=tmp_path / "m.onnx")
    assert found.saturates is False and found.saturation_db is None
