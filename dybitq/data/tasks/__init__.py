"""Tasks, one per file: the metrics that evaluation measures on labelled samples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from dybitq.registry import Registry

Score = Callable[[np.ndarray, np.ndarray, int], Mapping[str, np.ndarray]]
Agree = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Metrics of the first output of a model.

    Attributes:
        headline: the metric of ``--max-drop``.
        score: from (output ``[n, ...]``, labels ``[n]``, label_offset) to the metrics' values for each
            sample, float64 ``[n]`` each; a metric is their mean, in percent.
        agree: from (output, reference output, label_offset) to bool ``[n]``: the same decision.
    """

    headline: str
    score: Score
    agree: Agree


TASKS: Registry[Task] = Registry("task", "dybitq.data.tasks")
