"""Batches on several threads: folding in order, failures, stopping."""

import threading
import time

import pytest

from dybitq.calibration.workers import OrderedFold, Stopped, run_workers


def numbered(count: int):
    """Batches that are their own number."""
    return ((i, 10 * i, i) for i in range(count))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_totals_are_folded_in_order(workers):
    """Every total sees the batches in order, however the workers race."""
    folds, seen, done = OrderedFold(), {"a": [], "b": []}, []

    def work(number: int, first: int, item: int) -> None:
        assert first == 10 * number
        time.sleep(0.001 * ((number * 7) % 3))
        for key in seen:
            folds.fold(key, number, lambda key=key: seen[key].append(item))

    run_workers(numbered(20), work, done.append, folds, workers)
    assert seen == {"a": list(range(20)), "b": list(range(20))}
    assert sorted(done) == list(range(20))


@pytest.mark.parametrize("workers", [1, 3])
def test_the_first_failure_is_raised(workers):
    """Of several failing batches the first is reported, and no worker waits for ever."""
    folds = OrderedFold()

    def work(number: int, first: int, item: int) -> None:
        if number >= 4:
            raise ValueError(f"batch {number}")
        folds.fold("a", number, lambda: None)

    with pytest.raises(ValueError, match="batch 4"):
        run_workers(numbered(50), work, lambda item: None, folds, workers)


def test_a_failing_reader_is_raised():
    """What the data raises reaches the caller."""

    def broken():
        yield 0, 0, 0
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        run_workers(broken(), lambda *_: None, lambda item: None, OrderedFold(), 2)


def test_a_failing_progress_bar_is_raised():
    """What ``finished`` raises is not lost."""

    def finished(item: int) -> None:
        raise RuntimeError("terminal gone")

    with pytest.raises(RuntimeError, match="terminal gone"):
        run_workers(numbered(9), lambda *_: None, finished, OrderedFold(), 2)


def test_stopping_turns_waiting_lanes_away():
    """A worker that waits for a turn that never comes is ended."""
    folds, outcome = OrderedFold(), []

    def wait() -> None:
        try:
            folds.fold("a", 5, lambda: None)
        except Stopped:
            outcome.append("stopped")

    thread = threading.Thread(target=wait)
    thread.start()
    folds.stop()
    thread.join(5)
    assert outcome == ["stopped"]
