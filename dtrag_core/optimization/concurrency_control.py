"""Concurrency control of named resources: breaker, limiter and pool, applied together."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from dtrag_core.errors import UnknownNameError
from dtrag_core.optimization.circuit_breaker import (
    BreakerSettings,
    BreakerState,
    BreakerStatistics,
    CircuitBreaker,
    Permit,
)
from dtrag_core.optimization.rate_limiter import (
    AdaptiveRateLimiter,
    LimiterSettings,
    LimiterStatistics,
)
from dtrag_core.optimization.resource_pool import PoolStatistics, ResourcePool

__all__ = [
    "AdaptiveRateLimiter",
    "BreakerSettings",
    "BreakerState",
    "BreakerStatistics",
    "CircuitBreaker",
    "ConcurrencyController",
    "ControllerStatistics",
    "LimiterSettings",
    "LimiterStatistics",
    "Permit",
    "PoolStatistics",
    "Resource",
    "ResourcePool",
    "ResourceStatistics",
]

_NOTHING: Final[AbstractContextManager[None]] = nullcontext()


@dataclass(frozen=True, slots=True)
class Resource:
    """How many may use a resource and wait for it, how long, and what else guards it."""

    limit: int
    queue_limit: int = 0
    timeout_s: float = 1.0
    limiter: AdaptiveRateLimiter | None = None
    breaker: CircuitBreaker | None = None


@dataclass(frozen=True, slots=True)
class ResourceStatistics:
    """What the three guards of one resource say of themselves."""

    pool: PoolStatistics
    limiter: LimiterStatistics | None
    breaker: BreakerStatistics | None


@dataclass(frozen=True, slots=True)
class ControllerStatistics:
    """The statistics of each resource by name."""

    resources: Mapping[str, ResourceStatistics]


class ConcurrencyController:
    """Guards named resources; belongs to one event loop. Deadlines are times of `clock` (s)."""

    def __init__(
        self,
        resources: Mapping[str, Resource],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resources = {
            name: (
                ResourcePool(name, each.limit, each.queue_limit, each.timeout_s, clock=clock),
                each.limiter,
                each.breaker,
            )
            for name, each in resources.items()
        }

    @asynccontextmanager
    async def controlled_execution(
        self, resource_name: str, *, deadline: float | None = None, tokens: int = 1
    ) -> AsyncIterator[None]:
        """Hold leave of the breaker, the limiter and the pool of a resource while the block runs.

        The limiter's latency includes waiting for the pool, the breaker's does not. `tokens` are
        the limiter's, and the calls the breaker counts. Raises, before anything is spent on the
        block, CircuitOpenError, RateLimitedError, QueueFullError, QueueTimeoutError or
        DeadlineExceededError, and UnknownNameError for a resource that is none.
        """
        if resource_name not in self._resources:
            raise UnknownNameError("resource", resource_name, self._resources)
        pool, limiter, breaker = self._resources[resource_name]
        if breaker is not None:
            breaker.check()  # refused now rather than after queueing
        with _NOTHING if limiter is None else limiter.admitted(tokens):
            async with pool.use(deadline):
                with _NOTHING if breaker is None else breaker.admit(tokens):
                    yield

    def statistics(self) -> ControllerStatistics:
        """Return what every guard of every resource counted so far."""
        return ControllerStatistics(
            {
                name: ResourceStatistics(
                    pool.statistics(),
                    limiter.statistics() if limiter is not None else None,
                    breaker.statistics() if breaker is not None else None,
                )
                for name, (pool, limiter, breaker) in self._resources.items()
            }
        )
