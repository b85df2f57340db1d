"""Batches in flight on several threads, with sums that come out the same however many there are.

Each worker runs a batch through onnxruntime on one thread and measures it. That keeps all cores busy
without waiting for one another inside an operator. The sums of a batch are added to the totals in the order
of the batches, one total at a time, so floating-point results do not depend on the number of workers.
"""

import os
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
Numbered = tuple[int, int, T]
"""Number of the batch, number of its first sample, and the batch."""


class Stopped(Exception):
    """Another worker failed; this one ends without an error of its own."""


class OrderedFold:
    """Ordered reduction: batch ``n`` is added to a total only after batch ``n - 1``."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next: dict[Hashable, int] = {}
        self._stopped = False

    def fold(self, key: Hashable, number: int, action: Callable[[], None]) -> None:
        """Wait for the turn of batch ``number`` at the total ``key``, then do ``action``.

        Every batch has to be folded into every total once.

        Raises:
            Stopped: :meth:`stop` was called.
        """
        with self._changed:
            while self._next.get(key, 0) != number and not self._stopped:
                self._changed.wait()
            if self._stopped:
                raise Stopped
        action()
        with self._changed:
            self._next[key] = number + 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Wake all waiting workers; they raise :class:`Stopped`."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


def cores() -> int:
    """Count the cores that this process may use, at most 8: every worker holds the activations of a batch."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(8, len(affinity(0)) if affinity else os.cpu_count() or 1)


def run_workers(
    batches: Iterator[Numbered[T]],
    work: Callable[[int, int, T], None],
    finished: Callable[[T], None],
    folds: OrderedFold,
    workers: int,
) -> None:
    """Call ``work`` on every batch in ``workers`` threads, each of which reads its next batch itself.

    ``finished`` is called for each batch that is done, one call at a time. The failure of the earliest batch
    is raised after all workers have stopped; so is Ctrl-C.
    """
    reading, stop = threading.Lock(), threading.Event()
    failures: list[tuple[int, BaseException]] = []
    position = 0

    def take() -> Numbered[T] | None:
        nonlocal position
        with reading:
            item = None if stop.is_set() else next(batches, None)
            position += item is not None
            return item

    def run() -> None:
        number = None  # of the current batch, None while reading
        try:
            while (item := take()) is not None:
                number = item[0]
                work(*item)
                with reading:
                    finished(item[2])
                number = None
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - raised below, when all workers have stopped
            failures.append((position if number is None else number, error))
            stop.set()
            folds.stop()

    with ThreadPoolExecutor(workers, thread_name_prefix="calibrate") as pool:
        running: set[Future[None]] = {pool.submit(run) for _ in range(workers)}
        try:
            while running:  # a bare wait would not let Ctrl-C through on every platform
                _, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
        except BaseException:
            stop.set()
            folds.stop()
            raise
    if failures:
        raise min(failures, key=lambda failure: failure[0])[1]
