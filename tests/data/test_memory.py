"""Samples in memory: every way to hand them over gives the same batches."""

from collections.abc import Iterator

import numpy as np
import pytest

from dybitq.data.memory import data_of
from dybitq.data.source import Batch
from dybitq.data.spec import load_data
from dybitq.errors import ConfigError, DataError
from dybitq.records.layers import TensorInfo

INPUTS = (TensorInfo(name="x", shape=(None, 3), dtype="float32"),)
TWO = (*INPUTS, TensorInfo(name="mask", shape=(None, 2), dtype="int64"))
X = np.arange(30, dtype=np.float32).reshape(10, 3)
Y = np.arange(10)


class Reader:
    """Hands out each of some feeds once."""

    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        """Return the next feeds, None at the end."""
        return next(self.feeds, None)


class Dataset:
    """A sequence without ``__iter__``, which counts what is read."""

    def __init__(self):
        self.read = []

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        self.read.append(index)
        return X[index]


class Loader:
    """An iterable that starts anew at every pass, without a length."""

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(X)


def batches(data, labels=None, inputs=INPUTS, **options) -> list[Batch]:
    """All batches of a source."""
    return list(load_data(data_of(data, labels), inputs=inputs, **options))


WAYS = {
    "arrays by name": lambda: {"x": X},
    "one array": lambda: X,
    "list of samples": lambda: list(X),
    "list of feeds": lambda: [{"x": row} for row in X],
    "generator of samples": lambda: (row for row in X),
    "generator of batches": lambda: (part for part in np.split(X, 5)),
    "batches of feeds": lambda: [{"x": X[:7]}, {"x": X[7:]}],
    "reader": lambda: Reader([{"x": X[:4]}, {"x": X[4:]}]),
    "sequence": Dataset,
    "loader": Loader,
    "lists of numbers": lambda: {"x": X.tolist()},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same_samples(way):
    """With their labels, in their order, and again in a second pass."""
    source = load_data(data_of(WAYS[way](), Y), inputs=INPUTS, batch_size=4)
    for _ in range(2):
        found = list(source)
        np.testing.assert_array_equal(np.concatenate([batch.feeds["x"] for batch in found]), X)
        np.testing.assert_array_equal(np.concatenate([batch.labels for batch in found]), Y)
        assert all(batch.feeds["x"].dtype == np.float32 for batch in found)
    assert source.task == "classification"


@pytest.mark.parametrize("way", WAYS)
def test_fewer_samples(way):
    """Spread evenly where the number is known, else the first."""
    found = batches(WAYS[way](), samples=5)
    rows = np.concatenate([batch.feeds["x"] for batch in found])
    spread = way in ("arrays by name", "one array", "sequence", "lists of numbers") or "list of" in way
    np.testing.assert_array_equal(rows, X[::2] if spread else X[:5])


def test_sequences_are_read_item_by_item():
    """Samples that are not asked for are not read, but for the first, which tells the rank."""
    data = Dataset()
    batches(data, samples=2)
    assert set(data.read) == {0, 5}


def test_several_inputs():
    """Arrays by name fill them, a bare array does not say which one it is for."""
    feeds = {"x": X, "mask": np.ones((10, 2), np.int64)}
    assert len(batches(feeds, inputs=TWO, batch_size=10)) == 1
    with pytest.raises(DataError, match=r"item 0 is of the type ndarray; expected arrays by .* \(x, mask\)"):
        batches(X, inputs=TWO)
    with pytest.raises(DataError, match="gives the inputs x; the model has x, mask"):
        batches({"x": X}, inputs=TWO)


@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        ({"x": X, "y": X[:3]}, None, r"arrays of different length \(x 10, y 3\)"),
        ({}, None, r"arrays of different length \(none\)"),
        ({"x": X[:, :2]}, None, r"samples in memory, x\[0\]: has the shape \[2\]"),
        (X, Y[:9], "10 samples and 9 labels"),
        ((row for row in X), Y[:9], "more samples than the 9 labels"),
        (X, [Y], r"labels have the shape \[1, 10\]"),
        ([], None, "no samples; expected at least one"),
        (Reader([]), None, "no samples; expected at least one"),
        (X[:0], None, "no samples; expected at least one"),
        (Reader([{"x": X}, {"x": np.float32(1)}]), None, "batch 1: axis 0 must count the samples"),
        ([object()], None, "item 0 is of the type object; expected arrays by input name"),
        ({"x": X * np.nan}, None, r"x\[0\]: input 'x' holds NaN"),
    ],
)
def test_mistakes_name_their_sample(data, labels, message):
    """The message says what was found."""
    with pytest.raises(DataError, match=message):
        batches(data, labels)


def test_no_data():
    """What is neither a path nor samples is refused, and so are labels beside a path."""
    with pytest.raises(
        ConfigError, match="the data are of the type int; expected a path, arrays by input name"
    ):
        data_of(3)
    with pytest.raises(ConfigError, match=r"d\.npz: labels are given beside a path"):
        data_of("d.npz", Y)
