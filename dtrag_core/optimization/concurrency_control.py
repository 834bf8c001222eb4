"""Concurrency control of named resources: breaker, limiter and pool, applied together."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

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
    Admitted,
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

    def controlled_execution(
        self, resource_name: str, *, deadline: float | None = None, tokens: int = 1
    ) -> "ControlledExecution":
        """Hold leave of the breaker, the limiter and the pool of a resource while the block runs.

        The limiter's latency includes waiting for the pool, the breaker's does not. `tokens` are
        the limiter's, and the calls the breaker counts. Entering raises, before anything is spent
        on the block, CircuitOpenError, RateLimitedError, QueueFullError, QueueTimeoutError or
        DeadlineExceededError. Raises UnknownNameError for a resource that is none.
        """
        if resource_name not in self._resources:
            raise UnknownNameError("resource", resource_name, self._resources)
        return ControlledExecution(*self._resources[resource_name], deadline, tokens)

    def check(self, resource_name: str, coming: int) -> None:
        """Raise what entering would: CircuitOpenError, or RateLimitedError if there is no room.

        Cheaper than being refused by `controlled_execution`, and counted as that is. `coming` is
        how many more have passed this check and will enter. Takes nothing.
        """
        _, limiter, breaker = self._resources[resource_name]
        if breaker is not None:
            breaker.check()
        if limiter is not None and limiter.refuses(coming):
            raise limiter.refusal()

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


class ControlledExecution:
    """Leave of a resource's guards while a block runs; every request passes here, so no generators.

    What was got before a refusal is given back.
    """

    __slots__ = ("_admitted", "_breaker", "_deadline", "_limiter", "_permit", "_pool", "_tokens")

    def __init__(
        self,
        pool: ResourcePool,
        limiter: AdaptiveRateLimiter | None,
        breaker: CircuitBreaker | None,
        deadline: float | None,
        tokens: int,
    ) -> None:
        self._pool = pool
        self._limiter = limiter
        self._breaker = breaker
        self._deadline = deadline
        self._tokens = tokens
        self._admitted: Admitted | None = None
        self._permit: Permit | None = None

    async def __aenter__(self) -> None:
        if self._breaker is not None:
            self._breaker.check()  # refused now rather than after queueing
        if self._limiter is not None:
            self._admitted = self._limiter.admitted(self._tokens)
            self._admitted.__enter__()
        try:
            await self._pool.enter(self._deadline)
            if self._breaker is not None:
                try:
                    self._permit = self._breaker.admit(self._tokens)
                except BaseException:
                    self._pool.leave()
                    raise
        except BaseException as error:
            if self._admitted is not None:
                self._admitted.__exit__(type(error), error, error.__traceback__)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._permit is not None:
            self._permit.__exit__(kind, error, traceback)
        self._pool.leave()
        if self._admitted is not None:
            self._admitted.__exit__(kind, error, traceback)
