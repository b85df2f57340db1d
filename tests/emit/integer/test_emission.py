"""What the two flavours write: shifts, names, packed weights, shared constants."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from dybitq.emit.integer.graph import IntegerGraph
from dybitq.emit.integer.round_shift import add_round_shift, clamped, lowered
from dybitq.errors import UnsupportedError
from dybitq.graph.export import to_bytes
from dybitq.graph.load import Network
from dybitq.records.arithmetic import INTEGER_EXPLICIT, INTEGER_FAST, TieRounding
from dybitq.records.integer_network import IntegerNetwork
from tests.emit.toolkit import run
from tests.verify.kit import FLAVOURS, quantize_net
from tests.verify.networks import NETWORKS


def shifted(values, shift, rounding, bounds=None):
    """``round(values / 2^shift)`` by the emitted operators."""
    source = ir.Model(
        ir.Graph(
            [ir.val("x", dtype=ir.DataType.INT64, shape=ir.Shape([len(values)]))],
            [ir.val("y", dtype=ir.DataType.INT64, shape=ir.Shape([len(values)]))],
            nodes=[],
            opset_imports={"": 17},
            name="g",
        ),
        ir_version=8,
    )
    network = Network(model=source, source=Path("model.onnx"), sha256="", notes=())
    graph = IntegerGraph(network, IntegerNetwork(operations=()))
    value = add_round_shift(graph, graph.get("x"), np.asarray(shift, np.int64), rounding)
    if bounds is not None:
        value = clamped(graph, value, *bounds)
    graph.put("y", lowered(graph, value))
    (found,) = run(to_bytes(graph.finish()), {"x": np.asarray(values, np.int64)}).values()
    return found.tolist()


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [(TieRounding.HALF_EVEN, [-2, 0, 0, 2, 2]), (TieRounding.HALF_UP, [-1, 0, 1, 2, 3])],
)
def test_ties(rounding, expected):
    """The table of docs/integer-only.md."""
    assert shifted([-3, -1, 1, 3, 5], 1, rounding) == expected


@pytest.mark.parametrize("rounding", list(TieRounding))
def test_shifts_of_0_to_60_and_values_to_2_to_the_61(rounding):
    """Against Python's integers, with a shift of its own for each value."""
    rng = np.random.default_rng(4)
    shift = rng.integers(0, 61, 400)
    values = [int(v) for v in (rng.integers(0, 2, 400) * 2 - 1) * 2.0 ** rng.uniform(0, 61, 400)]
    for place in range(200):  # ties
        size = int(shift[place])
        values[place] = (int(rng.integers(-9, 9)) << size) + (1 << size >> 1) if size < 57 else 1 << size >> 1
    wanted = []
    for v, c in zip(values, shift.tolist(), strict=True):
        half = 1 << c >> 1
        up = 0 if c == 0 else half - 1 + ((v >> c) & 1) if rounding is TieRounding.HALF_EVEN else half
        wanted.append((v + up) >> c)
    assert shifted(values, shift, rounding) == wanted


def test_clamps_are_right_for_numbers_of_any_size():
    """The unsigned clamp holds where onnxruntime's int64 Clip does not."""
    values = [-(2**60), -(2**32) - 5, -1, 0, 255, 256, 2964641809, 2**32 + 2**31, 2**60]
    assert shifted(values, 0, TieRounding.HALF_EVEN, (0, 255)) == np.clip(values, 0, 255).tolist()
    rng = np.random.default_rng(0)
    many = [int(v) for v in (rng.integers(0, 2, 5000) * 2 - 1) * 2.0 ** rng.uniform(0, 61, 5000)]
    assert shifted(many, 0, TieRounding.HALF_EVEN, (-128, 127)) == np.clip(many, -128, 127).tolist()


def test_shifts_beyond_60_are_refused():
    """Nothing of 64 bits would be left."""
    with pytest.raises(UnsupportedError, match="a shift by 61 leaves nothing of 64 bits"):
        shifted([1], 61, TieRounding.HALF_UP)


@pytest.mark.parametrize("arithmetic", FLAVOURS)
def test_nodes_keep_the_names_of_the_network(arithmetic, tmp_path):
    """Layers are found under their own names, codes under the tensor's name with _q."""
    path, _ = quantize_net(NETWORKS["residual"], tmp_path, arithmetic)
    graph = onnx.load(path).graph
    names = {node.name for node in graph.node}
    assert {"Conv_0", "Conv_1", "Add_0", "Conv_2", "Add_1", "x/quantize", "y/dequantize"} <= names
    written = {name for node in graph.node for name in node.output}
    assert {"x_q", "d_q", "e_q", "g_q", "h_q", "y_q", "y"} <= written
    props = {p.key for node in graph.node if node.name == "Conv_1" for p in node.metadata_props}
    assert {"dybitq.weights", "dybitq.activations"} <= props


@pytest.mark.parametrize("arithmetic", FLAVOURS)
def test_weights_are_packed(arithmetic, tmp_path):
    """Three-bit weights take three bits in the file, whatever the flavour."""
    path, made = quantize_net(NETWORKS["residual"], tmp_path, arithmetic, weights="int3")
    stored = [t for t in onnx.load(path).graph.initializer if t.name.startswith("w")]
    sizes = sorted(len(onnx.numpy_helper.to_array(t).tobytes()) for t in stored)
    assert sizes == [-(-4 * 4 * 9 // 8) * 3] * 3
    assert all(w.format.name == "int3" for w in made.fitted.weights.values())


def test_fast_files_hold_few_constants(tmp_path):
    """Units and zero points are shared: besides weights, factors and biases there is next to nothing."""
    path, _ = quantize_net(NETWORKS["residual"], tmp_path, INTEGER_FAST)
    initializers = onnx.load(path).graph.initializer
    assert len(initializers) <= 3 * 3 + 12


def test_explicit_needs_no_other_domain_than_functions_of_its_own(tmp_path):
    """Standard ONNX all the way down: the only other domain is that of the model's own functions."""
    path, _ = quantize_net(NETWORKS["squeeze and excitation"], tmp_path, INTEGER_EXPLICIT)
    model = onnx.load(path)
    assert {o.domain for o in model.opset_import} == {"", "dybitq"}
    assert {f.name for f in model.functions} == {"RoundShiftHalfEven"}
    assert {o.domain for f in model.functions for o in f.opset_import} == {""}
