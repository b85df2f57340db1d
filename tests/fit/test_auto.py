"""``autoN``: which format wins, why, and what is compared at all."""

from dataclasses import replace

import numpy as np
import pytest

from dybitq.encodings import formats
from dybitq.fit.auto import candidates, is_auto, resolve_auto
from dybitq.fit.weights.layers import LayerArrays, fit_layer
from dybitq.records.plan import ActivationMode
from tests.emit.toolkit import make
from tests.models import make_model

RNG = np.random.default_rng(0)


def gemm(weight: np.ndarray):
    """One product with the given weight ``[K, out]``."""
    return make_model(
        "y = Gemm (x, w)",
        inputs=f"float[N, {len(weight)}] x",
        outputs=f"float[N, {weight.shape[1]}] y",
        weights={"w": weight.astype(np.float32)},
    )


def resolved(tmp_path, weight: np.ndarray, weights: str = "auto4", x: np.ndarray | None = None, **settings):
    """The plan of a one-layer network before and after."""
    data = RNG.standard_normal((200, len(weight))) if x is None else x
    made = make(gemm(weight), tmp_path, batches=[{"x": data.astype(np.float32)}], weights="int8", **settings)
    plan = replace(made.plan, layers=tuple(replace(p, weights=weights) for p in made.plan.layers))
    return made, resolve_auto(made.network, made.layers, plan, made.statistics).layers[0]


@pytest.mark.parametrize("bits", range(2, 9))
def test_equal_tables_compete_once(bits):
    """Every candidate has the width, fits the kernel, and no two have the same integers."""
    names = candidates(f"auto{bits}", ActivationMode.STATIC)
    found = [formats.get(name) for name in names]
    assert names and all(f.bits == bits and f.signed and f.fits_int8 for f in found)
    assert len({np.unique(f.table).tobytes() for f in found}) == len(found)
    assert set(names) <= set(candidates(f"auto{bits}", ActivationMode.FLOAT))


def test_names():
    """``auto2`` to ``auto8`` choose; nothing else does."""
    assert [n for n in ("auto1", "auto2", "auto8", "auto9", "auto", "int4") if is_auto(n)] == [
        "auto2",
        "auto8",
    ]


def test_the_winner_has_the_least_output_error(tmp_path):
    """No other format of the width is better after the rounding that was asked for; the reason names both."""
    weight = RNG.laplace(size=(40, 12)) * 0.1
    made, winner = resolved(tmp_path, weight, rounding="nearest")
    (layer,) = made.layers.values()
    arrays = LayerArrays(weight=weight.astype(np.float32), bias=None, input_scale=None)
    moment = made.statistics.moments[layer.moment_key]
    errors = {
        name: fit_layer(layer, replace(winner, weights=name), arrays, moment, correct_bias=True).error
        for name in candidates("auto4", winner.activations)
    }
    ranked = sorted(errors, key=lambda name: (errors[name], name))
    assert winner.weights == ranked[0]
    assert winner.reason == (
        f"output error {errors[ranked[0]]:.2e}, next {ranked[1]} {errors[ranked[1]]:.2e}"
    )


@pytest.mark.parametrize("levels", ["int4", "pot4", "e2m1", "dybit4"])
def test_weights_that_lie_on_a_table_choose_it(tmp_path, levels):
    """Weights that a format holds exactly get that format, or one that holds them as well."""
    table = formats.get(levels).table
    weight = RNG.choice(table[table != 0], (30, 9)) * 0.25
    weight[0] = 0.25 * np.abs(table).max()
    made, winner = resolved(tmp_path, weight)
    (fitted,) = (make_error(made, winner),)
    assert fitted < 1e-4


def make_error(made, winner) -> float:
    """Fitted error of the chosen format."""
    (layer,) = made.layers.values()
    weight = next(
        np.asarray(v.const_value.numpy())
        for n, v in made.network.model.graph.initializers.items()
        if n == "w"
    )
    arrays = LayerArrays(weight=weight, bias=None, input_scale=None)
    moment = made.statistics.moments[layer.moment_key]
    return fit_layer(layer, winner, arrays, moment, correct_bias=True).error


def test_it_is_output_error_that_decides(tmp_path):
    """Outliers that meet inputs which are nearly always zero do not decide; those that meet live ones do."""
    weight = RNG.uniform(-1, 1, (32, 8))
    weight[:4] *= 12
    live, dead = RNG.standard_normal((4000, 32)), RNG.standard_normal((4000, 32))
    dead[:, :4] *= 1e-4
    first = resolved(tmp_path, weight, x=live)[1].weights
    second = resolved(tmp_path, weight, x=dead)[1].weights
    assert first == "laplace4" and second in ("int4", "odd4", "normal4")  # long tails, and none


def test_other_layers_stay(tmp_path):
    """Formats that were named are not touched, nor are layers left in float."""
    for name in ("dybit4", "float"):
        weight = RNG.standard_normal((8, 3))
        made = make(gemm(weight), tmp_path, weights="int8")
        plan = replace(made.plan, layers=tuple(replace(p, weights=name) for p in made.plan.layers))
        assert resolve_auto(made.network, made.layers, plan, made.statistics) == plan


def test_without_data_it_is_the_weight_error(tmp_path):
    """Without a moment all inputs count alike, and the choice is still made."""
    weight = RNG.standard_normal((24, 6))
    made = make(gemm(weight), tmp_path, weights="int8")
    plan = replace(made.plan, layers=tuple(replace(p, weights="auto3") for p in made.plan.layers))
    empty = replace(made.statistics, moments={})
    found = resolve_auto(made.network, made.layers, plan, empty).layers[0]
    assert found.weights in candidates("auto3", found.activations) and found.reason.startswith("output error")
