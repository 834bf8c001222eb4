"""Breaker, limiter and pool are all asked, and all learn how each execution ended."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from dtrag_core.bench.virtual import VirtualClock, run_virtual
from dtrag_core.errors import (
    CircuitOpenError,
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    QueueFullError,
    QueueTimeoutError,
    RateLimitedError,
    SearchError,
    UnknownNameError,
)
from dtrag_core.optimization.concurrency_control import (
    AdaptiveRateLimiter,
    BreakerSettings,
    BreakerStatistics,
    CircuitBreaker,
    ConcurrencyController,
    LimiterSettings,
    LimiterStatistics,
    PoolStatistics,
    Resource,
)


class Guarded:
    """A controller of one resource with all three guards, on virtual time."""

    def __init__(self, now: Callable[[], float], limit: int = 2, in_flight: int = 6) -> None:
        self.now = now
        self.limiter = AdaptiveRateLimiter(LimiterSettings(initial=in_flight), clock=now)
        self.breaker = CircuitBreaker("leg", BreakerSettings(minimum_calls=4), clock=now)
        resource = Resource(limit, 2, 0.5, self.limiter, self.breaker)
        self.controller = ConcurrencyController({"leg": resource}, clock=now)

    async def run(
        self,
        seconds: float = 0.01,
        error: BaseException | None = None,
        deadline: float | None = None,
    ) -> None:
        async with self.controller.controlled_execution("leg", deadline=deadline):
            await asyncio.sleep(seconds)
            if error is not None:
                raise error

    def statistics(self) -> tuple[PoolStatistics, LimiterStatistics, BreakerStatistics]:
        statistics = self.controller.statistics().resources["leg"]
        assert statistics.limiter is not None
        assert statistics.breaker is not None
        return statistics.pool, statistics.limiter, statistics.breaker


def play(scenario: Callable[[Guarded], Coroutine[None, None, None]], **limits: int) -> None:
    """Run a scenario; afterwards nothing may be held of any guard."""

    async def main(clock: VirtualClock) -> None:
        guarded = Guarded(lambda: clock.now_ns() / 1e9, **limits)
        await scenario(guarded)
        pool, limiter, breaker = guarded.statistics()
        assert (pool.in_use, pool.waiting, limiter.in_flight, breaker.in_flight) == (0, 0, 0, 0)

    run_virtual(main)


def test_an_answer_is_recorded_by_all_three() -> None:
    async def scenario(guarded: Guarded) -> None:
        for _ in range(20):
            await guarded.run(0.01)
        pool, limiter, breaker = guarded.statistics()
        assert (pool.entered, limiter.admitted, breaker.window_calls) == (20, 20, 20)
        assert limiter.latency_s == pytest.approx(0.01, abs=1e-6)

    play(scenario)


def test_failures_open_the_breaker_which_refuses_until_one_probe_succeeds() -> None:
    async def scenario(guarded: Guarded) -> None:
        for _ in range(4):
            with pytest.raises(SearchError):
                await guarded.run(error=SearchError("down"))
        with pytest.raises(CircuitOpenError):
            await guarded.run()
        pool, limiter, breaker = guarded.statistics()
        assert (pool.entered, limiter.admitted, breaker.admitted) == (4, 4, 4)
        await asyncio.sleep(5)
        probe = asyncio.create_task(guarded.run())
        others = [asyncio.create_task(guarded.run()) for _ in range(3)]
        outcomes = await asyncio.gather(probe, *others, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None)] + 3 * [CircuitOpenError]
        await guarded.run()
        assert guarded.breaker.state == "closed"

    play(scenario)


def test_a_hanging_leg_opens_the_breaker_for_those_who_queue_too() -> None:
    async def scenario(guarded: Guarded) -> None:
        for _ in range(2):
            await guarded.run()
        hanging = [asyncio.create_task(guarded.run(100)) for _ in range(8)]
        await asyncio.sleep(1)
        queued = [asyncio.create_task(guarded.run()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(CircuitOpenError):
            await guarded.run()
        assert guarded.statistics()[2].state == "open"
        hanging[0].cancel()
        outcomes = await asyncio.gather(*queued, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [CircuitOpenError] * 2
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    play(scenario, limit=8, in_flight=12)


def test_the_callers_own_mistakes_are_no_failures() -> None:
    async def scenario(guarded: Guarded) -> None:
        for _ in range(10):
            with pytest.raises(InvalidRequestError):
                await guarded.run(error=InvalidRequestError("topk"))
        assert guarded.breaker.state == "closed"
        assert guarded.statistics()[2].window_failed == 0

    play(scenario)


def test_refusals_say_which_guard_refused_and_when_to_come_back() -> None:
    async def scenario(guarded: Guarded) -> None:
        running = [asyncio.create_task(guarded.run(0.6)) for _ in range(2)]
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(guarded.run(deadline=guarded.now() + 0.1))]
        waiting.append(asyncio.create_task(guarded.run()))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError) as full:
            await guarded.run()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DeadlineExceededError, QueueTimeoutError]
        await asyncio.gather(*running)
        while guarded.limiter.acquire():
            pass
        with pytest.raises(RateLimitedError) as limited:
            await guarded.run()
        for refusal in (full.value, limited.value):
            assert isinstance(refusal, OverloadedError)
            assert refusal.retry_after_s > 0
        while guarded.limiter.statistics().in_flight:
            guarded.limiter.release(latency_s=0.0)
        assert guarded.statistics()[2].window_calls == 2

    play(scenario)


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.3])
def test_cancelled_waiting_or_running_it_holds_and_counts_nothing(after_s: float) -> None:
    async def scenario(guarded: Guarded) -> None:
        tasks = [asyncio.create_task(guarded.run(0.4)) for _ in range(4)]
        await asyncio.sleep(after_s)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 4
        assert guarded.statistics()[2].window_calls == 0

    play(scenario)


def test_guards_are_optional_and_unknown_resources_refused() -> None:
    async def run() -> None:
        controller = ConcurrencyController({"plain": Resource(limit=1)})
        async with controller.controlled_execution("plain"):
            with pytest.raises(QueueFullError):
                await controller.controlled_execution("plain").__aenter__()
        with pytest.raises(UnknownNameError, match="unknown resource 'other'; known: plain"):
            await controller.controlled_execution("other").__aenter__()
        statistics = controller.statistics().resources["plain"]
        assert (statistics.limiter, statistics.breaker) == (None, None)
        assert statistics.pool.entered == 1

    asyncio.run(run())
