import asyncio
from collections.abc import Callable
from itertools import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.bench.capacity import (
    OUT_OF_TIME,
    CapacityResult,
    Step,
    ends,
    find_capacity,
    next_place,
)
from dtrag_core.bench.clock import NS_PER_MS, NS_PER_S, Service
from dtrag_core.bench.doubles import Failing, Queueing, at_once
from dtrag_core.bench.gates import FELL_BACK, SATURATED, Verdict, gate_bracket
from dtrag_core.bench.load_result import FellBackError
from dtrag_core.bench.virtual import VirtualClock, VirtualLoop, run_virtual
from dtrag_core.targets import PERFORMANCE_TARGETS

pytestmark = pytest.mark.usefixtures("few_to_collect")

Make = Callable[[VirtualClock], Service[None]]


def find(make: Make, budget_s: float = 60.0, seed: int = 0) -> tuple[CapacityResult, float]:
    async def main(clock: VirtualClock) -> tuple[CapacityResult, float]:
        result = await find_capacity(make(clock), [None], clock, budget_s=budget_s, seed=seed)
        return result, clock.now_ns() / NS_PER_S

    return run_virtual(main)


def served_in(ms: float) -> Make:
    return lambda clock: Queueing(clock, repeat(int(ms * NS_PER_MS)))


@pytest.mark.parametrize(("ms", "seed"), [(5.0, 0), (5.0, 1), (1.5, 0)])
def test_the_bracket_holds_the_capacity_of_a_queue(ms: float, seed: int) -> None:
    """One server of constant time s serves 1/s; its P95 under Poisson load passes 100 ms there."""
    result, seconds = find(served_in(ms), seed=seed)
    assert result.low is not None
    assert result.high is not None
    assert result.low < 1_000 / ms
    assert 0.85 * 1_000 / ms < result.low < result.high < 1.15 * 1_000 / ms
    assert result.high / result.low <= 1.1 + 1e-9
    assert result.reason == ""
    assert seconds <= 60
    confirming = [step for step in result.steps if step.rate in (result.low, result.high)]
    assert result.n == sum(step.sent for step in confirming)


def test_both_ends_are_confirmed_by_two_runs_that_differ() -> None:
    result, _ = find(served_in(5))
    for rate, holds in ((result.low, True), (result.high, False)):
        runs = [step for step in result.steps if step.rate == rate]
        assert sum(step.holds is holds for step in runs) >= 2
        assert len({step.p95_ns or step.sent for step in runs}) == len(runs)


def test_a_service_below_the_target_fails_even_if_its_own_rate_takes_too_long_to_find() -> None:
    result, seconds = find(served_in(50))
    assert result.low is None
    assert result.high is not None
    assert result.high <= 50
    assert result.reason == OUT_OF_TIME
    assert seconds <= 60
    judged = gate_bracket(
        PERFORMANCE_TARGETS["throughput_qps"], result.low, result.high, result.n, result.reason
    )
    assert judged.verdict is Verdict.FAIL


def test_a_short_budget_gives_what_is_confirmed_and_says_so() -> None:
    result, seconds = find(served_in(5), budget_s=15)
    assert seconds <= 15
    assert result.reason == OUT_OF_TIME
    assert result.low is None or len([s for s in result.steps if s.rate == result.low]) > 1


def test_errors_break_the_slo_however_fast() -> None:
    def failing(p: float) -> Make:
        return lambda clock: Failing(Queueing(clock, repeat(5 * NS_PER_MS)), p, seed=0)

    reliable, _ = find(failing(0.0))
    assert reliable.low is not None
    unreliable, _ = find(failing(0.03))
    assert unreliable.low is None
    assert not any(step.holds for step in unreliable.steps)


def test_a_generator_at_its_limit_is_not_held_against_the_service() -> None:
    class SlowClock(VirtualClock):
        """Reading it costs 50 us, so that the generator tops out long before the service."""

        def now_ns(self) -> int:
            self.block(50_000)
            return super().now_ns()

    clock = SlowClock()
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        result = runner.run(find_capacity(at_once(clock), [None], clock, budget_s=60))
    assert result.low is not None
    assert (result.high, result.reason) == (None, SATURATED)
    assert [test.ok for test in result.self_tests if test.rate > 4 * result.low] == []
    assert not result.self_tests[-1].ok
    assert any(step.saturated and not step.holds for step in result.steps)
    assert not any(step.saturated for step in result.steps if step.holds)


def test_a_service_that_always_fails_has_no_capacity() -> None:
    result, _ = find(lambda clock: Failing(at_once(clock), 1.0, seed=0))
    assert (result.low, result.guess) == (None, 0)
    assert result.high is not None


def test_a_fallen_back_answer_spoils_the_search() -> None:
    def make(clock: VirtualClock) -> Service[None]:
        calls = iter(range(10**9))
        inner = Queueing(clock, repeat(5 * NS_PER_MS))

        async def service(request: None) -> None:
            if next(calls) == 3_000:
                raise FellBackError("ran legacy")
            await inner(request)

        return service

    result, _ = find(make)
    assert (result.reason, result.obstacles()) == (FELL_BACK, (FELL_BACK,))


@given(st.integers(-40, 80), st.integers(-40, 80))
def test_the_search_ends_with_a_confirmed_bracket_around_any_edge(edge: int, start: int) -> None:
    history: dict[int, list[bool]] = {}
    for _ in range(60):
        place = next_place(history, start)
        if place is None:
            break
        history.setdefault(place, []).append(place <= edge)
    low, high = ends(history)
    assert place is None
    assert low is not None
    assert high is not None
    assert low <= edge < high <= low + 2
    assert history[low] == [True] * len(history[low])
    assert min(len(history[low]), len(history[high])) >= 2


def test_a_rate_that_wavers_is_run_again_until_it_is_decided() -> None:
    assert next_place({}, 4) == 4
    assert next_place({4: [True], 5: [False]}, 4) == 4
    assert next_place({4: [True, True], 5: [False]}, 4) == 5
    assert next_place({4: [True, True], 5: [False, False]}, 4) is None
    assert next_place({2: [True], 4: [True, False], 6: [False]}, 4) == 4
    assert next_place({2: [True, True], 3: [True, False], 4: [False, False]}, 4) is None
    assert next_place({4: [False]}, 4) == 4


def test_a_step_goes_into_json_under_its_names() -> None:
    step = Step(50, 49.5, None, 10, 2, 0.1, 3.0, abandoned=True, holds=False)
    assert step.to_json()["p95_ns"] is None
    assert step.to_json()["holds"] is False
