"""Scores on disk, next to the statistics: ``NAME.stats.scores/SENSITIVITY-KEY.json``.

The key is a hash of everything that the scores depend on, so a file is either right or not found.
"""

import contextlib
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import dybitq
from dybitq.allocation.sensitivity import SENSITIVITIES, Scores, Subject
from dybitq.allocation.space import Space
from dybitq.errors import OutputError
from dybitq.files import atomic_output

_VERSION = 6  # raised when a sensitivity computes something else
_KEY_DIGITS = 16


def scores_of(sensitivity: str, subject: Subject, statistics: Path, *, data_key: str = "") -> Scores:
    """Read scores from their file, or compute them and write it.

    Args:
        sensitivity: registered name.
        subject: what to judge.
        statistics: the statistics file; a folder that cannot be written to is no error.
        data_key: identifies the samples that a sensitivity reads.

    Raises:
        ConfigError: no such sensitivity, or it needs data.
    """
    compute = SENSITIVITIES.get(sensitivity)
    digest = hashlib.sha256(statistics.read_bytes()).hexdigest()
    key = _key(sensitivity, subject.space, digest, data_key, subject.samples)
    path = folder_of(statistics) / f"{sensitivity}-{key[:_KEY_DIGITS]}.json"
    scores = _read(path, key)
    if scores is not None:
        return scores
    scores = compute(subject)
    _write(path, key, scores)
    return scores


def folder_of(statistics: Path) -> Path:
    """Return the folder of the scores for a statistics file."""
    return statistics.with_name(statistics.name + ".scores")


def _key(sensitivity: str, space: Space, statistics: str, data_key: str, samples: int) -> str:
    layers = {
        plan.layer: [plan.granularity, plan.scale, plan.rounding, str(plan.activations), plan.reduce_range]
        for plan in space.base.layers
    }
    facts: dict[str, Any] = {
        "version": [_VERSION, dybitq.__version__],
        "sensitivity": sensitivity,
        "model": space.network.sha256,
        "statistics": statistics,
        "choices": [[c.layer, list(c.weights), list(c.activations)] for c in space.choices],
        "layers": layers,
        "edges": [[edge.tensor, edge.format, edge.range] for edge in space.base.edges],
        "bias_correction": space.base.bias_correction,
        "data": [data_key, samples] if data_key else [],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _read(path: Path, key: str) -> Scores | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(document, dict) or document.pop("key", None) != key:
        return None
    names = {field.name for field in dataclasses.fields(Scores)}
    return Scores(**document) if set(document) == names else None


def _write(path: Path, key: str, scores: Scores) -> None:
    """Write scores; where that fails they are computed again next time."""
    text = json.dumps({"key": key, **dataclasses.asdict(scores)})
    with contextlib.suppress(OSError, OutputError):
        path.parent.mkdir(exist_ok=True)
        with atomic_output(path, force=True) as temporary:
            temporary.write_text(text, encoding="utf-8")
