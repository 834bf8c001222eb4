"""What guards each resource of the service."""

from typing import Final

from dtrag_core.api.settings import Capacity
from dtrag_core.optimization.concurrency_control import (
    AdaptiveRateLimiter,
    BreakerSettings,
    CircuitBreaker,
    ConcurrencyController,
    LimiterSettings,
    Resource,
)
from dtrag_core.search.batch import LEGS

_INITIAL: Final = 80
_FLOOR: Final = 40


def guards(capacity: Capacity) -> ConcurrencyController:
    """Return the controller of searches, streams, jobs and writes.

    A search that waits for its batch is in flight: the queue is what the limiter keeps short, so
    its pool needs none, and a batch is what always may be. Slowness is left
    to the limiter and to the breakers of the legs; the breakers here see to what fails in any other
    way.
    """
    limiter = AdaptiveRateLimiter(
        LimiterSettings(
            target_s=capacity.target_s,
            initial=min(_INITIAL, capacity.searches),
            floor=min(_FLOOR, capacity.searches),
            ceiling=capacity.searches,
        )
    )
    fixed = {"stream": capacity.streams, "jobs": capacity.jobs, "write": capacity.writes}
    return ConcurrencyController(
        {
            "search": Resource(capacity.searches, 0, capacity.queue_s, limiter, _breaker("search")),
            **{
                name: Resource(limit, capacity.queue, capacity.queue_s, None, _breaker(name))
                for name, limit in fixed.items()
            },
        }
    )


def leg_breakers() -> dict[str, CircuitBreaker]:
    """Return a breaker for each leg of a search: what fails, or hangs for a second, opens it."""
    return {leg: CircuitBreaker(leg) for leg in LEGS}


def _breaker(name: str) -> CircuitBreaker:
    return CircuitBreaker(name, BreakerSettings(slow_s=60.0, slow_share=1.0, open_s=1.0))
