"""A circuit breaker: leaves alone what keeps failing or hanging, and tries again now and then."""

import inspect
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from threading import Lock
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, overload

from dtrag_core.errors import (
    CircuitOpenError,
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    UsageError,
)
from dtrag_core.optimization.call_window import CallWindow, WindowEntry

P = ParamSpec("P")
T = TypeVar("T")
BreakerState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker opens, and for how long.

    Of the last `window` calls, at least `minimum_calls`: it opens when `failure_share` of them
    failed or `slow_share` took `slow_s` seconds or more. `open_s` is how long it then stays open.
    """

    window: int = 50
    minimum_calls: int = 10
    failure_share: float = 0.5
    slow_s: float = 1.0
    slow_share: float = 0.8
    open_s: float = 5.0

    def __post_init__(self) -> None:
        shares = 0 < self.failure_share <= 1 and 0 < self.slow_share <= 1
        calls = 1 <= self.minimum_calls <= self.window
        if not (shares and calls and self.slow_s > 0 and self.open_s > 0):
            raise InvalidRequestError(
                "a breaker needs 1 <= minimum_calls <= window, shares in (0, 1] and times > 0, "
                f"got {self}"
            )


@dataclass(frozen=True, slots=True)
class BreakerStatistics:
    """The state now, the calls of its window, those running, and totals since the start."""

    name: str
    state: BreakerState
    window_calls: int
    window_failed: int
    window_slow: int
    in_flight: int
    admitted: int
    failed: int
    refused: int
    opened: int


class Permit:
    """Leave to make one call, or `weight` calls as one; ends once, whatever is said after that.

    As a context manager it ends by what leaves the block: an answer, or an error of the caller
    (UsageError), is a success; cancellation, a refusal further in (OverloadedError) and a deadline
    the caller chose (DeadlineExceededError) abandon; any other error is a failure.
    """

    __slots__ = ("_breaker", "ended", "entry", "epoch", "started", "weight")

    def __init__(self, breaker: "CircuitBreaker", weight: int, started: float, epoch: int) -> None:
        self._breaker = breaker
        self.weight = weight
        self.started = started
        self.epoch = epoch
        self.entry: WindowEntry | None = None
        self.ended = False

    def succeed(self) -> None:
        """Say that the call was answered."""
        self._breaker.end(self, failed=False)

    def fail(self) -> None:
        """Say that the call failed."""
        self._breaker.end(self, failed=True)

    def abandon(self) -> None:
        """Say that nobody waits for the call any more: it counts only if it was slow already."""
        self._breaker.end(self, failed=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, UsageError):
            self.succeed()
        elif isinstance(error, OverloadedError | DeadlineExceededError) or not isinstance(
            error, Exception
        ):
            self.abandon()
        else:
            self.fail()


class CircuitBreaker:
    """Closed it admits every call, open none, half-open exactly one: the probe.

    The probe's success closes it, its failure or slowness opens it again. A call counts as slow as
    soon as it has been out for `slow_s`, so that calls that never end open it too. Calls admitted
    before it last changed its state no longer count. Safe to use from several threads. The pattern
    is M. Nygard's (Release It!, 2007).
    """

    def __init__(
        self,
        name: str,
        settings: BreakerSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.settings = settings or BreakerSettings()
        self._clock = clock
        self._lock = Lock()
        self._state: BreakerState = "closed"
        self._epoch = 0
        self._opened_at = 0.0
        self._window = CallWindow(self.settings.window)
        # Permits of this epoch that are neither ended nor counted as slow, the oldest first.
        self._out: OrderedDict[Permit, None] = OrderedDict()
        self._in_flight = self._admitted = self._failed = self._refused = self._opened = 0

    @property
    def state(self) -> BreakerState:
        """The state now: half-open as soon as the next call would be the probe."""
        with self._lock:
            self._refresh(self._clock())
            return self._state

    def check(self) -> None:
        """Raise CircuitOpenError if `admit` would; takes nothing, not even the probe."""
        with self._lock:
            self._refuse(self._clock(), 1)

    def admit(self, weight: int = 1) -> Permit:
        """Return leave for a call that counts as `weight` calls; raises CircuitOpenError."""
        if weight < 1:
            raise InvalidRequestError(f"weight must be at least 1, got {weight}")
        with self._lock:
            now = self._clock()
            self._refuse(now, weight)
            permit = Permit(self, weight, now, self._epoch)
            self._out[permit] = None
            self._in_flight += weight
            self._admitted += weight
            return permit

    @overload
    async def call(
        self, func: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    @overload
    async def call(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...

    async def call(self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any:
        """Return what `func(*args, **kwargs)` returns, awaited if it can be, if admitted.

        Raises CircuitOpenError, or what `func` raised; how that counts is said at `Permit`.
        """
        with self.admit():
            result = func(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

    def statistics(self) -> BreakerStatistics:
        """Return the state and the counts so far; `refused` and the like count calls."""
        with self._lock:
            self._refresh(self._clock())
            window = self._window
            return BreakerStatistics(
                self.name,
                self._state,
                window.calls,
                window.failed,
                window.slow,
                self._in_flight,
                self._admitted,
                self._failed,
                self._refused,
                self._opened,
            )

    def end(self, permit: Permit, *, failed: bool | None) -> None:
        """End a permit of this breaker, once; `failed` is None if it was abandoned."""
        with self._lock:
            if permit.ended:
                return
            permit.ended = True
            self._in_flight -= permit.weight
            self._failed += permit.weight if failed else 0
            now = self._clock()
            self._refresh(now)  # counts this permit too, if it was slow
            self._out.pop(permit, None)
            if failed is None or permit.epoch != self._epoch:
                return
            if permit.entry is None:
                self._count(permit, now, failed=failed, slow=False)
            elif failed:
                self._window.fail(permit.entry, permit.weight)
                self._judge(now)

    def _refuse(self, now: float, weight: int) -> None:
        self._refresh(now)
        if self._state == "closed" or (self._state == "half_open" and not self._out):
            return
        self._refused += weight
        if self._state == "open":
            problem, wait = "has been failing or slow", self._opened_at + self.settings.open_s - now
        else:
            problem = "has been failing or slow, and is being probed"
            wait = min(self.settings.slow_s, self.settings.open_s)
        raise CircuitOpenError(self.name, problem, wait)

    def _refresh(self, now: float) -> None:
        """Make what has become due by `now` happen: the end of being open, slow calls."""
        if self._state == "open" and now >= self._opened_at + self.settings.open_s:
            self._enter("half_open", now)
        while self._out:
            oldest = next(iter(self._out))
            if now - oldest.started < self.settings.slow_s:
                return
            del self._out[oldest]
            self._count(oldest, now, failed=False, slow=True)

    def _count(self, permit: Permit, now: float, *, failed: bool, slow: bool) -> None:
        if self._state == "half_open":
            self._enter("open" if failed or slow else "closed", now)
        else:
            permit.entry = self._window.add(permit.weight, failed=failed, slow=slow)
            self._judge(now)

    def _judge(self, now: float) -> None:
        window, settings = self._window, self.settings
        if window.calls >= settings.minimum_calls and (
            window.failed >= settings.failure_share * window.calls
            or window.slow >= settings.slow_share * window.calls
        ):
            self._enter("open", now)

    def _enter(self, state: BreakerState, now: float) -> None:
        self._state = state
        self._epoch += 1
        self._window.clear()
        self._out.clear()
        if state == "open":
            self._opened_at = now
            self._opened += 1
