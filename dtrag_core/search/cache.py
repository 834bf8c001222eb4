"""A cache that computes each missing value once, however many ask for it at the same time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from cachetools import TTLCache

from dtrag_core.errors import InvalidRequestError

V = TypeVar("V")
Source = Literal["hit", "miss", "shared"]


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Counts since the start: `shared` waited for another's computation; `size` entries held."""

    hits: int
    misses: int
    shared: int
    size: int
    capacity: int

    @property
    def hit_rate(self) -> float:
        """Share of look-ups answered from the store; 0 before the first."""
        lookups = self.hits + self.misses + self.shared
        return self.hits / lookups if lookups else 0.0


class SingleFlightCache(Generic[V]):
    """LRU with a time to live; concurrent look-ups of one missing key share one computation.

    `ttl_seconds` counts on `timer` (seconds, monotonic). A failed computation is not stored, and
    everyone who waited for it gets its exception; if whoever computed was cancelled, one of those
    who waited computes again.
    """

    def __init__(
        self,
        capacity: int = 1_000,
        ttl_seconds: float = 3_600.0,
        *,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        if capacity < 1 or ttl_seconds <= 0:
            raise InvalidRequestError(
                f"a cache needs capacity >= 1 and ttl_seconds > 0, got {capacity}, {ttl_seconds}"
            )
        self._stored: TTLCache[Hashable, V] = TTLCache(capacity, ttl_seconds, timer)
        self._flights: dict[Hashable, asyncio.Future[V]] = {}
        self._counts: dict[Source, int] = {"hit": 0, "miss": 0, "shared": 0}

    async def get_or_compute(
        self, key: Hashable, compute: Callable[[], Awaitable[V]]
    ) -> tuple[V, Source]:
        """Return the value of `key`, computing it if it is neither stored nor being computed."""
        while True:
            if key in self._stored:
                try:
                    value = self._stored[key]
                except KeyError:  # its time ran out between the two look-ups
                    continue
                return value, self._count("hit")
            flight = self._flights.get(key)
            if flight is None:
                return await self._compute(key, compute), self._count("miss")
            try:
                return await asyncio.shield(flight), self._count("shared")
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not flight.cancelled() or (task is not None and task.cancelling()):
                    raise

    def statistics(self) -> CacheStatistics:
        """Return the counts so far."""
        counts = self._counts
        return CacheStatistics(
            counts["hit"],
            counts["miss"],
            counts["shared"],
            len(self._stored),
            int(self._stored.maxsize),
        )

    def clear(self) -> None:
        """Forget every stored value."""
        self._stored.clear()

    async def _compute(self, key: Hashable, compute: Callable[[], Awaitable[V]]) -> V:
        flight: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._flights[key] = flight
        try:
            value = await compute()
        except Exception as error:
            flight.set_exception(error)
            flight.exception()  # nobody need be waiting for it
            raise
        except BaseException:
            flight.cancel()  # whoever waits computes again
            raise
        finally:
            del self._flights[key]
        self._stored[key] = value
        flight.set_result(value)
        return value

    def _count(self, source: Source) -> Source:
        self._counts[source] += 1
        return source
