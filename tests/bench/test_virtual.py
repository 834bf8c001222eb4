import asyncio
import gc
import selectors

import pytest

from dtrag_core.bench.clock import NS_PER_S, RealClock, precise_loop, quiet_gc
from dtrag_core.bench.virtual import VirtualClock, run_virtual
from dtrag_core.errors import MeasuringError


def test_waiting_moves_the_time_and_costs_none() -> None:
    async def main(clock: VirtualClock) -> tuple[int, int]:
        await clock.sleep_until(3_600 * NS_PER_S)
        return clock.now_ns(), clock.cpu_ns()

    now, cpu = run_virtual(main)
    assert 0 <= now - 3_600 * NS_PER_S <= 2
    assert cpu == 0


def test_tasks_wake_in_the_order_of_their_times() -> None:
    async def main(clock: VirtualClock) -> list[tuple[int, int]]:
        woken: list[tuple[int, int]] = []

        async def sleeper(ns: int) -> None:
            await clock.sleep_until(ns)
            woken.append((ns, clock.now_ns()))

        await asyncio.gather(*(sleeper(ns) for ns in (500, 7_000_000, 20, 7_000_000_000)))
        return woken

    woken = run_virtual(main)
    assert [ns for ns, _ in woken] == [20, 500, 7_000_000, 7_000_000_000]
    assert all(0 <= now - ns <= 2 for ns, now in woken)


def test_blocking_makes_everybody_late() -> None:
    async def main(clock: VirtualClock) -> tuple[int, int]:
        sleeper = asyncio.create_task(clock.sleep_until(1_000))
        await asyncio.sleep(0)
        clock.block(5_000)
        await sleeper
        return clock.now_ns(), clock.cpu_ns()

    assert run_virtual(main) == (5_000, 5_000)


def test_a_time_that_is_past_is_not_waited_for() -> None:
    async def main(clock: VirtualClock) -> int:
        clock.block(10)
        await clock.sleep_until(5)
        return clock.now_ns()

    assert run_virtual(main) == 10


def test_waiting_for_what_no_time_brings_is_an_error() -> None:
    async def main(_: VirtualClock) -> None:
        await asyncio.Event().wait()

    with pytest.raises(MeasuringError, match="use a real clock"):
        run_virtual(main)


def test_the_real_clock_never_wakes_early() -> None:
    async def main(clock: RealClock) -> list[int]:
        late = []
        for wait in (0, 1, 50_000, 1_300_000):
            due = clock.now_ns() + wait
            await clock.sleep_until(due)
            late.append(clock.now_ns() - due)
        return late

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        late = runner.run(main(RealClock()))
    assert min(late) >= 0


def test_the_precise_loop_does_not_wait_with_epoll() -> None:
    loop = precise_loop()
    try:
        assert type(vars(loop)["_selector"]).select is not selectors.DefaultSelector.select
    finally:
        loop.close()


def test_garbage_is_thawed_only_by_the_outermost() -> None:
    with quiet_gc():
        with quiet_gc():
            assert gc.get_freeze_count() > 0
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0
