"""Files that are no models, models that cannot be handled, external data, hashes, odd inputs."""

import hashlib

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from dybitq.errors import ModelError, UnsupportedError
from dybitq.graph.export import to_bytes
from dybitq.graph.load import load
from dybitq.graph.survey import survey
from tests.models import make_model, run


def array(*shape: int) -> np.ndarray:
    """A random float32 array."""
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


def conv(**extra: object) -> onnx.ModelProto:
    """A model of one Conv."""
    return make_model("y = Conv (x, w)", weights={"w": array(6, 4, 3, 3)}, **extra)


# ------------------------------------------------------------------ files


def test_missing_folder_and_empty(tmp_path):
    """One message each, with the path."""
    with pytest.raises(ModelError, match=r"gone\.onnx: no such file"):
        load(tmp_path / "gone.onnx")
    with pytest.raises(ModelError, match="is a folder"):
        load(tmp_path)
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ModelError, match="is empty"):
        load(tmp_path / "empty.onnx")


@pytest.mark.parametrize(
    "junk", [b"hello, this is no model", b"\x89PNG\r\n\x1a\n" + bytes(64), b"\x08\x07", bytes(99)]
)
def test_other_files(tmp_path, junk):
    """Text, pictures, zeros, and a header without a graph."""
    (tmp_path / "junk.onnx").write_bytes(junk)
    with pytest.raises(ModelError, match="is not an ONNX model, or is truncated"):
        load(tmp_path / "junk.onnx")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.97, 0.999])
def test_truncated(tmp_path, part):
    """A download that stopped, wherever it stopped."""
    whole = conv().SerializeToString()
    (tmp_path / "cut.onnx").write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ModelError, match="truncated"):
        load(tmp_path / "cut.onnx")


def test_unreadable_text(tmp_path):
    """A text model with a syntax error is no model."""
    (tmp_path / "model.textproto").write_text("graph { node: ")
    with pytest.raises(ModelError, match="is not an ONNX model"):
        load(tmp_path / "model.textproto")


# ------------------------------------------------------------------ versions and constructs


@pytest.mark.parametrize(
    ("opset", "word"), [(7, "too old"), (10, "too old"), (999, "newer than the installed")]
)
def test_opsets_outside_the_range(tmp_path, opset, word):
    """Both ends of the range are in the message."""
    proto = conv()
    proto.opset_import[0].version = opset
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(
        UnsupportedError, match=rf"opset {opset} is {word}.*11 to {onnx.defs.onnx_opset_version()}"
    ):
        load(tmp_path / "m.onnx")


def test_ir_version_of_the_future(tmp_path):
    """A file format that the installed onnx does not know."""
    proto = conv()
    proto.ir_version = 99
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(UnsupportedError, match="IR version 99 is newer"):
        load(tmp_path / "m.onnx")


def test_the_newest_ir_version_runs(tmp_path):
    """What onnx writes today may be newer than what onnxruntime reads; the normal form is older."""
    proto = conv(ir_version=onnx.IR_VERSION)
    onnx.save(proto, tmp_path / "m.onnx")
    run(to_bytes(load(tmp_path / "m.onnx").model))


def test_old_ir_version_lists_initializers_as_inputs(tmp_path):
    """Below IR version 4 they are constants all the same."""
    proto = conv(opset=11, ir_version=3)
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [6, 4, 3, 3]))
    onnx.save(proto, tmp_path / "m.onnx")
    network = load(tmp_path / "m.onnx")
    assert [value.name for value in network.model.graph.inputs] == ["x"]
    assert len(survey(network)) == 1
    np.testing.assert_allclose(run(to_bytes(network.model))[0], run(proto.SerializeToString())[0], rtol=1e-6)


def test_overridable_initializer_is_no_weight(check):
    """From IR version 4 on an initializer that is an input is a default value."""
    proto = conv()
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [6, 4, 3, 3]))
    network = check(proto)
    assert survey(network) == ()
    assert any("can be overridden" in note for note in network.notes)


def test_sparse_initializer_is_refused(tmp_path):
    """onnx-ir would drop it silently."""
    proto = conv()
    sparse = proto.graph.sparse_initializer.add()
    sparse.values.CopyFrom(onnx.numpy_helper.from_array(np.ones(1, np.float32), "s"))
    sparse.indices.CopyFrom(onnx.numpy_helper.from_array(np.zeros(1, np.int64), "s_indices"))
    sparse.dims.append(4)
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(UnsupportedError, match="'s' is sparse"):
        load(tmp_path / "m.onnx")


def test_dangling_input(tmp_path):
    """A node that reads a value nobody makes."""
    proto = make_model("y = Add (x, nowhere)")
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="reads 'nowhere'"):
        load(tmp_path / "m.onnx")


def test_output_without_a_producer(tmp_path):
    """An output that nobody makes."""
    proto = make_model("z = Relu (x)")
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="output 'y' is produced by no node"):
        load(tmp_path / "m.onnx")


def test_nodes_out_of_order_are_sorted(tmp_path):
    """The order in the file does not matter; a circle does."""
    proto = make_model("b = Relu (a)\n y = Neg (b)\n a = Abs (x)")
    onnx.save(proto, tmp_path / "m.onnx")
    assert [n.op_type for n in load(tmp_path / "m.onnx").model.graph] == ["Abs", "Relu", "Neg"]
    onnx.save(make_model("b = Add (a, x)\n a = Neg (b)\n y = Relu (a)"), tmp_path / "c.onnx")
    with pytest.raises(ModelError, match="cycle"):
        load(tmp_path / "c.onnx")


# ------------------------------------------------------------------ what stays in float


def test_custom_operators_stay(tmp_path):
    """An operator of another domain is named, and shape inference stops there without harm."""
    proto = make_model("a = Conv (x, w)\n b = my.Thing (a)\n y = Conv (b, v)", domains=', "my" : 1',
                       weights={"w": array(6, 4, 3, 3), "v": array(2, 6, 1, 1)})  # fmt: skip
    onnx.save(proto, tmp_path / "m.onnx")
    network = load(tmp_path / "m.onnx")
    assert [n.op_type for n in network.model.graph] == ["Conv", "Thing", "Conv"]
    assert any("my.Thing" in note for note in network.notes)
    first, second = survey(network)
    assert first.macs and second.macs is None
    assert second.input_shape == ()


def test_recurrent_layers_are_named(check):
    """LSTM and its kin are not quantized."""
    weights = {"w": array(1, 12, 4), "r": array(1, 12, 3)}
    proto = make_model(
        "y, h, c = LSTM <hidden_size = 3> (x, w, r)",
        inputs="float[S, N, 4] x",
        outputs="float[S, 1, N, 3] y",
        weights=weights,
    )
    network = check(proto)
    assert any("LSTM 'LSTM_0': recurrent" in note for note in network.notes)
    assert survey(network) == ()


def test_loop_body_stays(check):
    """Layers in the body of a Loop are not surveyed; layers around it are."""
    body = """
      c = MatMul (x, w)
      y = Loop (n, , c) <
        body = b (int64 i, bool k, float[N, 4] a) => (bool kk, float[N, 4] d)
        { kk = Identity (k)  d = MatMul (a, w) }
      >"""
    weights = {"w": array(4, 4), "n": np.array(2)}
    network = check(make_model(body, inputs="float[N, 4] x", outputs="float[N, 4] y", weights=weights))
    assert [layer.name for layer in survey(network)] == ["MatMul_0"]
    assert any("Loop" in note and "subgraphs stay in float" in note for note in network.notes)


def test_weight_read_by_a_subgraph_is_not_changed(check):
    """Folding a normalisation into a layer must not touch what a subgraph reads."""
    body = """
      c = Conv (x, w)
      n = BatchNormalization (c, k, k, k, v)
      y = If (t) <
        then_branch = p () => (float[N, P, Q, R] u) { s = ReduceSum (w) u = Mul (n, s) },
        else_branch = q () => (float[N, P, Q, R] o) { o = Identity (n) }
      >"""
    weights = {"w": array(6, 4, 3, 3), "k": array(6), "v": array(6) ** 2}
    proto = make_model(body, inputs="float[N, 4, 9, 8] x, bool t", weights=weights)
    for value in (True, False):
        network = check(proto, {"t": np.array(value)}, tolerance=1e-3)
    assert len(survey(network)) == 1


# ------------------------------------------------------------------ external data and hashes


def save_external(proto: onnx.ModelProto, path) -> None:
    """Save with all tensors in ``weights.bin`` beside the model."""
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)


def test_external_data(tmp_path):
    """Tensors stay on disk until they are needed; the result is the same."""
    reference = run(conv().SerializeToString())[0]
    save_external(conv(), tmp_path / "m.onnx")
    network = load(tmp_path / "m.onnx")
    assert isinstance(network.model.graph.initializers["w"].const_value, ir.ExternalTensor)
    np.testing.assert_array_equal(run(to_bytes(network.model))[0], reference)


def test_external_data_missing_or_cut(tmp_path):
    """The message names the tensor and the file."""
    save_external(conv(), tmp_path / "m.onnx")
    data = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(data[:-5])
    with pytest.raises(ModelError, match=r"'w' ends at byte 864 of 'weights.bin', which holds only 859"):
        load(tmp_path / "m.onnx")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"'w' is stored in 'weights.bin', which is missing"):
        load(tmp_path / "m.onnx")


def test_external_data_outside_the_folder(tmp_path):
    """A model must not read files elsewhere on the machine."""
    (tmp_path / "sub").mkdir()
    save_external(conv(), tmp_path / "sub" / "m.onnx")
    proto = onnx.load(tmp_path / "sub" / "m.onnx", load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../weights.bin"
    (tmp_path / "weights.bin").write_bytes((tmp_path / "sub" / "weights.bin").read_bytes())
    (tmp_path / "sub" / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="outside"):
        load(tmp_path / "sub" / "m.onnx")


def test_hash(tmp_path):
    """The hash is that of the file, and changes with the external data."""
    path = tmp_path / "m.onnx"
    onnx.save(conv(), path)
    assert load(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    save_external(conv(), path)
    first = load(path).sha256
    data = bytearray((tmp_path / "weights.bin").read_bytes())
    data[3] ^= 1
    (tmp_path / "weights.bin").write_bytes(data)
    assert load(path).sha256 != first


# ------------------------------------------------------------------ real networks


@pytest.mark.parametrize(
    "name",
    [
        "mnist_cnn",
        "kws_dscnn",
        "resnet8_cifar10",
        "resnet20_cifar10",
        "espcn_y_x3",
        "squeezenet1_1",
        "minilm_l6_v2",
    ],
)
def test_zoo(zoo, check, name):
    """Real networks give the same outputs in normal form."""
    proto = onnx.load(zoo / "models" / f"{name}.onnx")
    feeds = {}
    if name == "minilm_l6_v2":
        feeds["input_ids"] = np.arange(10, dtype=np.int64).reshape(2, 5)
        feeds["attention_mask"] = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int64)
    check(proto, feeds, tolerance=1e-4)
