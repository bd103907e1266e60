"""What needs the model, done by one thread: a bounded queue of jobs that take turns, step by step."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from typing import Any, Literal, final

from molchord.errors import MolchordError, NotInCase
from molchord.page.models import JobView

__all__ = ["Busy", "Job", "Jobs", "Steps"]

Steps = Generator[str, None, Any]
"""The work of a job: it yields what it does next before each step, and returns its result."""

_Kind = Literal["search", "why", "candidates", "load"]

_REMEMBERED = 200
"""Finished jobs whose state can still be asked for."""

_log = logging.getLogger(__name__)


class Busy(MolchordError):
    """The queue is full; `retry_after` is in how many seconds to ask again."""

    retry_after = 1


@final
class Job:
    """One job; its result, or what went wrong, is in `future`."""

    def __init__(self, id: str, kind: _Kind, steps: Steps, samples: Sequence[str], total: int) -> None:
        self.id, self.kind, self.samples, self.total = id, kind, tuple(samples), total
        self.steps = steps
        self.done = 0
        self.message = "waiting for its turn"
        self.running = False
        self.cancelled = threading.Event()
        self.future: Future[Any] = Future()

    def view(self) -> JobView:
        """Return how far it is."""
        error = None
        if self.future.cancelled() or (self.cancelled.is_set() and not self.future.done()):
            state: Any = "cancelled"
        elif self.future.done():
            failure = self.future.exception()
            state, error = ("done", None) if failure is None else ("failed", str(failure))
        else:
            state = "running" if self.running else "queued"
        return JobView(
            id=self.id, kind=self.kind, state=state, done=self.done, total=self.total, samples=self.samples,
            message=self.message, error=error,
        )  # fmt: skip


@final
class Jobs:
    """A worker thread and its queue. After each step a job goes to the end, so that a long one holds nobody up.

    Args:
        most: Jobs that may wait; more are refused.

    Example:
        >>> def steps():
        ...     yield "counting"
        ...     return 3
        >>> jobs = Jobs()
        >>> jobs.submit("search", steps()).future.result(timeout=5)
        3
        >>> jobs.close()
    """

    def __init__(self, most: int = 32) -> None:
        self.most = most
        self._queue: deque[Job] = deque()
        self._known: dict[str, Job] = {}
        self._made = 0
        self._change = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="molchord-model", daemon=True)
        self._thread.start()

    def submit(self, kind: _Kind, steps: Steps, samples: Sequence[str] = (), total: int = 1) -> Job:
        """Queue a job.

        Raises:
            Busy: Too many wait.
        """
        with self._change:
            if self._stopped:
                raise Busy("the server is being stopped; start it again with `molchord open`")
            if len(self._queue) >= self.most:
                raise Busy(f"the queue is full, as {len(self._queue)} searches wait; ask again in a second")
            self._made += 1
            job = Job(f"j{self._made}", kind, steps, samples, total)
            self._known[job.id] = job
            self._queue.append(job)
            for old in [one for one in self._known.values() if one.future.done()][:-_REMEMBERED]:
                del self._known[old.id]
            self._change.notify()
            return job

    def find(self, id: str) -> Job:
        """Return a job.

        Raises:
            NotInCase: There is none, or it was finished long ago.
        """
        job = self._known.get(id)
        if job is None:
            raise NotInCase(f"job {id!r} is not known; it may have been finished long ago")
        return job

    def of_sample(self, sample: str) -> str | None:
        """Return the id of the job that searches for a sample now or soon."""
        with self._change:
            for job in self._known.values():
                if job.kind == "search" and not job.future.done() and sample in job.samples[job.done :]:
                    return job.id
        return None

    def current(self, *kinds: str) -> str | None:
        """Return the id of the newest job of some kinds that is not finished; None where there is none."""
        with self._change:
            open_jobs = [job.id for job in self._known.values() if job.kind in kinds and not job.future.done()]
        return open_jobs[-1] if open_jobs else None

    def cancel(self, id: str) -> Job:
        """Stop a job before its next step; what is done stays."""
        job = self.find(id)
        with self._change:
            job.cancelled.set()
            if job in self._queue:
                self._queue.remove(job)
                self._end(job)
        return job

    def close(self, timeout: float = 10.0) -> None:
        """Stop after the step under way; jobs that wait are cancelled."""
        with self._change:
            self._stopped = True
            for job in self._queue:
                job.cancelled.set()
                self._end(job)
            self._queue.clear()
            self._change.notify()
        self._thread.join(timeout)

    # --- the thread

    def _work(self) -> None:
        while True:
            with self._change:
                while not self._queue and not self._stopped:
                    self._change.wait()
                if self._stopped:
                    return
                job = self._queue.popleft()
            self._step(job)

    def _step(self, job: Job) -> None:
        """Do one step of a job; queue it again where there is more."""
        started, job.running = job.running, True
        try:
            job.message = next(job.steps)
            job.done += started
        except StopIteration as stop:
            job.done = job.total
            job.message = "done"
            job.future.set_result(stop.value)
            return
        except MolchordError as error:
            job.future.set_exception(error)
            return
        except Exception as error:
            _log.exception("a job of kind %s failed", job.kind)
            job.future.set_exception(
                MolchordError(f"the {job.kind} failed ({type(error).__name__}); the terminal has the details")
            )
            return
        with self._change:
            if job.cancelled.is_set() or self._stopped:
                self._end(job)
            else:
                self._queue.append(job)

    def _end(self, job: Job) -> None:
        job.steps.close()
        job.message = "cancelled"
        job.future.cancel()
