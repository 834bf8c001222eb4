"""A pool bounds its users and those who wait, in turn, and its counts return to zero."""

import asyncio
import random
from collections.abc import Callable, Coroutine

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.bench.virtual import VirtualClock, run_virtual
from dtrag_core.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    QueueFullError,
    QueueTimeoutError,
)
from dtrag_core.optimization.resource_pool import ResourcePool

Scenario = Callable[[ResourcePool, Callable[[], float]], Coroutine[None, None, None]]


def play(scenario: Scenario, limit: int = 1, queue_limit: int = 10, timeout_s: float = 1.0) -> None:
    """Run a scenario on virtual time; afterwards nobody may hold or await a place."""

    async def main(clock: VirtualClock) -> None:
        def seconds() -> float:
            return clock.now_ns() / 1e9

        pool = ResourcePool("db", limit, queue_limit, timeout_s, clock=seconds)
        await scenario(pool, seconds)
        statistics = pool.statistics()
        assert (statistics.in_use, statistics.waiting) == (0, 0)
        async with asyncio.TaskGroup() as group:  # and every place can still be had
            for _ in range(limit):
                group.create_task(hold(pool, 0.1))
            await asyncio.sleep(0.05)
            assert pool.statistics().in_use == limit
            assert pool.statistics().waiting == 0

    run_virtual(main)


async def hold(pool: ResourcePool, seconds: float, deadline: float | None = None) -> None:
    async with pool.use(deadline):
        await asyncio.sleep(seconds)


def test_places_go_in_turn_and_the_queue_is_bounded() -> None:
    async def scenario(pool: ResourcePool, now: Callable[[], float]) -> None:
        order: list[int] = []

        async def user(number: int) -> None:
            async with pool.use():
                assert pool.statistics().in_use <= 2
                order.append(number)
                await asyncio.sleep(0.1)

        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(user(number))
            await asyncio.sleep(0)
            assert pool.statistics().waiting == 3
            with pytest.raises(QueueFullError, match="2 in use and 3 waiting, of at most 2 and 3"):
                await pool.enter()
        assert order == [0, 1, 2, 3, 4]
        assert now() == pytest.approx(0.3, abs=1e-6)
        assert (pool.statistics().entered, pool.statistics().refused) == (5, 1)

    play(scenario, limit=2, queue_limit=3)


def test_nobody_overtakes_who_waits() -> None:
    async def scenario(pool: ResourcePool, now: Callable[[], float]) -> None:
        order: list[str] = []

        async def user(name: str) -> None:
            async with pool.use():
                order.append(name)

        await pool.enter()
        waiting = asyncio.create_task(user("waited"))
        await asyncio.sleep(0)
        pool.leave()  # and at once, before the one who waits could run:
        await user("came later")
        await waiting
        assert order == ["waited", "came later"]

    play(scenario)


def test_waiting_ends_at_the_time_out_or_the_deadline_whichever_is_first() -> None:
    async def scenario(pool: ResourcePool, now: Callable[[], float]) -> None:
        await pool.enter()
        began = now()
        with pytest.raises(QueueTimeoutError, match="no place within 1 s"):
            await pool.enter(began + 5)
        assert now() - began == pytest.approx(1, abs=1e-6)
        with pytest.raises(DeadlineExceededError):
            await pool.enter(now() + 0.25)
        assert now() - began == pytest.approx(1.25, abs=1e-6)
        pool.leave()
        with pytest.raises(DeadlineExceededError, match=r"1\.250 s ago"):
            await pool.enter(began)  # there is a place, but nobody waits for the answer
        statistics = pool.statistics()
        assert (statistics.timed_out, statistics.expired, statistics.entered) == (1, 2, 1)

    play(scenario)


def test_errors_give_the_place_back_once() -> None:
    async def scenario(pool: ResourcePool, now: Callable[[], float]) -> None:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with pool.use():
                    raise ZeroDivisionError
        assert pool.statistics().in_use == 0

    play(scenario)


@pytest.mark.parametrize("cancel_first", [True, False])
def test_cancelled_in_the_very_turn_its_place_comes_up_it_passes_it_on(cancel_first: bool) -> None:
    async def scenario(pool: ResourcePool, now: Callable[[], float]) -> None:
        await pool.enter()
        first, second = (asyncio.create_task(hold(pool, 0.1)) for _ in range(2))
        await asyncio.sleep(0)
        if cancel_first:
            first.cancel()
            pool.leave()
        else:
            pool.leave()
            first.cancel()
        await second
        assert first.cancelled()
        assert pool.statistics().entered == 2

    play(scenario)


def test_a_waiter_that_is_closed_unfinished_leaves_the_queue() -> None:
    async def scenario(pool: ResourcePool, now: Callable[[], float]) -> None:
        await pool.enter()
        entering = pool.enter()
        entering.send(None)
        assert pool.statistics().waiting == 1
        entering.close()
        assert pool.statistics().waiting == 0
        pool.leave()

    play(scenario)


@given(seed=st.integers(0, 10_000), limit=st.integers(1, 4), queue_limit=st.integers(0, 6))
def test_whatever_is_cancelled_fails_or_is_late_counts_return_to_zero(
    seed: int, limit: int, queue_limit: int
) -> None:
    rng = random.Random(seed)
    # Few distinct times, so that ends, time-outs, deadlines and cancellations fall together.
    times = [rng.choice([0.0, 0.1, 0.2, 0.3]) for _ in range(4 * 30)]

    async def scenario(pool: ResourcePool, now: Callable[[], float]) -> None:
        users = 0

        async def user(start: float, length: float, patience: float) -> None:
            nonlocal users
            await asyncio.sleep(start)
            async with pool.use(now() + patience if patience else None):
                users += 1
                assert users <= limit
                try:
                    await asyncio.sleep(length)
                    if length == 0.2:
                        raise ZeroDivisionError
                finally:
                    users -= 1

        tasks = [asyncio.create_task(user(*times[i : i + 3])) for i in range(0, len(times), 4)]
        for task, leaving in zip(tasks, times[3::4], strict=True):
            if leaving:
                asyncio.get_running_loop().call_later(2 * leaving, task.cancel)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        allowed = (
            asyncio.CancelledError,
            ZeroDivisionError,
            QueueFullError,
            QueueTimeoutError,
            DeadlineExceededError,
            type(None),
        )
        assert all(isinstance(outcome, allowed) for outcome in outcomes)
        statistics = pool.statistics()
        kinds = [type(outcome) for outcome in outcomes]
        assert statistics.refused == kinds.count(QueueFullError)
        assert statistics.timed_out == kinds.count(QueueTimeoutError)
        assert statistics.expired == kinds.count(DeadlineExceededError)

    play(scenario, limit, queue_limit, timeout_s=0.2)


def test_impossible_limits_are_refused() -> None:
    for wrong in [(0, 1, 1.0), (1, -1, 1.0), (1, 1, 0.0)]:
        with pytest.raises(InvalidRequestError, match="got"):
            ResourcePool("db", *wrong)
