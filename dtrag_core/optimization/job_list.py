"""The jobs of one search, which the calling thread and its helpers take until none is left."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import get_ident
from types import TracebackType
from typing import Self

from dtrag_core.errors import LegFailedError
from dtrag_core.optimization.core_threads import CoreThreads
from dtrag_core.types import Candidates, Span


class Job:
    """Part of a leg: what to call, and once it ended its result with its span, or its error."""

    __slots__ = ("_call", "_error", "_leg", "_result", "ended", "span")

    def __init__(self, leg: str, call: Callable[[], Candidates]) -> None:
        self._leg = leg
        self._call = call
        self._result: Candidates | None = None
        self._error: BaseException | None = None
        self.span: Span | None = None
        self.ended = False

    def run(self) -> None:
        """Call; whatever it raises is kept for the thread that asked."""
        started = time.perf_counter_ns()
        try:
            self._result = self._call()
        except BaseException as error:  # kept, not handled: a helper must not end with it
            self._error = error
        self.span = Span(self._leg, started, time.perf_counter_ns(), get_ident())
        self.ended = True

    def result(self) -> Candidates:
        """Return what the call returned; raises LegFailedError if it failed or never ran."""
        if isinstance(self._error, Exception):
            raise LegFailedError(self._leg, self._error) from self._error
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise LegFailedError(self._leg, RuntimeError("given up before it ran"))
        return self._result


class JobList:
    """Jobs for whoever is free, so that all cores end together whatever each job costs.

    Used as a context manager by the calling thread: when the block is left, for whatever reason,
    no job is waiting or running any more.
    """

    def __init__(self, threads: CoreThreads) -> None:
        self._threads = threads
        self._jobs: list[Job] = []
        self._waiting: deque[Job] = deque()
        self._ended: SimpleQueue[None] = SimpleQueue()

    def add(
        self,
        leg: str,
        calls: Sequence[Callable[[], Candidates]],
        *,
        helpers: int,
        first: bool = False,
    ) -> list[Job]:
        """Add a job for each call, before those that wait (`first`) or after; call `helpers`."""
        jobs = [Job(leg, call) for call in calls]
        self._jobs += jobs
        if first:
            self._waiting.extendleft(jobs)
        else:
            self._waiting.extend(jobs)
        self._threads.share(self._help, helpers)
        return jobs

    def work(self) -> None:
        """Take jobs until none is left, then wait for those that helpers took.

        Raises the failure of a job, if there was one, as LegFailedError.
        """
        while (job := self._take()) is not None:
            job.run()
        self._wait()
        for job in self._jobs:
            job.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while (job := self._take()) is not None:
            job.ended = True
        self._wait()

    def _help(self) -> None:
        while (job := self._take()) is not None:
            job.run()
            self._ended.put(None)

    def _take(self) -> Job | None:
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def _wait(self) -> None:
        while not all(job.ended for job in self._jobs):
            self._ended.get()
