"""What stands in the graph for a re-coding, on its own: every code, every window, every kind of layer."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from dybitq.emit.builder import Builder
from dybitq.emit.recode import add_recoding
from dybitq.encodings import sparq
from dybitq.graph.export import to_bytes
from dybitq.graph.load import load
from dybitq.graph.survey import survey
from dybitq.records.fitted import Recoding
from dybitq.records.layers import LayerWork
from tests.emit.toolkit import run
from tests.models import make_model

LAYERS = {  # body, type of the input, shape of the weight, shape of the codes
    "conv": ("Conv (x, w)", "N, 6, 9, 8", (3, 6, 1, 1), (4, 6, 9, 8)),
    "odd channels": ("Conv (x, w)", "N, 5, 9, 8", (3, 5, 1, 1), (4, 5, 9, 8)),
    "unknown extents": ("Conv (x, w)", "N, 5, H, W", (3, 5, 1, 1), (4, 5, 9, 8)),
    "groups": ("Conv <group = 2> (x, w)", "N, 8, 9, 8", (4, 4, 1, 1), (4, 8, 9, 8)),
    "odd groups": ("Conv <group = 3> (x, w)", "N, 9, 9, 8", (3, 3, 1, 1), (4, 9, 9, 8)),
    "depthwise": ("Conv <group = 4> (x, w)", "N, 4, 9, 8", (4, 1, 1, 1), (8, 4, 9, 8)),
    "one axis": ("Conv (x, w)", "N, 7, 9", (3, 7, 1), (40, 7, 9)),
    "three axes": ("Conv (x, w)", "N, 4, 3, 4, 5", (2, 4, 1, 1, 1), (20, 4, 3, 4, 5)),
    "gemm": ("Gemm <transB = 1> (x, w)", "N, 9", (5, 9), (400, 9)),
    "matmul": ("MatMul (x, w)", "N, S, 10", (10, 5), (20, 20, 10)),
}


def layer_of(tmp_path, name: str) -> LayerWork:
    """The layer, surveyed."""
    body, extents, weight, shape = LAYERS[name]
    proto = make_model(
        f"y = {body}",
        inputs=f"float[{extents}] x",
        outputs=f"float[{', '.join('PQRTU'[: len(shape)])}] y",
        weights={"w": np.ones(weight, np.float32)},
    )
    onnx.save(proto, tmp_path / "layer.onnx")
    (layer,) = survey(load(tmp_path / "layer.onnx"))
    return layer


def on_codes(layer: LayerWork, recodings: Mapping[str, Recoding], extents: str) -> bytes:
    """A model of nothing but the re-codings, each with an output of its name."""
    rank = len(extents.split(","))
    names = {f"o{i}": recoding for i, recoding in enumerate(recodings.values())}
    proto = make_model(
        "\n".join(f"{output} = Identity (x)" for output in names),
        inputs=f"uint8[{extents}] x",
        outputs=", ".join(f"uint8[{', '.join('PQRTU'[:rank])}] {output}" for output in names),
        opset=13,
    )
    model = ir.from_proto(proto)
    builder = Builder(model)
    for node, recoding in zip(list(model.graph), names.values(), strict=True):
        (codes,) = model.graph.inputs
        node.replace_input_with(0, add_recoding(builder, codes, recoding, layer, before=node))
    return to_bytes(model)


@pytest.mark.parametrize("zero_point", [0, 128, 201])
@pytest.mark.parametrize("name", LAYERS)
def test_every_window_on_every_code(tmp_path, name, zero_point):
    """All codes, beside zeros and not: the graph gives what the definition gives, optimised or not."""
    layer = layer_of(tmp_path, name)
    _, extents, _, shape = LAYERS[name]
    axis, count, groups = layer.geometry.pair_axis
    assert shape[axis] == count
    rng = np.random.default_rng(count)
    codes = rng.permutation(np.arange(np.prod(shape)) % 256).astype(np.uint8).reshape(shape)
    codes = np.where(rng.random(shape) < 0.3, zero_point, codes).astype(np.uint8)
    assert len(np.unique(codes)) == 256
    recodings = {known: sparq.get(known, zero_point) for known in sparq.RECODINGS}
    assert len(recodings) == 20
    model = on_codes(layer, recodings, extents)
    for optimize in (False, True):
        found = run(model, {"x": codes}, optimize=optimize)
        for output, (known, recoding) in zip(found.values(), recodings.items(), strict=True):
            expected = sparq.apply_pairs(codes, recoding, axis, groups)
            np.testing.assert_array_equal(output, expected, err_msg=known)


def written(layer: LayerWork, name: str, extents: str) -> Counter[str]:
    """Operators of one re-coding."""
    proto = onnx.load_model_from_string(on_codes(layer, {name: sparq.get(name)}, extents))
    return Counter(node.op_type for node in proto.graph.node if node.op_type != "Identity")


def test_channels_without_partners_need_no_pairs(tmp_path):
    """Depthwise: nothing where a value beside a zero stays as it is, else the one table."""
    layer = layer_of(tmp_path, "depthwise")
    extents = LAYERS["depthwise"][1]
    assert not written(layer, "sparq4-5opt", extents)
    table = {"Transpose": 2, "Reshape": 2, "Cast": 1, "GatherElements": 1}
    assert written(layer, "sparq3-6opt", extents) == table
    assert written(layer, "sparq4-5opt-nopair", extents) == table


def test_known_extents_are_not_read_at_run_time(tmp_path):
    """One unknown extent, as of a batch, is left to Reshape; with more of them the shape is read."""
    for name, shapes in (("conv", 0), ("unknown extents", 1), ("gemm", 0), ("matmul", 1)):
        assert written(layer_of(tmp_path, name), "sparq4-5opt", LAYERS[name][1])["Shape"] == shapes


def test_one_look_up_serves_both_windows(tmp_path):
    """Windows of values beside a zero are the second half of one table; Where never chooses bytes."""
    layer = layer_of(tmp_path, "conv")
    extents = LAYERS["conv"][1]
    for name in ("sparq3-6opt", "sparq4-5opt"):
        found = written(layer, name, extents)
        assert (found["GatherElements"], found["Where"], found["Add"]) == (1, 0, 1)
