"""Latency of several models, measured in turns so that a change of clock or load hits all of them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dybitq.errors import ConfigError
from dybitq.runtime.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Run time of one model.

    Attributes:
        name: given by the caller.
        median_seconds: median over the rounds.
        ratio: median over the rounds of the time against the first model's time in the same round.
    """

    name: str
    median_seconds: float
    ratio: float


def compare_latency(
    sessions: Mapping[str, Session],
    feeds: Mapping[str, np.ndarray],
    *,
    rounds: int = 50,
    warm_up: int = 5,
) -> tuple[Latency, ...]:
    """Run all ``sessions`` on the same ``feeds``, one after the other in every round.

    The order is reversed in every second round, so that no session always runs after the same neighbour.
    Ratios are formed within a round and their median is taken, which a busy machine disturbs far less than
    the ratio of medians.

    Raises:
        ConfigError: no sessions or no rounds.
        ModelError: a model cannot be run.
    """
    if not sessions or rounds < 1:
        raise ConfigError(
            f"a comparison needs at least one model and one round, found {len(sessions)} models and "
            f"{rounds} rounds"
        )
    names = list(sessions)
    for name in names:
        for _ in range(warm_up):
            sessions[name].run(feeds)
    seconds = np.zeros((rounds, len(names)))
    for turn in range(rounds):
        order = range(len(names)) if turn % 2 == 0 else range(len(names) - 1, -1, -1)
        for index in order:
            start = time.perf_counter()
            sessions[names[index]].run(feeds)
            seconds[turn, index] = time.perf_counter() - start
    medians = np.median(seconds, axis=0)
    ratios = np.median(seconds / seconds[:, :1], axis=0)
    return tuple(
        Latency(name=name, median_seconds=float(m), ratio=float(r))
        for name, m, r in zip(names, medians, ratios)
    )


def creation_seconds(model: bytes, *, threads: int | None = None, rounds: int = 5) -> float:
    """Median time to create a session of a serialised model, in seconds."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        Session(model, threads)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))
