"""Classification: top-1, top-5, agreement, ties, offsets."""

import numpy as np
import pytest

from dybitq.data.tasks import TASKS
from dybitq.errors import ConfigError, DataError

TASK = TASKS.get("classification")


def test_top_1_and_top_5():
    """A score counts if the label is the best, or among the five best."""
    scores = np.array([[9.0, 1, 2, 3, 4, 5, 6], [9.0, 1, 2, 3, 4, 5, 6], [9.0, 1, 2, 3, 4, 5, 6]])
    found = TASK.score(scores, np.array([0, 3, 1]), 0)
    assert found["top-1"].tolist() == [1, 0, 0] and found["top-5"].tolist() == [1, 1, 0]


def test_ties_rank_as_argmax_has_them():
    """Of equal scores the first class wins, so top-1 is what argmax says."""
    scores = np.random.default_rng(0).integers(0, 3, (200, 10)).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 10, 200)
    expected = scores.argmax(1) == labels
    np.testing.assert_array_equal(TASK.score(scores, labels, 0)["top-1"], expected)


def test_label_offset_skips_columns():
    """Class 0 is the second column of a model with a background class."""
    scores = np.array([[5.0, 4, 1], [0.0, 1, 2]])
    assert TASK.score(scores, np.array([0, 1]), 1)["top-1"].tolist() == [1, 1]
    assert TASK.agree(scores, scores + 1, 1).all()


def test_few_classes_have_no_top_5():
    """With five classes or fewer it would always be right."""
    assert list(TASK.score(np.eye(5), np.arange(5), 0)) == ["top-1"]


def test_trailing_ones_are_dropped():
    """Scores of shape [n, classes, 1, 1] are scores."""
    assert TASK.score(np.eye(3)[..., None, None], np.arange(3), 0)["top-1"].all()


def test_nan_never_wins():
    """A broken score is a wrong one."""
    assert TASK.score(np.array([[np.nan, 1.0]]), np.array([1]), 0)["top-1"].tolist() == [1]


@pytest.mark.parametrize(
    ("output", "label", "offset", "message"),
    [
        (np.eye(3), 3, 0, "label 3 is not one of the 3 classes"),
        (np.eye(3), -1, 0, "label -1 is not one of"),
        (np.eye(3), 2, 1, "label 2 is not one of the 2 classes .* label_offset"),
        (np.eye(3), 0, 3, "label_offset 3 leaves none of the 3 columns"),
        (np.zeros((3, 2, 4)), 0, 0, r"shape \[3, 2, 4\] holds no class scores"),
        (np.zeros(3), 0, 0, "label_offset 0 leaves none|is not one of|holds no class"),
    ],
)
def test_what_does_not_fit(output, label, offset, message):
    """Labels, offset and output have to go together."""
    if output.ndim == 1:
        output = output[:, None][:, :0]
    with pytest.raises(DataError, match=message):
        TASK.score(output, np.full(3, label), offset)


def test_unknown_task():
    """A misspelt task is answered with the nearest."""
    with pytest.raises(ConfigError, match="Did you mean 'classification'"):
        TASKS.get("clasification")
