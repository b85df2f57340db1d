"""Batches that fit a model: shapes, types, fixed batch sizes, and samples that are not finite."""

import numpy as np
import pytest

from dybitq.data.source import DataSource, Opened, Sample
from dybitq.errors import DataError
from dybitq.records.layers import TensorInfo
from tests.data.conftest import IMAGE, info


def source_of(
    values: list[np.ndarray], input_: TensorInfo, *, batch_size: int = 2, fixed: bool = False
) -> DataSource:
    """A source of samples made in the test."""

    def read(indices):
        chosen = range(len(values)) if indices is None else indices
        return (Sample(values={input_.name: values[i]}, name=f"s{i}", label=i) for i in chosen)

    return DataSource(
        opened=Opened(count=len(values), labelled=True, inputs=(input_.name,), read=read),
        inputs=(input_,),
        batch_size=batch_size,
        fixed_batch=fixed,
        limit=None,
        task=None,
        label_offset=0,
        where="here",
    )


def test_a_fixed_batch_is_filled_up():
    """The last batch repeats its last sample; ``count`` says how many are real."""
    samples = [np.full(2, i, np.float32) for i in range(5)]
    *_, last = source_of(samples, info(3, 2), batch_size=3, fixed=True)
    assert last.feeds["x"].tolist() == [[3, 3], [4, 4], [4, 4]]
    assert last.count == 2 and last.labels.tolist() == [3, 4] and last.names == ("s3", "s4")


def test_samples_of_different_size_are_not_mixed():
    """A batch ends where the shape changes."""
    samples = [np.zeros(n, np.float32) for n in (4, 4, 4, 5, 5, 4)]
    shapes = [b.feeds["x"].shape for b in source_of(samples, info(None, None))]
    assert shapes == [(2, 4), (1, 4), (2, 5), (1, 4)]


@pytest.mark.parametrize(
    ("shape", "input_", "hint"),
    [
        ((4, 6, 3), IMAGE, "Add 'layout: CHW' to the transforms"),
        ((3, 8, 8), IMAGE, r"Add 'resize: \[4, 6\]'"),
        ((8, 8, 3), IMAGE, r"Add 'resize: \[4, 6\]'"),
        ((4, 6, 1), IMAGE, "takes colour, the sample is grey"),
        ((4, 6, 3), info(None, 1, 4, 6), "Add 'grayscale'"),
        ((4, 6), info(None, 1, 4, 6), "channel axis is missing"),
        ((5,), info(None, 4), r"has the shape \[5\], the model's input 'x' takes \[4\]"),
        ((2, 4), info(None, 4), r"has the shape \[2, 4\]"),
    ],
)
def test_shapes_that_do_not_fit(shape, input_, hint):
    """The sample is named, with both shapes and the likely cure."""
    with pytest.raises(DataError, match=hint) as caught:
        list(source_of([np.zeros(shape)], input_))
    assert str(caught.value).startswith("s0: ")


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (np.nan, "float32", "s1: input 'x' holds NaN"),
        (np.inf, "float32", "s1: input 'x' holds infinity"),
        (1e6, "float16", "numbers too large for float16"),
        (0.5, "int64", "is int64, but values such as 0.5 do not fit it"),
        (300, "uint8", "is uint8, but values such as 300"),
        (np.nan, "int64", "values such as nan"),
    ],
)
def test_values_that_do_not_fit(value, dtype, message):
    """What cannot be cast is refused by name and value."""
    samples = [np.ones(2), np.array([1.0, value])]
    with pytest.raises(DataError, match=message):
        list(source_of(samples, info(None, 2, dtype=dtype)))


def test_text_is_no_number():
    """Arrays of strings are refused by their type."""
    with pytest.raises(DataError, match="values of type <U1, expected numbers"):
        list(source_of([np.array(["a"])], info(None, 1)))


def test_integers_pass_exactly():
    """Whole floats become integers."""
    (batch,) = source_of([np.array([3.0, -1.0])], info(None, 2, dtype="int64"))
    assert batch.feeds["x"].dtype == np.int64 and batch.feeds["x"].tolist() == [[3, -1]]


def test_no_samples():
    """An empty set is an error."""
    with pytest.raises(DataError, match="here: holds no samples"):
        list(source_of([], IMAGE))
