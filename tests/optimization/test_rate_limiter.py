"""The limiter follows what a service can do, in simulated queues on virtual time."""

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.errors import InvalidRequestError, RateLimitedError
from dtrag_core.optimization.rate_limiter import AdaptiveRateLimiter, LimiterSettings

TARGET_S = LimiterSettings().target_s


class ManualClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Outcome:
    """When each admitted request ended and what it took, s; when others were refused; limits."""

    ended: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)

    def goodput(self, since: float, until: float) -> float:
        ended = np.array(self.ended)
        return float(((ended >= since) & (ended < until)).sum() / (until - since))

    def p95(self, since: float = 0.0) -> float:
        ended = np.array(self.ended)
        return float(np.percentile(np.array(self.latencies)[ended >= since], 95))


def poisson(rate: Callable[[float], float], until: float, seed: int = 1) -> Iterator[float]:
    rng = random.Random(seed)
    now = 0.0
    while (now := now + rng.expovariate(rate(now))) < until:
        yield now


def serve(
    arrivals: Iterator[float],
    service_s: Callable[[float], float],
    settings: LimiterSettings | None = None,
    servers: int = 1,
) -> Outcome:
    """Play arrivals against a limiter and first-come-first-served servers behind it."""
    clock = ManualClock()
    limiter = AdaptiveRateLimiter(settings, clock=clock)
    free_at = [0.0] * servers
    running: list[tuple[float, int, float]] = []
    outcome = Outcome()
    order = count()

    def end_until(now: float) -> None:
        while running and running[0][0] <= now:
            clock.now, _, arrived = heapq.heappop(running)
            limiter.release(latency_s=clock.now - arrived)
            outcome.ended.append(clock.now)
            outcome.latencies.append(clock.now - arrived)

    for arrived in arrivals:
        end_until(arrived)
        clock.now = arrived
        outcome.limits.append(limiter.statistics().limit)
        if not limiter.acquire():
            outcome.refused.append(arrived)
            continue
        started = max(arrived, heapq.heappop(free_at))
        ended = started + service_s(started)
        heapq.heappush(free_at, ended)
        heapq.heappush(running, (ended, next(order), arrived))
    end_until(float("inf"))
    assert limiter.statistics().in_flight == 0
    assert limiter.statistics().admitted == len(outcome.ended)
    assert limiter.statistics().refused == len(outcome.refused)
    return outcome


@pytest.mark.parametrize("overload", [1.5, 2.0, 10.0])
@pytest.mark.parametrize(
    ("service_s", "spread"),
    [
        (0.0005, "constant"),
        (0.005, "constant"),
        (0.04, "constant"),
        (0.002, "exponential"),
        (0.008, "exponential"),  # slower, and even three at once are beyond twice the target
    ],
)
def test_overload_is_shed_and_the_rest_served_at_capacity_and_in_time(
    overload: float, service_s: float, spread: str
) -> None:
    rng = random.Random(2)
    capacity = 1 / service_s
    seconds = 8_000 * service_s / overload + 100 * service_s
    outcome = serve(
        poisson(lambda _: overload * capacity, seconds),
        lambda _: service_s if spread == "constant" else rng.expovariate(capacity),
    )
    assert outcome.goodput(0, seconds) >= 0.8 * capacity
    assert outcome.p95(since=100 * service_s) <= 2 * TARGET_S
    assert outcome.refused


def test_with_several_servers_it_finds_their_capacity() -> None:
    rng = random.Random(3)
    outcome = serve(poisson(lambda _: 3_200, 10), lambda _: rng.expovariate(1 / 0.02), servers=32)
    assert outcome.goodput(2, 10) >= 0.9 * 1_600
    assert outcome.p95(since=2) <= 2 * TARGET_S


def test_a_service_that_slows_down_and_recovers_is_followed() -> None:
    outcome = serve(poisson(lambda _: 400, 60), lambda now: 0.01 if 20 <= now < 40 else 0.005)
    assert outcome.goodput(2, 20) >= 0.8 * 200
    assert outcome.goodput(20, 40) >= 0.8 * 100
    assert outcome.goodput(41, 60) >= 0.8 * 200
    ended, latencies = np.array(outcome.ended), np.array(outcome.latencies)
    for since, until in [(0, 20), (21, 40), (41, 60)]:  # a second to notice
        during = latencies[(ended >= since) & (ended < until)]
        assert np.percentile(during, 95) <= 2 * TARGET_S
        assert np.mean(during) >= 0.5 * TARGET_S  # neither too careful


def test_the_queue_of_a_limit_that_was_too_high_does_not_drag_it_too_low() -> None:
    settings = LimiterSettings(initial=200, samples=10)
    limits = serve(poisson(lambda _: 400, 20), lambda _: 0.005, settings).limits
    fitting = TARGET_S / 0.005
    assert max(limits[len(limits) // 2 :]) < 1.6 * fitting
    assert min(limits) > 0.8 * fitting


def test_after_a_spike_every_request_is_admitted_again() -> None:
    outcome = serve(poisson(lambda now: 1_000 if 10 <= now < 20 else 100, 40), lambda _: 0.005)
    assert len(outcome.refused) > 5_000
    assert outcome.refused[0] >= 10
    assert outcome.refused[-1] < 20.1


@pytest.mark.parametrize("service_s", [0.001, 0.045, 0.2])
def test_light_load_never_lowers_the_limit(service_s: float) -> None:
    rng = random.Random(5)
    outcome = serve(
        poisson(lambda _: 1 / service_s, 4_000 * service_s),
        lambda _: service_s * (20 if rng.random() < 0.02 else 1),
        servers=8,
    )
    assert not outcome.refused
    assert min(outcome.limits) >= LimiterSettings().initial


def test_an_unreachable_target_keeps_the_floor() -> None:
    settings = LimiterSettings(floor=5)
    outcome = serve(poisson(lambda _: 100, 60), lambda _: 0.1, settings, servers=4)
    assert outcome.limits[-1] == 5
    assert outcome.goodput(5, 60) >= 0.9 * 40


def test_the_limit_stops_at_the_ceiling_and_only_grows_while_in_use() -> None:
    settings = LimiterSettings(initial=10, ceiling=12)
    assert max(serve(poisson(lambda _: 5_000, 5), lambda _: 0.001, settings).limits) == 12
    assert max(serve(poisson(lambda _: 10, 60), lambda _: 0.001, settings).limits) == 10


def test_requests_that_ended_unanswered_count_only_once_they_are_late() -> None:
    def limit_after(latency_s: float, dropped: bool) -> float:
        clock = ManualClock()
        limiter = AdaptiveRateLimiter(clock=clock)
        for _ in range(20):
            for _ in range(20):
                assert limiter.acquire() or limiter.statistics().limit < 20
            clock.now += latency_s
            while limiter.statistics().in_flight:
                limiter.release(latency_s=latency_s, dropped=dropped)
        return limiter.statistics().limit

    assert limit_after(0.001, dropped=True) == 20  # failing at once is not being fast
    assert limit_after(0.001, dropped=False) > 20
    assert limit_after(0.1, dropped=True) == 2


def test_one_stall_does_not_cost_the_limit() -> None:
    clock = ManualClock()
    limiter = AdaptiveRateLimiter(clock=clock)
    for _ in range(20):
        assert limiter.acquire()
    clock.now += 10
    limiter.release(latency_s=10)
    for _ in range(19):
        limiter.release(latency_s=0.01)
    assert limiter.statistics().limit >= 20


def test_the_rate_is_bounded_too() -> None:
    settings = LimiterSettings(rate=100, burst=10)
    outcome = serve(poisson(lambda _: 1_000, 10), lambda _: 0.0001, settings)
    assert 950 <= len(outcome.ended) <= 100 * 10 + 10
    clock = ManualClock()
    limiter = AdaptiveRateLimiter(LimiterSettings(rate=0.5, burst=1), clock=clock)
    with limiter.admitted():
        pass
    with pytest.raises(RateLimitedError, match=r"0 requests .*0\.5 a second") as refused:
        limiter.admitted().__enter__()
    assert refused.value.retry_after_s == pytest.approx(2)
    assert limiter.statistics().in_flight == 0


def test_wide_requests_count_as_many_and_wider_than_the_limit_go_alone() -> None:
    limiter = AdaptiveRateLimiter(LimiterSettings(initial=10), clock=ManualClock())
    assert limiter.acquire(6)
    assert not limiter.acquire(5)
    assert limiter.acquire(4)
    limiter.release(4, latency_s=0.0)
    limiter.release(6, latency_s=0.0)
    assert limiter.acquire(50)
    assert not limiter.acquire()
    with pytest.raises(InvalidRequestError, match="51 tokens, 50 are in flight"):
        limiter.release(51, latency_s=0.0)
    with pytest.raises(InvalidRequestError, match="got 0"):
        limiter.acquire(0)
    with pytest.raises(InvalidRequestError, match="got LimiterSettings"):
        LimiterSettings(floor=30)


def test_those_that_come_are_counted_before_they_acquire() -> None:
    limiter = AdaptiveRateLimiter(LimiterSettings(initial=3), clock=ManualClock())
    assert [limiter.refuses(coming) for coming in range(5)] == [False] * 3 + [True] * 2
    assert limiter.acquire()
    assert [limiter.refuses(coming) for coming in range(3)] == [False] * 2 + [True]
    statistics = limiter.statistics()
    assert (statistics.in_flight, statistics.admitted, statistics.refused) == (1, 1, 3)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5), st.floats(0, 1)), max_size=200))
def test_in_flight_stays_within_the_limit_and_returns_to_zero(
    steps: list[tuple[bool, int, float]],
) -> None:
    clock = ManualClock()
    limiter = AdaptiveRateLimiter(LimiterSettings(initial=8, samples=3), clock=clock)
    running: list[tuple[int, float]] = []
    for arrives, tokens, pause in steps:
        clock.now += pause / 5
        before = limiter.statistics()
        if arrives or not running:
            if limiter.acquire(tokens):
                running.append((tokens, clock.now))
                assert before.in_flight + tokens <= max(before.limit, tokens)
        else:
            held, since = running.pop(tokens % len(running))
            limiter.release(held, latency_s=clock.now - since, dropped=tokens == 1)
        assert limiter.statistics().in_flight == sum(held for held, _ in running)
        assert 2 <= limiter.statistics().limit <= 1_000
    for held, since in running:
        limiter.release(held, latency_s=clock.now - since)
    assert limiter.statistics().in_flight == 0
