"""Gathers concurrent requests into batches; identical ones share one computation."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Final, Generic, TypeAlias, TypeVar

from dtrag_core.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    QueueFullError,
    SearchError,
)
from dtrag_core.optimization.aging_queue import MAX_PRIORITY, AgingQueue, aged_rank
from dtrag_core.optimization.batches import BatchSettings, BatchStatistics, Request

__all__ = ["MAX_PRIORITY", "BatchSearchProcessor", "BatchSettings", "BatchStatistics", "Request"]

P = TypeVar("P", bound=Hashable)
A = TypeVar("A")
# Of the event loop, from bytes at a socket to a request that waits: read, parsed, submitted.
_TURNS: Final = 3


class _Flight(Generic[P, A]):
    """One computation and everyone who waits for it, each with a deadline or None."""

    __slots__ = ("arrived", "key", "priority", "waiters")

    def __init__(self, key: tuple[str, P], priority: int, arrived: float) -> None:
        self.key = key
        self.priority = priority
        self.arrived = arrived
        self.waiters: dict[asyncio.Future[A], float | None] = {}

    def request(self) -> Request[P]:
        """Return what to compute, by the deadline of the one who waits longest."""
        deadline: float | None = None
        for given in self.waiters.values():
            if given is None:
                return Request(*self.key, self.priority, None)
            deadline = given if deadline is None else max(deadline, given)
        return Request(*self.key, self.priority, deadline)


Process: TypeAlias = Callable[[Sequence[Request[P]]], Awaitable[Sequence[A | Exception]]]


class BatchSearchProcessor(Generic[P, A]):
    """Runs `process` on batches of requests, the most urgent first.

    `process` returns an answer or an exception for each request, in order; what it raises goes to
    all. While fewer than `parallel` batches run, a request waits for a few turns of the event loop,
    so that those that arrive together go together; else until a batch ends, and as many turns more,
    since the loop may have stood still for it. A batch that runs is never cancelled: what it
    occupies stays occupied. Use it from one event loop. `clock` in seconds, monotonic.
    """

    def __init__(
        self,
        process: Process[P, A],
        settings: BatchSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._process = process
        self._settings = settings or BatchSettings()
        self._clock = clock
        self._flights: dict[tuple[str, P], _Flight[P, A]] = {}
        self._queue: AgingQueue[_Flight[P, A]] = AgingQueue()
        self._tasks: set[asyncio.Task[Sequence[A | Exception]]] = set()
        self._soon = False
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._submitted = self._shared = self._refused = 0
        self._answered = self._failed = self._expired = self._left = 0
        self._dropped = self._computed = self._batches = 0
        self._batch_s = 0.0

    async def submit_search_request(
        self, query: str, search_params: P, priority: int = 0, *, deadline: float | None = None
    ) -> A:
        """Return the answer to one request, or raise what its computation raised.

        Raises QueueFullError or, while closing, OverloadedError at once; DeadlineExceededError if
        its turn comes after `deadline`; InvalidRequestError for a priority beyond MAX_PRIORITY.
        """
        flight, future = self._enter(Request(query, search_params, priority, deadline))
        try:
            return await future
        finally:
            self._leave(flight, future)

    async def process_batch(self, batch_requests: Sequence[Request[P]]) -> list[A | Exception]:
        """Return, in order, the answer to each request or the exception in its place."""
        answers: list[A | Exception] = []
        entered: list[tuple[_Flight[P, A], asyncio.Future[A]] | Exception] = []
        try:
            for request in batch_requests:
                try:
                    entered.append(self._enter(request))
                except (OverloadedError, InvalidRequestError) as error:
                    entered.append(error)
            for place in entered:
                try:
                    answers.append(place if isinstance(place, Exception) else await place[1])
                except Exception as error:
                    answers.append(error)
        finally:
            for place in entered:
                if not isinstance(place, Exception):
                    self._leave(*place)
        return answers

    def statistics(self) -> BatchStatistics:
        """Return the counts so far; `batch_s` is how long a batch has taken lately, in seconds."""
        return BatchStatistics(
            waiting=len(self._queue),
            running_batches=len(self._tasks),
            submitted=self._submitted,
            shared=self._shared,
            answered=self._answered,
            failed=self._failed,
            expired=self._expired,
            left=self._left,
            refused=self._refused,
            dropped=self._dropped,
            computed=self._computed,
            batches=self._batches,
            batch_s=self._batch_s,
        )

    async def close(self) -> None:
        """Refuse what comes from now on, and return once everything accepted has ended."""
        self._closing = True
        self._dispatch()
        while self._tasks:  # each that ends starts the next
            await asyncio.wait(self._tasks)

    def _enter(self, request: Request[P]) -> tuple[_Flight[P, A], asyncio.Future[A]]:
        """Join the computation of an identical request, or queue a new one."""
        settings = self._settings
        now = self._clock()
        rank = aged_rank(now, request.priority, settings.aging_s)
        if self._closing:
            self._refused += 1
            raise OverloadedError("no more searches are accepted: the service is stopping", 1.0)
        key = (request.query, request.params)
        flight = self._flights.get(key)
        queue = self._queue
        if flight is None:
            if len(queue) >= settings.queue_limit:
                self._refused += 1
                rounds = len(queue) / (settings.size * settings.parallel)
                raise QueueFullError(
                    f"{len(queue):,} searches wait already, the limit is {settings.queue_limit:,}",
                    max(rounds * self._batch_s, settings.wait_s),
                )
            flight = self._flights[key] = _Flight(key, request.priority, now)
            queue.push(flight, rank)
        else:
            self._shared += 1
            if flight in queue:
                flight.priority = max(flight.priority, request.priority)
                queue.push(flight, rank)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[A] = loop.create_future()
        flight.waiters[future] = request.deadline
        self._submitted += 1
        due = self._timer is None or len(queue) >= settings.size
        if due and not self._soon and len(self._tasks) < settings.parallel:
            self._dispatch_soon()
        return flight, future

    def _dispatch_soon(self, turns: int = _TURNS) -> None:
        """Dispatch after some turns of the event loop, once what has arrived is read."""
        self._soon = True
        if turns:
            asyncio.get_running_loop().call_soon(self._dispatch_soon, turns - 1)
        else:
            self._dispatch()

    def _leave(self, flight: _Flight[P, A], future: asyncio.Future[A]) -> None:
        """Forget a waiter, if it still is one; nobody else's answer depends on it."""
        if future not in flight.waiters:
            return
        del flight.waiters[future]
        self._left += 1
        if not flight.waiters and flight in self._queue:
            self._queue.discard(flight)
            self._drop(flight)

    def _drop(self, flight: _Flight[P, A]) -> None:
        del self._flights[flight.key]
        self._dropped += 1

    def _dispatch(self) -> None:
        """Start as many batches as there are places and requests for."""
        self._soon = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        now = self._clock()
        while self._queue and len(self._tasks) < self._settings.parallel:
            held_s = self._held_s(now)
            if held_s > 0:
                self._timer = loop.call_later(held_s, self._dispatch)
                return
            batch = self._take(now)
            if batch:
                task = loop.create_task(self._run(batch))
                self._tasks.add(task)
                task.add_done_callback(partial(self._ended, batch, now))

    def _held_s(self, now: float) -> float:
        settings = self._settings
        if not settings.hold or self._closing or len(self._queue) >= settings.size:
            return 0.0
        return self._queue.oldest().arrived + settings.wait_s - now

    def _take(self, now: float) -> list[_Flight[P, A]]:
        """Take up to a batch off the queue, without those for whom it is too late."""
        batch: list[_Flight[P, A]] = []
        while self._queue and len(batch) < self._settings.size:
            flight = self._queue.pop()
            for future, deadline in list(flight.waiters.items()):
                if future.done():  # cancelled, and about to leave
                    self._leave(flight, future)
                elif deadline is not None and deadline <= now:
                    del flight.waiters[future]
                    self._expired += 1
                    _fail(future, _too_late(now - deadline, now - flight.arrived))
            if flight.waiters:
                batch.append(flight)
            else:
                self._drop(flight)
        return batch

    async def _run(self, batch: list[_Flight[P, A]]) -> Sequence[A | Exception]:
        outcomes = await self._process([flight.request() for flight in batch])
        if len(outcomes) != len(batch):
            raise SearchError(f"{len(outcomes)} answers came for {len(batch)} requests")
        return outcomes

    def _ended(
        self,
        batch: list[_Flight[P, A]],
        started: float,
        task: asyncio.Task[Sequence[A | Exception]],
    ) -> None:
        self._tasks.discard(task)
        seconds = self._clock() - started
        self._batch_s = 0.9 * self._batch_s + 0.1 * seconds if self._batches else seconds
        self._batches += 1
        self._computed += len(batch)
        error = _cancelled() if task.cancelled() else task.exception()
        self._settle(batch, task.result() if error is None else [_as_raised(error)] * len(batch))
        if task.cancelling():  # the event loop ends: what starts now would outlive it
            return
        if self._closing:  # by what runs
            self._dispatch()
        elif not self._soon:
            self._dispatch_soon()

    def _settle(self, batch: list[_Flight[P, A]], outcomes: Sequence[A | Exception]) -> None:
        for flight, outcome in zip(batch, outcomes, strict=True):
            del self._flights[flight.key]
            for future in list(flight.waiters):
                if future.done():
                    self._leave(flight, future)
                elif isinstance(outcome, BaseException):
                    self._failed += 1
                    _fail(future, _as_raised(outcome))
                else:
                    self._answered += 1
                    future.set_result(outcome)
            flight.waiters.clear()


def _fail(future: asyncio.Future[A], error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # nobody need be there to see it


def _as_raised(error: BaseException) -> Exception:
    """Return the error, or what stands for it where a future cannot hold it or would be lost."""
    if isinstance(error, StopIteration):
        return SearchError(f"the search raised {error!r}")
    return error if isinstance(error, Exception) else _cancelled()


def _cancelled() -> SearchError:
    return SearchError("the search was cancelled before it was answered; ask again")


def _too_late(late_s: float, waited_s: float) -> DeadlineExceededError:
    return DeadlineExceededError(
        f"its turn came {late_s:.3f} s after the deadline, having waited {waited_s:.3f} s; "
        "allow more time or ask less often"
    )
