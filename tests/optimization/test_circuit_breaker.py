"""The breaker opens on failures, slowness and hanging; half-open, one probe decides."""

import asyncio
from collections.abc import Callable
from threading import Barrier, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.errors import (
    CircuitOpenError,
    DeadlineExceededError,
    InvalidRequestError,
    QueueFullError,
    SearchError,
)
from dtrag_core.optimization.circuit_breaker import (
    BreakerSettings,
    BreakerState,
    CircuitBreaker,
    Permit,
)

SETTINGS = BreakerSettings(window=10, minimum_calls=4)


class ManualClock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Guarded:
    """A breaker on a clock of its own."""

    def __init__(self, settings: BreakerSettings = SETTINGS) -> None:
        self.clock = ManualClock()
        self.breaker = CircuitBreaker("leg", settings, clock=self.clock)

    def state(self) -> BreakerState:
        return self.breaker.state

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.breaker.admit().fail()

    def succeed(self, times: int) -> None:
        for _ in range(times):
            self.breaker.admit().succeed()

    def half_open(self) -> None:
        self.fail(SETTINGS.minimum_calls)
        assert self.state() == "open"
        self.clock.now += SETTINGS.open_s


def test_it_opens_at_the_share_of_failures_and_not_before_enough_calls() -> None:
    guarded = Guarded()
    guarded.fail(3)
    assert guarded.state() == "closed"
    guarded.breaker.admit().fail()
    assert guarded.state() == "open"
    guarded.clock.now += 2
    with pytest.raises(CircuitOpenError, match=r"leg .*try again in 3 s") as refused:
        guarded.breaker.admit()
    assert refused.value.retry_after_s == 3
    with pytest.raises(CircuitOpenError):
        guarded.breaker.check()
    statistics = guarded.breaker.statistics()
    assert (statistics.admitted, statistics.refused, statistics.opened) == (4, 2, 1)
    assert (statistics.failed, statistics.in_flight) == (4, 0)


def test_only_the_last_calls_count() -> None:
    guarded = Guarded()
    for _ in range(10):
        guarded.succeed(3)
        guarded.fail(2)
    assert guarded.state() == "closed"
    assert guarded.breaker.statistics().window_calls == 10
    assert guarded.breaker.statistics().window_failed == 4
    guarded.succeed(10)
    assert guarded.breaker.statistics().window_failed == 0


def test_a_batch_counts_as_its_calls() -> None:
    guarded = Guarded()
    guarded.breaker.admit(weight=6).succeed()
    guarded.breaker.admit(weight=5).fail()
    assert guarded.state() == "open"
    guarded = Guarded()
    guarded.breaker.admit(weight=500).succeed()
    assert guarded.breaker.statistics().window_calls == 10
    guarded.fail(4)
    assert guarded.state() == "closed"
    guarded.fail(1)
    assert guarded.state() == "open"


@pytest.mark.parametrize("ask", ["state", "statistics", "check", "admit"])
def test_hanging_calls_open_it_for_whoever_asks_next(ask: str) -> None:
    guarded = Guarded()
    hanging = [guarded.breaker.admit() for _ in range(4)]
    guarded.clock.now += SETTINGS.slow_s
    if ask in ("check", "admit"):
        with pytest.raises(CircuitOpenError):
            getattr(guarded.breaker, ask)()
    else:
        seen = getattr(guarded.breaker, ask)
        assert "open" in (seen, getattr(seen() if callable(seen) else seen, "state", None))
    for permit in hanging:  # from before it opened: they change nothing any more
        permit.fail()
    assert guarded.breaker.statistics().opened == 1
    assert guarded.breaker.statistics().in_flight == 0


def test_a_slow_call_counts_once_and_as_failed_too_if_it_then_fails() -> None:
    guarded = Guarded()
    guarded.succeed(2)
    slow = [guarded.breaker.admit() for _ in range(2)]
    guarded.clock.now += 1
    for _ in range(3):
        statistics = guarded.breaker.statistics()
        assert (statistics.window_calls, statistics.window_slow) == (4, 2)
    slow[0].succeed()
    slow[0].fail()
    assert guarded.breaker.statistics().window_calls == 4
    assert guarded.state() == "closed"
    slow[1].fail()
    statistics = guarded.breaker.statistics()
    assert (statistics.window_calls, statistics.window_failed, statistics.window_slow) == (4, 1, 2)


def test_failures_that_come_late_count_even_if_the_window_has_moved_on() -> None:
    guarded = Guarded()
    slow = [guarded.breaker.admit() for _ in range(5)]
    guarded.succeed(5)
    guarded.clock.now += 1
    assert guarded.breaker.statistics().window_slow == 5
    guarded.succeed(10)
    assert guarded.breaker.statistics().window_slow == 0
    for permit in slow:
        permit.fail()
    assert guarded.state() == "open"


def test_half_open_admits_one_probe_whose_success_closes() -> None:
    guarded = Guarded()
    straggler = guarded.breaker.admit()
    guarded.half_open()
    assert guarded.state() == "half_open"
    guarded.breaker.check()
    probe = guarded.breaker.admit()
    for _ in range(3):
        with pytest.raises(CircuitOpenError, match="being probed"):
            guarded.breaker.admit()
    straggler.succeed()
    assert guarded.state() == "half_open"
    probe.succeed()
    assert guarded.state() == "closed"
    assert guarded.breaker.statistics().window_calls == 0


@pytest.mark.parametrize("slowly", [False, True])
def test_a_failed_or_slow_probe_opens_it_for_as_long_again(slowly: bool) -> None:
    guarded = Guarded()
    guarded.half_open()
    probe = guarded.breaker.admit()
    if slowly:
        guarded.clock.now += SETTINGS.slow_s
        probe.succeed()
    else:
        probe.fail()
    assert guarded.state() == "open"
    guarded.clock.now += SETTINGS.open_s - 0.01
    assert guarded.state() == "open"
    guarded.clock.now += 0.01
    assert guarded.state() == "half_open"


def test_a_hanging_probe_does_not_hold_it_half_open() -> None:
    guarded = Guarded()
    guarded.half_open()
    probe = guarded.breaker.admit()
    guarded.clock.now += SETTINGS.slow_s
    assert guarded.state() == "open"
    guarded.clock.now += SETTINGS.open_s
    second = guarded.breaker.admit()
    probe.succeed()  # too late to say anything
    assert guarded.state() == "half_open"
    second.succeed()
    assert guarded.state() == "closed"


def test_an_abandoned_probe_frees_its_place() -> None:
    guarded = Guarded()
    guarded.half_open()
    guarded.breaker.admit().abandon()
    assert guarded.state() == "half_open"
    guarded.breaker.admit().succeed()
    assert guarded.state() == "closed"


def test_of_many_threads_one_gets_the_probe() -> None:
    guarded = Guarded()
    for _ in range(20):
        guarded.half_open()
        together = Barrier(8)
        permits: list[Permit] = []

        def ask(together: Barrier = together, permits: list[Permit] = permits) -> None:
            together.wait(30)
            try:
                permits.append(guarded.breaker.admit())
            except CircuitOpenError:
                return

        threads = [Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(permits) == 1
        permits[0].succeed()
        assert guarded.state() == "closed"


def test_call_takes_functions_and_coroutines_and_passes_on_what_they_raise() -> None:
    guarded = Guarded()

    def divide(a: float, b: float) -> float:
        return a / b

    async def later(a: float, *, b: float) -> float:
        await asyncio.sleep(0)
        return a / b

    async def run() -> None:
        assert await guarded.breaker.call(divide, 6, 3) == 2
        assert await guarded.breaker.call(later, 6, b=2) == 3
        with pytest.raises(ZeroDivisionError):
            await guarded.breaker.call(divide, 1, 0)
        with pytest.raises(ZeroDivisionError):
            await guarded.breaker.call(later, 1, b=0)

    asyncio.run(run())
    assert guarded.state() == "open"


@pytest.mark.parametrize(
    ("error", "calls", "failed"),
    [
        (InvalidRequestError("theirs"), 1, 0),
        (SearchError("ours"), 1, 1),
        (QueueFullError("further in", 1.0), 0, 0),
        (DeadlineExceededError("theirs"), 0, 0),
        (KeyboardInterrupt(), 0, 0),
        (asyncio.CancelledError(), 0, 0),
    ],
)
def test_what_each_kind_of_error_counts_as(error: BaseException, calls: int, failed: int) -> None:
    guarded = Guarded()
    with pytest.raises(type(error)), guarded.breaker.admit():
        raise error
    statistics = guarded.breaker.statistics()
    assert (statistics.window_calls, statistics.window_failed) == (calls, failed)
    assert statistics.in_flight == 0


def test_a_cancelled_call_counts_as_nothing() -> None:
    guarded = Guarded()

    async def run() -> None:
        forever = asyncio.get_running_loop().create_future()
        call = asyncio.create_task(guarded.breaker.call(lambda: forever))
        await asyncio.sleep(0)
        assert guarded.breaker.statistics().in_flight == 1
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(run())
    statistics = guarded.breaker.statistics()
    assert (statistics.in_flight, statistics.window_calls) == (0, 0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["admit", "succeed", "fail", "abandon", "wait"]), st.integers(0, 9)
        ),
        max_size=60,
    )
)
def test_whatever_happens_counts_fit_and_nothing_stays_in_flight(
    steps: list[tuple[str, int]],
) -> None:
    guarded = Guarded(BreakerSettings(window=5, minimum_calls=3, open_s=2.0))
    out: list[Permit] = []
    for step, number in steps:
        if step == "wait":
            guarded.clock.now += number / 4
        elif step == "admit":
            state = guarded.state()
            try:
                out.append(guarded.breaker.admit(1 + number % 3))
            except CircuitOpenError:
                assert state != "closed"
            else:
                assert state != "open"
        elif out:
            end: Callable[[], None] = getattr(out.pop(number % len(out)), step)
            end()
            end()
        statistics = guarded.breaker.statistics()
        assert 0 <= statistics.window_failed <= statistics.window_calls <= 5
        assert 0 <= statistics.window_slow <= statistics.window_calls
        assert statistics.in_flight == sum(permit.weight for permit in out)
    for permit in out:
        permit.abandon()
    assert guarded.breaker.statistics().in_flight == 0
    for _ in range(2):  # out of any state time and one success lead back
        guarded.clock.now += 2
        if guarded.state() == "half_open":
            guarded.breaker.admit().succeed()
    assert guarded.state() == "closed"


def test_impossible_settings_are_refused() -> None:
    for wrong in (
        {"minimum_calls": 60},
        {"failure_share": 0.0},
        {"slow_share": 1.5},
        {"slow_s": 0.0},
        {"open_s": float("nan")},
    ):
        with pytest.raises(InvalidRequestError, match="got BreakerSettings"):
            BreakerSettings(**wrong)
    with pytest.raises(InvalidRequestError, match="got 0"):
        CircuitBreaker("leg").admit(0)
