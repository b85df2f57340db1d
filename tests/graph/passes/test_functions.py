"""Model-local functions are inlined, nested and repeated ones too."""

import numpy as np
import pytest

from dybitq.errors import UnsupportedError
from dybitq.graph.survey import survey
from tests.models import make_model

DOMAINS = ', "local" : 1'
BLOCK = """
<domain: "local", opset_import: ["" : 17, "local" : 1]>
block (a, w) => (c) { p = Conv (a, w)  c = local.act (p) }
<domain: "local", opset_import: ["" : 17]>
act (a) => (b) { k = Constant <value_float = 0.5> ()  r = Relu (a)  b = Mul (r, k) }
"""


def test_nested_and_repeated(check, ops):
    """Two calls of a function that calls another become plain nodes with unique names."""
    body = "m = local.block (x, w)\n y = local.block (m, v)"
    rng = np.random.default_rng(0)
    weights = {n: rng.standard_normal((4, 4, 2, 2)).astype(np.float32) for n in "wv"}
    network = check(make_model(body, weights=weights, domains=DOMAINS, functions=BLOCK))
    assert ops(network) == ["Conv", "Relu", "Mul"] * 2
    assert [layer.weight for layer in survey(network)] == ["w", "v"]
    assert "2 model-local functions inlined" in network.notes
    assert "local" not in network.model.graph.opset_imports


def test_another_opset_is_refused(check):
    """A function of another opset cannot be inlined into the graph."""
    functions = BLOCK.replace('["" : 17]', '["" : 13]')
    proto = make_model("y = local.act (x)", domains=DOMAINS, functions=functions)
    with pytest.raises(UnsupportedError, match="model-local functions cannot be inlined"):
        check(proto)
