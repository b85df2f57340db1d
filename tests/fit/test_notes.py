"""What a fit says of too little data and of requests it carried out otherwise."""

from dataclasses import replace

import numpy as np
import pytest

from dybitq.fit.notes import fit_notes, scarce_pairs_note
from dybitq.records.statistics import MomentKind
from tests.emit.toolkit import Made, make
from tests.fit.conftest import moment_of
from tests.models import make_model

RNG = np.random.default_rng(0)
RELU = make_model(
    "a = Conv <pads = [1, 1, 1, 1]> (x, w)\n b = Relu (a)\n y = Conv (b, v)",
    inputs="float[N, 4, 9, 8] x",
    outputs="float[N, 5, 9, 8] y",
    weights={
        "w": RNG.standard_normal((6, 4, 3, 3)).astype(np.float32),
        "v": RNG.standard_normal((5, 6, 1, 1)).astype(np.float32),
    },
)


def notes(made: Made, **changes: object) -> tuple[str, ...]:
    """Notes on a fit, with other statistics."""
    return fit_notes(made.layers, made.plan, replace(made.statistics, **changes), made.fitted)


def test_nothing_to_say(tmp_path):
    """Enough samples and full moments need no word."""
    assert notes(make(RELU, tmp_path, weights="int4")) == ()


def test_moments_of_every_kind(tmp_path):
    """Missing, diagonal and scarce moments: the layers are named, with rows and inputs where they are few."""
    made = make(RELU, tmp_path, weights="int4")
    first, second = made.layers
    assert "no second moment" in notes(made, moments={})[0]
    assert notes(made, moments={})[0].startswith("2 layers fitted to their weights alone")
    moments = dict(made.statistics.moments)
    key = made.layers[first].moment_key
    diagonal = moment_of(np.ones((1, 99, 36)), MomentKind.DIAGONAL)
    text = notes(made, moments={**moments, key: diagonal})
    assert len(text) == 1 and first in text[0] and second not in text[0] and "--memory" in text[0]
    scarce = replace(moments[key], rows=7)
    text = notes(made, moments={**moments, key: scarce})
    assert len(text) == 1 and f"{first} 7 of 36" in text[0]


def test_nearest_rounding_needs_no_full_moment(tmp_path):
    """Who asks for nearest rounding is not told that it is nearest."""
    made = make(RELU, tmp_path, weights="int4", rounding="nearest")
    key = made.layers[next(iter(made.layers))].moment_key
    diagonal = moment_of(np.ones((1, 99, 36)), MomentKind.DIAGONAL)
    assert notes(made, moments={**made.statistics.moments, key: diagonal}) == ()


def test_constant_input(tmp_path):
    """A layer that always saw the same is named; it is fitted all the same."""
    feeds = [{"x": np.full((2, 4, 9, 8), 0.5, np.float32)}] * 2
    made = make(RELU, tmp_path, batches=feeds, weights="int4")
    text = "\n".join(notes(made))
    assert "the same in all samples (" + next(iter(made.layers)) in text
    assert all(np.isfinite(w.scale).all() for w in made.fitted.weights.values())


@pytest.mark.parametrize("activations", ["sparq4-5opt", "sparq2-7opt-raw-nopair"])
def test_sparq_on_signed_activations(tmp_path, activations):
    """The layers whose input is signed are named with what is done; unsigned ones are not."""
    made = make(RELU, tmp_path, activations=activations)
    first, second = made.layers
    (text,) = notes(made)
    assert text.startswith(f"1 layer with {activations} on signed activations")
    assert first in text and second not in text and "magnitude" in text


def test_recoding_without_codes(tmp_path):
    """A layer that computes in float has no codes to re-code, and says so."""
    made = make(RELU, tmp_path, activations="sparq4-5opt")
    plan = replace(made.plan, edges=())
    found = fit_notes(made.layers, plan, made.statistics, replace(made.fitted, recodings={}))
    assert found == (f"2 layers not re-coded, because the input has no codes ({', '.join(made.layers)})",)


def test_scarce_pairs():
    """At most four layers are named."""
    assert scarce_pairs_note({"fc": (3, 1024)}).startswith("1 layer fitted from the statistics")
    many = scarce_pairs_note({f"fc{i}": (i, 999) for i in range(9)})
    assert "9 layers" in many and "fc3 3 of 999 and 5 more)" in many and "fc4" not in many
