"""Open-loop load: requests leave on a schedule made beforehand, whether or not answers come back.

A latency counts from the moment its request was *meant* to leave, so that a stall is paid for by
every request it held up (coordinated omission, as wrk2 corrects it). Requests that fail, time out
or are dropped are counted, never forgotten.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic

import numpy as np
from numpy.typing import NDArray

from dtrag_core.bench.clock import NS_PER_S, Clock, Service, T, quiet_gc
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.bench.load_result import LoadResult, RefusedError, Segment, UnansweredError
from dtrag_core.errors import MeasuringError

TIMEOUT: Final = "timeout"
UNFINISHED: Final = "unfinished"  # when the load was given up
DROPPED: Final = "dropped"
_UNANSWERED: Final = -1


@dataclass(frozen=True, slots=True)
class Limit:
    """When to stop a run that is lost: more than `allowed` requests failed or took over `ns`."""

    ns: int
    allowed: int


class _Run(Generic[T]):
    """The state of one run: for each request its latency, or why it has none."""

    def __init__(
        self, service: Service[T], plan: LoadPlan, clock: Clock, limit: Limit | None
    ) -> None:
        self._service = service
        self._clock = clock
        self._timeout_ns = int(plan.timeout_s * NS_PER_S)
        self._limited = limit is not None
        self._limit = limit or Limit(self._timeout_ns, plan.requests)
        self._max_in_flight = plan.max_in_flight
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._bad = 0
        self._swept = 0
        self.due = plan.schedule_ns().tolist()
        self.done: list[int] = []
        self.lag: list[int] = []
        self.failures: dict[int, str] = {}
        self.refused: set[int] = set()

    async def _one(self, number: int, request: T) -> None:
        try:
            await self._service(request)
        except UnansweredError as error:
            self._fail(number, error.kind)
            if isinstance(error, RefusedError):
                self.refused.add(number)
            return
        except Exception as error:
            self._fail(number, type(error).__name__)
            return
        finally:
            del self._tasks[number]
        self.done[number] = now = self._clock.now_ns()
        taken = now - self.due[number]
        if taken > self._timeout_ns:
            self._fail(number, TIMEOUT)
        elif taken > self._limit.ns:
            self._count_bad(number)

    def _fail(self, number: int, kind: str) -> None:
        self.done[number] = self._clock.now_ns()
        self.failures[number] = kind
        self._count_bad(number)

    def _count_bad(self, number: int) -> None:
        """Count a bad request, once: those swept are counted."""
        if number >= self._swept:
            self._bad += 1

    def _sweep(self, sent: int) -> None:
        """Count the requests that have been waiting for longer than the limit."""
        overdue = self._clock.now_ns() - self._limit.ns
        while self._swept < sent and self.due[self._swept] < overdue:
            self._bad += self.done[self._swept] == _UNANSWERED
            self._swept += 1

    @property
    def lost(self) -> bool:
        return self._bad > self._limit.allowed

    async def send(self, requests: Sequence[T]) -> None:
        """Send what is due when it is due, until all is sent or the limit is lost."""
        clock, tasks, lag, due, done = self._clock, self._tasks, self.lag, self.due, self.done
        start = clock.now_ns()
        due[:] = [start + ns for ns in due]
        for number, at in enumerate(due):
            if clock.now_ns() < at:
                await clock.sleep_until(at)
            if self._limited:
                self._sweep(number)
            if self.lost:
                break
            lag.append(max(clock.now_ns() - at, 0))
            done.append(_UNANSWERED)
            if len(tasks) >= self._max_in_flight:
                self._fail(number, DROPPED)
                continue
            request = requests[number % len(requests)]
            tasks[number] = asyncio.create_task(self._one(number, request))
        await self._settle()

    async def _settle(self) -> None:
        """Wait for the last answers, no longer than until the last can only have timed out."""
        last = self.due[len(self.done) - 1] + self._timeout_ns
        kind = UNFINISHED if self.lost else TIMEOUT
        left = 0 if self.lost else max(last - self._clock.now_ns(), 0)
        pending = set(self._tasks.values())
        if pending:
            _, pending = await asyncio.wait(pending, timeout=left / NS_PER_S)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for number, done in enumerate(self.done):
            if done == _UNANSWERED:
                self._fail(number, kind)


def _growth(due: NDArray[np.int64], done: NDArray[np.int64]) -> float:
    """Return the rise of the backlog over the run as a share of the arrivals."""
    if len(due) < 2 or due[-1] == due[0]:
        return 0.0
    backlog = np.arange(len(due)) - np.searchsorted(np.sort(done), due, side="right")
    time = (due - due[0]) / (due[-1] - due[0])
    return float(np.polyfit(time, backlog, 1)[0]) / len(due)


def _segments(
    run: _Run[Any], taken: NDArray[np.int64], part: NDArray[np.int64], count: int
) -> tuple[Segment, ...]:
    """Sort the requests, `taken` ns each and due in segment `part`, into segments."""
    answered = np.ones(len(taken), dtype=np.bool_)
    answered[list(run.failures)] = False
    errors = [Counter[str]() for _ in range(count)]
    refused: list[dict[str, list[int]]] = [{} for _ in range(count)]
    for number, kind in run.failures.items():
        errors[part[number]][kind] += 1
        if number in run.refused:
            refused[part[number]].setdefault(kind, []).append(int(taken[number]))
    return tuple(
        Segment(
            Histogram.of(taken[answered & (part == k)]),
            dict(errors[k]),
            {kind: Histogram.of(ns) for kind, ns in refused[k].items()},
        )
        for k in range(count)
    )


async def run_load(
    service: Service[T],
    requests: Sequence[T],
    plan: LoadPlan,
    clock: Clock,
    *,
    limit: Limit | None = None,
) -> LoadResult:
    """Send the planned load to `service` (the requests over and over) and return what came back.

    An exception is counted under its name, an `UnansweredError` under its kind. With a `limit` the
    run stops as soon as it is lost, unanswered requests then counting as timed out. Raises
    `MeasuringError` without requests.
    """
    if not requests:
        raise MeasuringError("a load needs at least one request to send, not 0")
    run = _Run(service, plan, clock, limit)
    with quiet_gc():
        start, cpu = clock.now_ns(), clock.cpu_ns()
        await run.send(requests)
        taken, cpu = max(clock.now_ns() - start, 1), clock.cpu_ns() - cpu
    sent = len(run.done)
    due, done = np.array(run.due[:sent], dtype=np.int64), np.array(run.done, dtype=np.int64)
    part = ((due - start) * (plan.segments / (plan.seconds * NS_PER_S))).astype(np.int64)
    segments = _segments(run, done - due, np.minimum(part, plan.segments - 1), plan.segments)
    lag = Histogram.of(run.lag)
    seconds = taken / NS_PER_S
    return LoadResult(plan, segments, lag, _growth(due, done), cpu / taken, seconds, run.lost)
