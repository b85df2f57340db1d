"""Data specs: what is accepted, and the message for everything else."""

import numpy as np
import pytest

from dybitq.data.spec import load_data
from dybitq.errors import ConfigError, DataError
from tests.data.conftest import IMAGE, info

NPZ = """
reader: npz
splits:
  calib: {path: data.npz, arrays: {x: x}, labels: y}
transform:
  - scale: 2
  - layout: CHW
task: classification
"""


def test_a_spec_is_read(npz, spec):
    """Transforms are applied in order, labels and task come along, paths start at the spec."""
    source = load_data(spec(NPZ), inputs=[IMAGE], batch_size=4)
    batches = list(source)
    assert (source.samples, source.labelled, source.task) == (10, True, "classification")
    assert [b.count for b in batches] == [4, 4, 2]
    feed = batches[1].feeds["x"]
    assert feed.shape == (4, 3, 4, 6) and feed.dtype == np.float32 and feed.flags.c_contiguous
    assert feed[0, 0, 0, 0] == 8.0
    assert batches[2].labels.tolist() == [2, 0]
    assert batches[0].names[3] == "data.npz, x[3]"


def test_iterating_again_reads_again(npz, spec):
    """A source can be passed over twice."""
    source = load_data(spec(NPZ), inputs=[IMAGE], batch_size=5)
    assert [b.count for b in source] == [b.count for b in source] == [5, 5]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("reader: npz", "reader: npy", r"\.yaml: unknown reader 'npy'. Did you mean 'npz'\?"),
        ("reader: npz\n", "", "reader: is missing"),
        ("reader: npz", "raeder: npz", r"raeder: unknown field; did you mean 'reader'\?"),
        ("labels: y", "lables: y", r"splits.calib.lables: unknown field; did you mean 'labels'\?"),
        ("task: classification", "task: clasification", "Did you mean 'classification'"),
        ("task: classification", "label_offset: one", "label_offset: .*integer, found text"),
        ("task: classification", "label_offset: -1", "label_offset: .*greater than or equal to 0"),
        ("  - scale: 2", "  - scael: 2", "transform.0: unknown transform 'scael'. Did you mean 'scale'"),
        ("  - scale: 2", "  - scale: two", "transform.0: scale: expected a number, found 'two'"),
        ("  - scale: 2", "  - {scale: 2, layout: CHW}", "transform.0: expected one transform"),
        ("  - scale: 2", "  - 2", "transform.0"),
        ("  calib:", "  train:", "no split 'calib'; it has train"),
        ("{x: x}", "{x: z}", "no array 'z'; it has x, y, ids, short"),
        ("{x: x}", "{z: x}", "gives the inputs z; the model has x"),
        ("{x: x}", "{x: short}", r"different length \(short 9, y 10\)"),
        ("labels: y", "labels: x", "labels 'x' have the shape"),
        ("data.npz", "other.npz", "other.npz: no such file"),
        ("path: data.npz,", "path: data.npz, function: f,", "the reader 'npz' does not use 'function'"),
        ("reader: npz", "reader: npz\ninput: z", r"input 'z' is not one of the model's inputs \(x\)"),
        (
            "reader: npz",
            "reader: npz\nreader: npz",
            "line 3: is not valid YAML: the key 'reader' is",
        ),
        ("splits:", "splits: [", "is not valid YAML"),
    ],
)
def test_mistakes(npz, spec, old, new, message):
    """Each mistake gives one line with its place in the file."""
    assert old in NPZ
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        list(load_data(spec(NPZ.replace(old, new)), inputs=[IMAGE]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "3", "just text"])
def test_no_mapping(spec, text):
    """A document that is no mapping is refused by what it is."""
    with pytest.raises(ConfigError, match="expected a mapping of fields at the top"):
        load_data(spec(text), inputs=[IMAGE])


def test_wrong_kind_of_file(tmp_path):
    """Only the three kinds of data are taken."""
    (tmp_path / "data.csv").write_text("")
    with pytest.raises(ConfigError, match=r"expected a data spec \(.yaml\), an .npz file or a folder"):
        load_data(tmp_path / "data.csv", inputs=[IMAGE])


def test_samples_are_spread_evenly(npz, spec):
    """Fewer samples than there are come from the whole split: files are often sorted by class."""
    source = load_data(spec(NPZ), inputs=[IMAGE], samples=4, batch_size=4)
    assert source.samples == 4
    assert [n.split("[")[1] for n in next(iter(source)).names] == ["0]", "2]", "5]", "7]"]


def test_too_few_samples(npz, spec):
    """Asking for more than there are is an error that says how many there are."""
    with pytest.raises(DataError, match="10 samples, but 11 were asked for; lower --samples"):
        load_data(spec(NPZ), inputs=[IMAGE], samples=11)


def test_a_bare_npz(tmp_path):
    """Arrays called like the inputs, and classes under ``labels``."""
    np.savez(tmp_path / "d.npz", a=np.zeros((3, 2), np.int16), b=np.ones((3, 5)), labels=np.arange(3))
    inputs = [info(None, None, name="a", dtype="int64"), info(None, 5, name="b")]
    source = load_data(tmp_path / "d.npz", inputs=inputs, split="val", batch_size=3)
    (batch,) = source
    assert {n: v.dtype.name for n, v in batch.feeds.items()} == {"a": "int64", "b": "float32"}
    assert source.task == "classification" and batch.labels.tolist() == [0, 1, 2]


def test_a_bare_npz_lacks_an_input(tmp_path):
    """The missing array is named."""
    np.savez(tmp_path / "d.npz", a=np.zeros((3, 2)))
    with pytest.raises(DataError, match="has no array 'b'; it has a"):
        load_data(tmp_path / "d.npz", inputs=[info(None, 2, name="a"), info(None, 2, name="b")])


def test_a_bare_folder(images):
    """Images as they are, channels first if the model's input is."""
    (batch,) = load_data(images, inputs=[IMAGE], batch_size=8)
    assert batch.count == 3 and batch.feeds["x"][1, :, 0, 0].tolist() == [10, 10, 11]
    (batch,) = load_data(images, inputs=[info(None, 4, 6, 3)], batch_size=8)
    assert batch.feeds["x"].shape == (3, 4, 6, 3)
    (batch,) = load_data(images, inputs=[info(None, 1, 4, 6)], batch_size=8)
    assert batch.feeds["x"].shape == (3, 1, 4, 6)


def test_transforms_need_to_know_their_input(npz, spec):
    """With several inputs, ``input:`` says which one the transforms change."""
    text = """
reader: npz
splits: {calib: {path: data.npz, arrays: {x: x, ids: ids}}}
transform: [to_float, {layout: CHW}]
"""
    inputs = [IMAGE, info(None, 2, name="ids", dtype="int64")]
    with pytest.raises(ConfigError, match="need 'input:'"):
        load_data(spec(text), inputs=inputs)
    (batch,) = load_data(spec("input: x" + text), inputs=inputs, batch_size=10)
    assert batch.feeds["ids"].dtype == np.int64 and batch.feeds["x"].shape == (10, 3, 4, 6)


@pytest.mark.parametrize(
    ("network", "split", "expected"), [("minilm_l6_v2", "calib", 128), ("yolox_nano", "val", 70)]
)
def test_the_zoo_specs_work(zoo, network, split, expected):
    """Specs with several inputs, and with images, are taken as they stand."""
    inputs = {
        "minilm_l6_v2": [info(None, None, name=n, dtype="int64") for n in ("input_ids", "attention_mask")],
        "yolox_nano": [info(None, 3, 416, 416, name="images")],
    }[network]
    source = load_data(zoo / f"specs/{network}.yaml", inputs=inputs, split=split, batch_size=2)
    assert source.samples == expected
    assert {i.name for i in inputs} == set(next(iter(source)).feeds)
