"""A limiter that admits as many requests at once as the measured latency allows."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from types import TracebackType
from typing import Final

from dtrag_core.errors import InvalidRequestError, RateLimitedError
from dtrag_core.optimization.token_bucket import TokenBucket

_GROWTH: Final = 0.1  # share of the limit added when there is room, at least one request
_OUTLIER: Final = (
    4.0  # times the target a sample counts at most; so the limit keeps a quarter at least
)
_ROUNDING_S: Final = 1e-9


@dataclass(frozen=True, slots=True)
class LimiterSettings:
    """What an adaptive limiter aims at.

    `target_s` is the mean latency beyond which the limit shrinks. The limit begins at `initial`
    and stays in `floor`..`ceiling`; a floor of what the service works on at the same time, and one
    more, keeps it busy even if it cannot reach the target. It is adapted after `samples` latencies,
    or as many as the limit if that is more. `rate` (a second) and `burst` (by default one second's
    worth) bound the rate too.
    """

    target_s: float = 0.05
    initial: int = 20
    floor: int = 2
    ceiling: int = 1_000
    samples: int = 20
    rate: float | None = None
    burst: float | None = None

    def __post_init__(self) -> None:
        limits = 1 <= self.floor <= self.initial <= self.ceiling
        if not (self.target_s > 0 and limits and self.samples >= 1):
            raise InvalidRequestError(
                "a limiter needs target_s > 0, 1 <= floor <= initial <= ceiling and samples >= 1, "
                f"got {self}"
            )


@dataclass(frozen=True, slots=True)
class LimiterStatistics:
    """The limit and the number in flight now, totals, and the mean latency of the last window."""

    limit: float
    in_flight: int
    admitted: int
    refused: int
    latency_s: float | None


class AdaptiveRateLimiter:
    """Bounds the number in flight, and so by Little's law the rate, to hold a target latency.

    The limit grows by a step while the mean latency of a window is within the target, and shrinks
    in proportion to how far it is beyond (additive increase, multiplicative decrease: Chiu & Jain
    1989; in proportion, and by latency, as Netflix's concurrency-limits do). It does neither while
    less than half of it is used, since then it is not what makes the latency. Only requests
    admitted after the last change are samples of it: the queue built before says nothing about it.
    Safe to use from several threads.
    """

    def __init__(
        self,
        settings: LimiterSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings = settings or LimiterSettings()
        self._clock = clock
        self._lock = Lock()
        self._bucket: TokenBucket | None = None
        if settings.rate is not None:
            burst = max(1.0, settings.rate) if settings.burst is None else settings.burst
            self._bucket = TokenBucket(settings.rate, burst, clock=clock)
        self._limit = float(settings.initial)
        self._changed_at = clock()
        self._in_flight = self._peak = self._admitted = self._refused = 0
        self._samples = 0
        self._sum_s = 0.0
        self._latency_s: float | None = None

    @property
    def retry_after_s(self) -> float:
        """How long to wait before asking again, s: a usual latency, or until there are tokens."""
        latency_s = self._latency_s or self.settings.target_s
        return max(latency_s, self._bucket.wait() if self._bucket else 0.0)

    def acquire(self, tokens: int = 1) -> bool:
        """Say whether a request that counts as `tokens` is admitted; `release` must follow.

        More tokens than the limit are admitted only while nothing else is in flight.
        """
        if tokens < 1:
            raise InvalidRequestError(f"tokens must be at least 1, got {tokens}")
        with self._lock:
            if self._full(self._in_flight, tokens) or (
                self._bucket is not None and self._bucket.take(tokens) > 0
            ):
                self._refused += 1
                return False
            self._in_flight += tokens
            self._admitted += 1
            return True

    def refuses(self, coming: int) -> bool:
        """Say whether there is no room for one more, once `coming` others that are let in acquire.

        Where there is none it counts as refused: it need not, and must not, try to acquire.
        """
        with self._lock:
            full = self._full(self._in_flight + coming, 1)
            self._refused += full
            return full

    def _full(self, before: int, tokens: int) -> bool:
        wanted = before + tokens
        if wanted > self._peak:
            self._peak = wanted  # a limit that refuses is in use
        return wanted > self._limit and before > 0

    def release(self, tokens: int = 1, *, latency_s: float, dropped: bool = False) -> None:
        """Say that an admitted request ended after `latency_s`.

        `dropped` says that it ended without an answer (failed, cancelled, timed out): it would
        have taken longer, so it is a sample only if it is beyond the target already.
        """
        with self._lock:
            if not 1 <= tokens <= self._in_flight:
                raise InvalidRequestError(
                    f"cannot release {tokens} tokens, {self._in_flight} are in flight; "
                    "release once what was acquired"
                )
            self._in_flight -= tokens
            now = self._clock()
            if dropped and latency_s <= self.settings.target_s:
                return
            if now - latency_s < self._changed_at - _ROUNDING_S:
                return
            self._samples += 1
            self._sum_s += min(latency_s, _OUTLIER * self.settings.target_s)
            if self._samples >= max(self.settings.samples, self._limit):
                self._adapt(now)

    def admitted(self, tokens: int = 1) -> "Admitted":
        """Hold `tokens` while the block runs, and learn from how long it took.

        Entering raises RateLimitedError if they are not admitted.
        """
        return Admitted(self, tokens, self._clock)

    def refusal(self) -> RateLimitedError:
        """Return what to raise where `acquire` said no."""
        return RateLimitedError(
            f"{self._in_flight} requests are in flight, of at most {self._limit:.0f} now"
            + (f" and {self.settings.rate:g} a second" if self.settings.rate else ""),
            self.retry_after_s,
        )

    def statistics(self) -> LimiterStatistics:
        """Return the limit and the counts so far."""
        with self._lock:
            return LimiterStatistics(
                self._limit, self._in_flight, self._admitted, self._refused, self._latency_s
            )

    def _adapt(self, now: float) -> None:
        settings = self.settings
        self._latency_s = latency_s = self._sum_s / self._samples
        limit = self._limit
        if 2 * self._peak >= limit:
            if latency_s > settings.target_s:
                limit *= settings.target_s / latency_s
            else:
                limit += max(1.0, _GROWTH * limit)
            limit = min(max(limit, settings.floor), settings.ceiling)
        if limit != self._limit:
            self._limit = limit
            self._changed_at = now
        self._samples = 0
        self._sum_s = 0.0
        self._peak = self._in_flight


class Admitted:
    """Holds tokens of a limiter from entering to leaving, however the block ends."""

    __slots__ = ("_clock", "_limiter", "_started", "_tokens")

    def __init__(
        self, limiter: AdaptiveRateLimiter, tokens: int, clock: Callable[[], float]
    ) -> None:
        self._limiter = limiter
        self._tokens = tokens
        self._clock = clock
        self._started = 0.0

    def __enter__(self) -> None:
        if not self._limiter.acquire(self._tokens):
            raise self._limiter.refusal()
        self._started = self._clock()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        latency_s = self._clock() - self._started
        self._limiter.release(self._tokens, latency_s=latency_s, dropped=error is not None)
