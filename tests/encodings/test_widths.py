"""Widths of formats and re-codings by name."""

import numpy as np
import onnx_ir as ir
import pytest

from dybitq.allocation.space import bits_of
from dybitq.encodings import formats
from dybitq.encodings.widths import known_widths, widths
from dybitq.errors import ConfigError
from dybitq.graph.stored.quantized import quantized_survey
from dybitq.hardware.machine import load_machine
from dybitq.hardware.price import simulate
from dybitq.hardware.widths import requantized
from dybitq.records.formats import INT8
from tests.hardware.reference import Layers
from tests.models import make_model

ODD_NAME = "q3x17"  # three bits, whatever its digits look like


@pytest.fixture
def odd_format(monkeypatch):
    """A format whose name is not a family and a width, registered as its own file would do it."""
    set(formats.FORMATS)  # all files are loaded
    monkeypatch.setattr(formats.FORMATS, "_entries", dict(formats.FORMATS._entries))

    @formats.family("quirk", bits=[3], signs=formats.SIGNED, name=ODD_NAME)
    def table(bits: int, signed: bool) -> np.ndarray:
        return formats.sign_magnitude(np.array([0, 1, 5, 17]))

    yield ODD_NAME
    widths.cache_clear()


@pytest.mark.parametrize(
    ("name", "stored", "multiplied", "integer"),
    [
        ("int8", 8, 8, 0),
        ("uint4", 4, 4, 0),
        ("e2m1", 4, 4, 5),
        ("ternary", 2, 2, 2),
        ("dybit4", 4, 4, 6),
        ("sparq4", 8, 4, 0),
        ("sparq3-6opt-raw-nopair", 8, 3, 0),
    ],
)
def test_widths_by_name(name, stored, multiplied, integer):
    """Digits in a name are no width, and a window is narrower than what is stored."""
    found = widths(name)
    assert (found.stored, found.multiplied, found.integer) == (stored, multiplied, integer)
    assert found.windowed == name.startswith("sparq")


def test_int8_is_what_its_name_says():
    """The constant that floors without the formats use agrees with the format."""
    assert widths("int8") == INT8


@pytest.mark.parametrize("name", ["float32", "int9", "sparq5", "sparq4-9opt", "none", ""])
def test_other_names_have_no_width(name):
    """An element type or a misspelt name is told apart from a format."""
    assert known_widths(name) is None
    with pytest.raises(ConfigError):
        widths(name)


def test_a_format_of_any_name_works_by_its_own_file(odd_format):
    """Simulator, survey and search take its widths from the record."""
    assert bits_of(odd_format) == 3
    layers = Layers()
    layers.gemm("x", 64, 64, 64)
    work = requantized(layers.workload(), weights=widths(odd_format))
    assert simulate(work, load_machine("bitfusion_45nm")).layers[0].dram_bytes.weight == 64 * 64 * 3 // 8
    wide = load_machine("dybit_zcu102_like", {"precision.decodes": ["quirk"]})
    assert simulate(work, wide).layers[0].w_run == 4
    assert simulate(work, load_machine("dybit_zcu102_like")).layers[0].w_run == 8
    body = "d = DequantizeLinear (w, s)\ny = MatMul (x, d)"
    weights = {"w": np.ones((4, 6), np.int8), "s": np.float32(0.1)}
    model = ir.from_proto(make_model(body, inputs="float[N, 4] x", weights=weights))
    model.graph[-1].metadata_props["dybitq.weights"] = odd_format
    (layer,) = quantized_survey(model)
    assert (layer.weight_bits, layer.weight_format) == (3, odd_format)
