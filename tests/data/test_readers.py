"""The readers: images, npz and Python hooks, and what they say about bad files."""

import sys

import numpy as np
import pytest

from dybitq.data.spec import load_data
from dybitq.errors import ConfigError, DataError, UnsupportedError
from tests.data.conftest import IMAGE, info

IMAGES = """
reader: images
splits: {calib: {path: images, labels: labels.csv}}
transform: [{layout: CHW}]
task: classification
"""


def test_labels_give_the_files_and_their_order(images, spec, tmp_path):
    """Files come as the CSV lists them, with their labels."""
    (tmp_path / "labels.csv").write_text("file,label\nd.png,7\nb/c.png,2\n")
    (batch,) = load_data(spec(IMAGES), inputs=[IMAGE], batch_size=4)
    assert batch.labels.tolist() == [7, 2]
    assert batch.feeds["x"][:, 2, 0, 0].tolist() == [21, 11]


def test_without_labels_files_come_by_name(images, spec):
    """Subfolders too; what is no image is passed over."""
    source = load_data(spec(IMAGES.replace(", labels: labels.csv", "")), inputs=[IMAGE])
    assert [batch.names[0].rsplit("/", 1)[1] for batch in source] == ["a.png", "c.png", "d.png"]
    assert not source.labelled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,1\n", "starts with 'a.png,1'; expected the header 'file,label'"),
        ("", "starts with 'an empty file'"),
        ("file,label\n", "lists no files"),
        ("file,label\na.png,one\n", "line 2: 'a.png,one' is not 'file,integer'"),
        ("file,label\n\na.png\n", "line 3: 'a.png' is not 'file,integer'"),
        ("file,label\nz.png,1\n", "line 2: there is no file 'z.png'"),
    ],
)
def test_bad_labels(images, spec, tmp_path, text, message):
    """A bad row is named by its line."""
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        load_data(spec(IMAGES), inputs=[IMAGE])


def test_an_unreadable_image_is_named(images):
    """The file that Pillow cannot decode is in the message."""
    (images / "d.png").write_bytes((images / "d.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"d\.png: cannot be read as an image"):
        list(load_data(images, inputs=[IMAGE]))


def test_an_empty_folder(tmp_path):
    """There has to be an image."""
    pytest.importorskip("PIL.Image")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        load_data(tmp_path / "empty", inputs=[IMAGE])


def test_images_without_pillow(images, monkeypatch):
    """The message names the extra to install."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'dybitq\[images\]'"):
        load_data(images, inputs=[IMAGE])


def test_images_fill_one_input(images, spec):
    """With several inputs the spec has to name one; then the others are missing."""
    inputs = [IMAGE, info(None, 2, name="k")]
    with pytest.raises(ConfigError, match=r"several inputs \(x, k\); name one with 'input:'"):
        load_data(images, inputs=inputs)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 cut off"])
def test_a_damaged_npz(tmp_path, content):
    """What numpy cannot read gives one line."""
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"d\.npz: cannot be read as \.npz"):
        load_data(tmp_path / "d.npz", inputs=[IMAGE])


def test_pickles_are_refused(tmp_path):
    """Arrays of objects would run code."""
    np.savez(tmp_path / "d.npz", x=np.array([{}, {}], object))
    with pytest.raises(DataError, match="cannot be read"):
        load_data(tmp_path / "d.npz", inputs=[IMAGE])


def test_a_single_array_is_no_npz(tmp_path, spec):
    """An .npy under an .npz name is recognised."""
    with (tmp_path / "d.npz").open("wb") as file:
        np.save(file, np.zeros((2, 4, 6, 3)))
    with pytest.raises(DataError):
        load_data(tmp_path / "d.npz", inputs=[IMAGE])


HOOK = """
reader: python
splits: {calib: {path: hook.py, function: make, args: {n: 5}, labels: y}}
"""

HOOK_FILE = """
import numpy as np

class Reader:
    def __init__(self, n):
        self.left = n

    def get_next(self):
        if self.left <= 0:
            return None
        self.left -= 2
        return {"x": np.full((2, 3), self.left), "y": [1, 2]}

def make(n):
    return Reader(n)
"""


@pytest.fixture
def hook(tmp_path):
    """Writes a hook file, with a replacement."""

    def write(old: str = "", new: str = "") -> None:
        assert old in HOOK_FILE
        (tmp_path / "hook.py").write_text(HOOK_FILE.replace(old, new) if old else HOOK_FILE)

    return write


def test_a_hook_is_drained(hook, spec):
    """Batches are run as the hook makes them; every pass makes a new reader."""
    hook()
    source = load_data(spec(HOOK), inputs=[info(None, 3)], batch_size=64)
    assert source.samples is None and source.labelled
    for _ in range(2):
        batches = list(source)
        assert [b.feeds["x"][0, 0] for b in batches] == [3.0, 1.0, -1.0]
        assert batches[0].labels.tolist() == [1, 2]
    assert batches[2].names == ("hook.py, batch 2[0]", "hook.py, batch 2[1]")


def test_a_hook_can_be_a_class(hook, spec):
    """``class`` is another word for ``function``."""
    hook()
    text = HOOK.replace("function: make", "class: Reader")
    assert len(list(load_data(spec(text), inputs=[info(None, 3)]))) == 3


def test_the_last_batch_of_a_hook_is_cut(hook, spec):
    """``samples`` ends inside a batch."""
    hook()
    source = load_data(spec(HOOK), inputs=[info(None, 3)], samples=3)
    assert [b.count for b in source] == [2, 1]


def test_too_few_from_a_hook(hook, spec):
    """Only draining tells, so the error comes at the end."""
    hook()
    with pytest.raises(DataError, match="6 samples, but 7 were asked for"):
        list(load_data(spec(HOOK), inputs=[info(None, 3)], samples=7))


def test_transforms_apply_to_each_sample_of_a_hook(hook, spec):
    """A batch is transformed sample by sample."""
    hook()
    source = load_data(spec(HOOK + "transform: [{scale: 2}]"), inputs=[info(None, 3)])
    assert next(iter(source)).feeds["x"].tolist() == [[6.0] * 3] * 2


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("import numpy", "import nonsense_xyz", ConfigError, "cannot be imported: ModuleNotFoundError"),
        ("def make", "def male", ConfigError, "has no function or class 'make'"),
        ("return Reader(n)", "return 3", DataError, r"make returned 3, which has no get_next\(\)"),
        ("self.left = n", "raise OSError('gone')", DataError, "make failed: OSError: gone"),
        ('return {"x"', 'return 1/0, {"x"', DataError, "make failed: ZeroDivisionError: division by zero"),
        ('return {"x"', 'return [1], {"x"', DataError, r"get_next\(\) returned tuple, expected a mapping"),
        ('"y": [1, 2]', '"z": [1, 2]', DataError, "has no labels under 'y'; it has x, z"),
        ('"y": [1, 2]', '"y": [1]', DataError, "axis 0 must count the samples of the batch, found x 2, y 1"),
    ],
)
def test_bad_hooks(hook, spec, old, new, error, message):
    """Whatever the user's code does ends in one line."""
    hook(old, new)
    with pytest.raises(error, match=message) as caught:
        list(load_data(spec(HOOK), inputs=[info(None, 3)]))
    assert "\n" not in str(caught.value)


def test_a_hook_needs_a_name(hook, spec):
    """The reader needs to know what to call."""
    hook()
    with pytest.raises(ConfigError, match="needs 'function:' or 'class:'"):
        load_data(spec(HOOK.replace("function: make, ", "")), inputs=[info(None, 3)])
    with pytest.raises(ConfigError, match="give 'function' or 'class', not both"):
        load_data(spec(HOOK.replace("function: make", "function: make, class: A")), inputs=[info(None, 3)])
