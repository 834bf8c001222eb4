"""A resource pool: so many may use something at once, so many may wait, and only so long."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from dtrag_core.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    QueueFullError,
    QueueTimeoutError,
)


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Who uses it and waits for it now, and totals since the start.

    `refused` found the queue full, `timed_out` waited too long, `expired` were past their deadline.
    """

    name: str
    limit: int
    in_use: int
    waiting: int
    entered: int
    refused: int
    timed_out: int
    expired: int


class ResourcePool:
    """At most `limit` users at once; at most `queue_limit` wait, in turn, up to `timeout_s` each.

    Belongs to one event loop. A place that is given back goes straight to whoever waited longest,
    so nobody overtakes. `deadline` is a time of `clock` (s).
    """

    def __init__(
        self,
        name: str,
        limit: int,
        queue_limit: int,
        timeout_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if limit < 1 or queue_limit < 0 or not timeout_s > 0:
            raise InvalidRequestError(
                "a pool needs limit >= 1, queue_limit >= 0 and timeout_s > 0, "
                f"got {limit}, {queue_limit}, {timeout_s}"
            )
        self.name = name
        self.limit = limit
        self.queue_limit = queue_limit
        self.timeout_s = timeout_s
        self._clock = clock
        self._in_use = self._entered = self._refused = self._timed_out = self._expired = 0
        # Each is answered once: True hands it a place (already counted in use), False is too late.
        self._waiting: OrderedDict[asyncio.Future[bool], None] = OrderedDict()

    def use(self, deadline: float | None = None) -> "PoolUse":
        """Return a context that holds a place while its block runs.

        Entering raises QueueFullError at once, QueueTimeoutError, or DeadlineExceededError.
        """
        return PoolUse(self, deadline)

    async def enter(self, deadline: float | None = None) -> None:
        """Take a place, or wait for one; `leave` must follow unless this raised."""
        left_s = None if deadline is None else deadline - self._clock()
        if left_s is not None and left_s <= 0:
            raise self._late(left_s)
        if self._in_use < self.limit:
            self._in_use += 1
        elif len(self._waiting) >= self.queue_limit:
            self._refused += 1
            raise QueueFullError(
                f"{self.name}: {self._in_use} in use and {len(self._waiting)} waiting, of at most "
                f"{self.limit} and {self.queue_limit}",
                self.timeout_s,
            )
        else:
            await self._wait(left_s)
        self._entered += 1

    def leave(self) -> None:
        """Give a place back."""
        while self._waiting:
            turn, _ = self._waiting.popitem(last=False)
            if not turn.done():  # else cancelled, in this turn of the loop
                turn.set_result(True)
                return
        self._in_use -= 1

    def statistics(self) -> PoolStatistics:
        """Return the counts so far."""
        return PoolStatistics(
            self.name,
            self.limit,
            self._in_use,
            len(self._waiting),
            self._entered,
            self._refused,
            self._timed_out,
            self._expired,
        )

    async def _wait(self, left_s: float | None) -> None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._waiting[turn] = None
        patience_s = self.timeout_s if left_s is None else min(left_s, self.timeout_s)
        timer = loop.call_later(patience_s, self._give_up, turn)
        try:
            has_place = await turn
        except BaseException:
            self._waiting.pop(turn, None)
            if turn.done() and not turn.cancelled() and turn.result():
                self.leave()  # handed a place in the same turn of the loop
            raise
        finally:
            timer.cancel()
        if has_place:
            return
        if left_s is not None and left_s <= self.timeout_s:
            raise self._late(0.0)
        self._timed_out += 1
        raise QueueTimeoutError(
            f"{self.name}: no place within {self.timeout_s:g} s", self.timeout_s
        )

    def _give_up(self, turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            del self._waiting[turn]
            turn.set_result(False)

    def _late(self, left_s: float) -> DeadlineExceededError:
        self._expired += 1
        return DeadlineExceededError(
            f"{self.name}: the deadline passed {-left_s:.3f} s ago, before its turn; "
            "allow more time, or ask again when there is less load"
        )


class PoolUse:
    """Holds a place of a pool from entering to leaving, however the block ends."""

    __slots__ = ("_deadline", "_pool")

    def __init__(self, pool: ResourcePool, deadline: float | None) -> None:
        self._pool = pool
        self._deadline = deadline

    async def __aenter__(self) -> None:
        await self._pool.enter(self._deadline)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.leave()
