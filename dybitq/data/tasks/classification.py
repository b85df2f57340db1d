"""Task ``classification``: top-1, top-5 and agreement of class scores ``[n, classes]``."""

from collections.abc import Mapping

import numpy as np

from dybitq.data.tasks import TASKS, Task
from dybitq.errors import DataError


def score(output: np.ndarray, labels: np.ndarray, offset: int) -> Mapping[str, np.ndarray]:
    """Test if the label has the best, or one of the five best scores: float64 ``[n]`` of 0 and 1.

    Equal scores rank by class number, as with argmax; NaN ranks last.

    Raises:
        DataError: a label is not one of the classes.
    """
    scores = _scores(output, offset)
    classes = scores.shape[1]
    wrong = (labels < 0) | (labels >= classes) | (labels != np.floor(labels))
    if wrong.any():
        raise DataError(
            f"label {labels[wrong][0]} is not one of the {classes} classes that the model scores; "
            "check the labels and label_offset"
        )
    labels = labels.astype(np.int64)
    own = scores[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(classes)[None] < labels[:, None]
    rank = ((scores > own) | ((scores == own) & earlier)).sum(axis=1)
    metrics = {"top-1": (rank < 1).astype(np.float64)}
    if classes > 5:
        metrics["top-5"] = (rank < 5).astype(np.float64)
    return metrics


def agree(output: np.ndarray, reference: np.ndarray, offset: int) -> np.ndarray:
    """Test if both rank the same class first, bool ``[n]``."""
    return np.asarray(_scores(output, offset).argmax(1) == _scores(reference, offset).argmax(1))


def _scores(output: np.ndarray, offset: int) -> np.ndarray:
    """Return class scores ``[n, classes]``: columns from ``offset`` on; trailing axes of 1 are dropped."""
    flat = output.reshape(output.shape[0], -1)
    if flat.size != output.shape[0] * (output.shape[1] if output.ndim > 1 else 1):
        raise DataError(f"an output of shape {list(output.shape)} holds no class scores [n, classes]")
    if flat.shape[1] <= offset:
        raise DataError(f"label_offset {offset} leaves none of the {flat.shape[1]} columns of the output")
    return np.nan_to_num(flat[:, offset:], nan=-np.inf, posinf=np.inf, neginf=-np.inf)


TASKS.register("classification")(Task(headline="top-1", score=score, agree=agree))
