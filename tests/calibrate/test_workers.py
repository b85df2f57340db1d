"""Batches on several threads: folding in order, failures, stopping."""

import threading
import time

import pytest

from dybitq.calibrate.workers import Stopped, Turnstile, run_in_lanes


def numbered(count: int):
    """Batches that are their own number."""
    return ((i, 10 * i, i) for i in range(count))


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_totals_are_folded_in_order(lanes):
    """However the lanes race, every total sees the batches in order."""
    turns, seen, done = Turnstile(), {"a": [], "b": []}, []

    def work(number: int, first: int, item: int) -> None:
        assert first == 10 * number
        time.sleep(0.001 * ((number * 7) % 3))
        for key in seen:
            turns.fold(key, number, lambda key=key: seen[key].append(item))

    run_in_lanes(numbered(20), work, done.append, turns, lanes)
    assert seen == {"a": list(range(20)), "b": list(range(20))}
    assert sorted(done) == list(range(20))


@pytest.mark.parametrize("lanes", [1, 3])
def test_the_first_failure_is_raised(lanes):
    """Of several failing batches the first counts, and nobody waits for ever."""
    turns = Turnstile()

    def work(number: int, first: int, item: int) -> None:
        if number >= 4:
            raise ValueError(f"batch {number}")
        turns.fold("a", number, lambda: None)

    with pytest.raises(ValueError, match="batch 4"):
        run_in_lanes(numbered(50), work, lambda item: None, turns, lanes)


def test_a_failing_reader_is_raised():
    """What the data raises reaches the caller."""

    def broken():
        yield 0, 0, 0
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        run_in_lanes(broken(), lambda *_: None, lambda item: None, Turnstile(), 2)


def test_a_failing_progress_bar_is_raised():
    """What ``finished`` raises is not lost."""

    def finished(item: int) -> None:
        raise RuntimeError("terminal gone")

    with pytest.raises(RuntimeError, match="terminal gone"):
        run_in_lanes(numbered(9), lambda *_: None, finished, Turnstile(), 2)


def test_stopping_turns_waiting_lanes_away():
    """Whoever waits for a turn that never comes is sent off."""
    turns, outcome = Turnstile(), []

    def wait() -> None:
        try:
            turns.fold("a", 5, lambda: None)
        except Stopped:
            outcome.append("stopped")

    thread = threading.Thread(target=wait)
    thread.start()
    turns.stop()
    thread.join(5)
    assert outcome == ["stopped"]
