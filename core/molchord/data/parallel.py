"""Apply a job to a stream of items in processes, with the results in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from molchord.errors import DataError

_T = TypeVar("_T")
_R = TypeVar("_R")


class WorkerDied(DataError):
    """A worker process died: of the system's doing, or of its job's."""


PATIENCE = 3.0  # seconds of work in this process before others are started, which takes about as long
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_job: Callable[[Any], Any]


def ordered(job: Callable[[_T], _R], items: Iterable[_T], workers: int | None = None) -> Iterator[_R]:
    """Yield ``job(item)`` for each item in order; few items are ahead at any time.

    Args:
        job: Picklable where there are workers; sent to each of them once.
        items: Items, taken as they are needed.
        workers: Processes; 1: this one; None: this one at first, and all cores once it takes long.

    Raises:
        WorkerDied: A worker died.

    Example:
        >>> list(ordered(str, range(3), workers=1))
        ['0', '1', '2']
    """
    stream = iter(items)
    number = len(os.sched_getaffinity(0)) if workers is None else workers
    deadline = time.monotonic() + PATIENCE
    while number <= 1 or (workers is None and time.monotonic() < deadline):
        for item in stream:
            yield job(item)
            break
        else:
            return
    yield from _in_processes(job, stream, number)


def surviving(
    job: Callable[[_T], _R], items: Iterable[_T], workers: int | None, lost: Callable[[_T], _R]
) -> Iterator[_R]:
    """Yield as `ordered` does; an item that kills its process, even alone, yields what `lost` makes of it.

    Raises:
        WorkerDied: Workers die before any item is done, and with each item alone: it is not the items.
    """
    under_way: deque[_T] = deque()
    finished = 0

    def noted() -> Iterator[_T]:
        for item in items:
            under_way.append(item)
            yield item

    stream = noted()
    while True:
        try:
            for result in ordered(job, stream, workers):
                under_way.popleft()
                finished += 1
                yield result
            return
        except WorkerDied:
            results = [alone(job, item) for item in under_way]
            if finished == 0 and all(found is None for found in results):
                raise
            for item, found in zip(under_way, results, strict=True):
                yield lost(item) if found is None else found
            under_way.clear()


def alone(job: Callable[[_T], _R], item: _T) -> _R | None:
    """Return ``job(item)`` from a process of its own; None where it dies."""
    try:
        return next(ordered(job, [item], workers=2))
    except WorkerDied:
        return None


def _in_processes(job: Callable[[_T], _R], stream: Iterator[_T], workers: int) -> Iterator[_R]:
    # Not forked from this process: its threads (torch, arrow) would be cut off in the middle of what they do. Nor from
    # a fork server: it hands on the environment that it was started with, for another purpose perhaps.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(job,))
    pending: deque[Future[_R]] = deque()
    try:
        for item in stream:
            with _one_thread():  # submitting starts the processes
                pending.append(pool.submit(_run, item))
            if len(pending) >= 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise WorkerDied(
            "a worker process died: out of memory, or a script that starts workers without "
            "`if __name__ == '__main__':`; guard the script, or try again with fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that start here compute on one core each; numerical libraries read this when they are loaded.

    Without it a small eigenvalue problem took forty times as long on two cores that other processes used too.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _start(job: Callable[[Any], Any]) -> None:
    global _job
    _job = job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the workers


def _run(item: Any) -> Any:
    return _job(item)
