"""Operators that return their input at inference."""

import numpy as np
import pytest

from tests.models import make_model

SAME = {"inputs": "float[N, 4] x", "outputs": "float[N, 4] y"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a = Identity (x)\n y = Relu (a)", ["Relu"]),
        ("a = Relu (x)\n y = Identity (a)", ["Relu"]),
        ("a = Relu (x)\n b = Identity (a)\n c = Dropout (b)\n y = Identity (c)", ["Relu"]),
        ("y = Identity (x)", ["Identity"]),
        ("a = Identity (x)\n y = Identity (a)", ["Identity"]),
        ("a = Cast <to = 1> (x)\n y = Relu (a)", ["Relu"]),
        ("a = Relu (x)\n y = Cast <to = 1> (a)", ["Relu"]),
        ("a = Cast <to = 7> (x)\n y = Cast <to = 1> (a)", ["Cast", "Cast"]),
        ("a, mask = Dropout (x)\n y = Relu (a)", ["Relu"]),
        ("a = Dropout (x, ratio, off)\n y = Relu (a)", ["Relu"]),
    ],
)
def test_removed_where_the_graph_can_be_written_without(check, ops, body, expected):
    """Chains disappear; what connects an input to an output directly has to stay."""
    weights = {"ratio": np.array(0.5, np.float32), "off": np.array(False)} if "ratio" in body else {}
    assert ops(check(make_model(body, **SAME, weights=weights))) == expected


def test_dropout_with_a_mask_that_is_read_stays(check, ops):
    """A mask is a value of its own."""
    body = "a, mask = Dropout (x)\n b = Cast <to = 1> (mask)\n y = Add (a, b)"
    assert "Dropout" in ops(check(make_model(body, **SAME)))


def test_dropout_in_training_mode_stays(check, ops):
    """With ratio 0 even training returns the input, but the operator is left alone."""
    weights = {"ratio": np.array(0.0, np.float32), "on": np.array(True)}
    assert ops(check(make_model("y = Dropout (x, ratio, on)", **SAME, weights=weights))) == ["Dropout"]


def test_two_outputs_of_one_value_keep_both_names(check, ops):
    """One value cannot be two outputs: the second name needs its Identity."""
    body = "y = Relu (x)\n z = Identity (y)"
    proto = make_model(body, inputs=SAME["inputs"], outputs="float[N, 4] y, float[N, 4] z")
    assert ops(check(proto)) == ["Relu", "Identity"]


def test_initializer_as_an_output(check, ops):
    """A constant that the model returns stays behind its Identity."""
    body = "y = Relu (x)\n z = Identity (k)"
    proto = make_model(
        body,
        inputs=SAME["inputs"],
        outputs="float[N, 4] y, float[2] z",
        weights={"k": np.ones(2, np.float32)},
    )
    assert ops(check(proto)) == ["Relu", "Identity"]


def test_identity_read_by_a_subgraph(check):
    """A subgraph that reads the removed result reads its source instead."""
    body = """
      a = Relu (x)
      b = Identity (a)
      y = If (t) <
        then_branch = p () => (float[N, 4] u) { u = Neg (b) },
        else_branch = q () => (float[N, 4] v) { v = Identity (b) }
      >"""
    proto = make_model(body, inputs="float[N, 4] x, bool t", outputs=SAME["outputs"])
    for value in (True, False):
        check(proto, {"t": np.array(value)})
