"""Scales behind SPARQ windows: what is tried, what is taken, and for whom."""

from dataclasses import replace

import numpy as np
import pytest

from dybitq.encodings import sparq
from dybitq.fit.activations.edges import fit_edge
from dybitq.fit.activations.sparq_scales import WindowReader, window_readers, windowed_edge
from dybitq.graph.tensors import Tensors
from dybitq.records.fitted import FittedEdge
from dybitq.records.plan import EdgePlan
from tests.emit.toolkit import make, run
from tests.fit.conftest import statistics_of
from tests.models import make_model

RNG = np.random.default_rng(0)
RELU6 = (0.0, 6.0)
PLAN = EdgePlan(tensor="t")


def held_at_the_bound() -> np.ndarray:
    """What a ReLU6 makes of a wide bell: half zeros, a quarter at the bound."""
    return np.clip(RNG.normal(0, 9, (16, 4000)), *RELU6).astype(np.float32)


def measured(values: np.ndarray, edge: FittedEdge, recode: str) -> float:
    """Mean squared error of the values themselves, pairs included."""
    codes = np.clip(np.rint(values / edge.scale) + edge.zero_point, edge.low, edge.high).astype(np.uint8)
    kept = sparq.apply_pairs(codes, sparq.get(recode, edge.zero_point), axis=1)
    return float((((kept.astype(float) - edge.zero_point) * edge.scale - values) ** 2).mean())


def reader(recode: str = "sparq4-5opt", *, groups: int = 1) -> WindowReader:
    """A layer with 4000 inputs."""
    return WindowReader(recode=recode, count=4000, groups=groups)


@pytest.mark.parametrize("recode", ["sparq4-5opt", "sparq4-2opt-nopair", "sparq3-6opt", "sparq2-7opt"])
def test_the_bound_of_a_relu6_survives(recode):
    """The codes end at 6, windows have a level there, and the measured error falls."""
    values = held_at_the_bound()
    own = fit_edge(PLAN, statistics_of(values), RELU6)
    found = windowed_edge(PLAN, own, statistics_of(values), RELU6, (reader(recode),))
    assert found.high == round(6 / found.scale) < 255 == own.high
    kept = sparq.get(recode).both[found.high] * found.scale
    if recode != "sparq2-7opt":  # two bits have no such level that values beside a zero have as well
        assert kept == pytest.approx(6, abs=0.02)
    assert measured(values, found, recode) < 0.8 * measured(values, own, recode)


def test_no_scale_of_a_scan_is_much_better():
    """On signed values too, against the error that pairs really make."""
    values = RNG.laplace(0.2, 1, (16, 4000)).astype(np.float32)
    own = fit_edge(PLAN, statistics_of(values))
    found = windowed_edge(PLAN, own, statistics_of(values), None, (reader(),))
    assert own.zero_point > 0 and found.zero_point == own.zero_point
    scan = [replace(own, scale=own.scale * factor) for factor in np.linspace(0.8, 1.25, 91)]
    best = min(measured(values, edge, "sparq4-5opt") for edge in scan)
    assert measured(values, found, "sparq4-5opt") < 1.03 * best


def test_who_keeps_the_scale_for_plain_codes():
    """Tensors that no window reads, depthwise layers, whose channels have none beside them, other methods."""
    values = held_at_the_bound()
    seen = statistics_of(values)
    own = fit_edge(PLAN, seen, RELU6)
    assert windowed_edge(PLAN, own, seen, RELU6, ()) is own
    assert windowed_edge(PLAN, own, seen, RELU6, (reader(groups=4000),)) is own
    assert windowed_edge(replace(PLAN, range="minmax"), own, seen, RELU6, (reader(),)) is own


@pytest.mark.parametrize("values", [np.zeros((4, 9)), np.full((4, 9), 1e-42), np.full((4, 9), 1e30)])
def test_degenerate_tensors(values):
    """Constant, denormal and enormous values have a usable encoding."""
    seen = statistics_of(values)
    own = fit_edge(PLAN, seen)
    found = windowed_edge(PLAN, own, seen, None, (reader(),))
    assert np.isfinite(found.scale) and found.scale > 0 and 0 <= found.low <= found.high <= 255


def test_share_without_a_partner():
    """All of a depthwise layer, the last one of an odd number, and as many others as there are zeros."""
    assert sparq.share_alone(8, 1, 0.25) == 0.25
    assert sparq.share_alone(8, 8, 0.25) == 1.0
    assert sparq.share_alone(5, 1, 0.5) == pytest.approx(0.2 + 0.8 * 0.5)
    codes = (RNG.random((2000, 6)) < 0.6) * RNG.integers(1, 256, (2000, 6))
    recoding = sparq.get("sparq2-7opt")
    single = sparq.apply_pairs(codes.astype(np.uint8), recoding, axis=1) == recoding.single[codes]
    told = codes > 0
    ambiguous = told & (recoding.single == recoding.both)[codes]
    share = (single & told & ~ambiguous).sum() / (told & ~ambiguous).sum()
    assert share == pytest.approx(sparq.share_alone(6, 1, 0.4), abs=0.03)


def test_in_the_emitted_network(tmp_path):
    """Layers that have windows are found by what they read, and the codes of a ReLU6 end below 255."""
    body = (
        "a = Conv (x, w)\n b = Clip (a, lo, hi)\n c = Conv <group = 8, pads = [1, 1, 1, 1]> (b, v)\n"
        "d = Clip (c, lo, hi)\n e = Conv (d, u)\n f = Relu (e)\n y = Conv (f, s)"
    )
    shapes = {"w": (8, 3, 1, 1), "v": (8, 1, 3, 3), "u": (4, 8, 1, 1), "s": (4, 4, 1, 1)}
    weights = {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    bounds = {"lo": np.float32(0), "hi": np.float32(1)}
    model = make_model(
        body, inputs="float[2, 3, 8, 8] x", outputs="float[2, 4, 8, 8] y", weights=weights | bounds
    )
    made = make(model, tmp_path, activations="sparq4-5opt")
    readers = window_readers(made.layers, made.plan, Tensors(made.network))
    pairs = {name: [(r.count, r.groups) for r in found] for name, found in readers.items()}
    assert pairs == {"x": [(3, 1)], "d": [(8, 1)], "f": [(4, 1)]}  # b is read by a depthwise layer
    edges = made.fitted.edges
    assert edges["b"].high == 255 and edges["d"].high == round(1 / edges["d"].scale) < 255
    assert run(made.model, made.feeds)["y"].shape == (2, 4, 8, 8)
