"""The cache: LRU with a time to live, one computation a key."""

import asyncio

import pytest

from dtrag_core.errors import InvalidRequestError
from dtrag_core.search.cache import SingleFlightCache


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        await asyncio.sleep(0)
        return self.calls


def test_hits_misses_and_eviction_of_the_least_recently_used() -> None:
    async def run() -> None:
        cache: SingleFlightCache[int] = SingleFlightCache(2)
        compute = Counter()
        for key, expected in [("a", "miss"), ("b", "miss"), ("a", "hit"), ("c", "miss")]:
            assert (await cache.get_or_compute(key, compute))[1] == expected
        assert (await cache.get_or_compute("a", compute))[1] == "hit"
        assert (await cache.get_or_compute("b", compute))[1] == "miss"
        statistics = cache.statistics()
        assert (statistics.hits, statistics.misses, statistics.size) == (2, 4, 2)
        assert statistics.hit_rate == 2 / 6

    asyncio.run(run())


def test_entries_expire() -> None:
    now = 0.0

    async def run() -> None:
        nonlocal now
        cache: SingleFlightCache[int] = SingleFlightCache(10, ttl_seconds=5, timer=lambda: now)
        compute = Counter()
        await cache.get_or_compute("a", compute)
        now = 4.9
        assert (await cache.get_or_compute("a", compute))[1] == "hit"
        now = 5.1
        assert await cache.get_or_compute("a", compute) == (2, "miss")

    asyncio.run(run())


def test_concurrent_lookups_share_one_computation_and_each_gets_the_answer() -> None:
    async def run() -> None:
        cache: SingleFlightCache[int] = SingleFlightCache()
        compute = Counter()
        answers = await asyncio.gather(*(cache.get_or_compute("a", compute) for _ in range(20)))
        assert compute.calls == 1
        assert [value for value, _ in answers] == [1] * 20
        assert [source for _, source in answers].count("miss") == 1
        assert cache.statistics().shared == 19

    asyncio.run(run())


def test_a_failure_reaches_everyone_and_is_not_stored() -> None:
    async def fails() -> int:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def run() -> None:
        cache: SingleFlightCache[int] = SingleFlightCache()
        outcomes = await asyncio.gather(
            *(cache.get_or_compute("a", fails) for _ in range(3)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 3
        assert await cache.get_or_compute("a", Counter()) == (1, "miss")

    asyncio.run(run())


def test_if_whoever_computes_is_cancelled_another_computes() -> None:
    async def run() -> None:
        cache: SingleFlightCache[int] = SingleFlightCache()
        compute = Counter()
        leader = asyncio.create_task(cache.get_or_compute("a", compute))
        follower = asyncio.create_task(cache.get_or_compute("a", compute))
        await asyncio.sleep(0)
        leader.cancel()
        assert await follower == (2, "miss")
        with pytest.raises(asyncio.CancelledError):
            await leader

    asyncio.run(run())


def test_a_deadline_holds_for_those_who_wait_too() -> None:
    async def run() -> None:
        cache: SingleFlightCache[int] = SingleFlightCache()
        compute = Counter()
        tasks = [asyncio.create_task(cache.get_or_compute("a", compute)) for _ in range(2)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
        assert compute.calls == 1

    asyncio.run(run())


def test_a_cancelled_follower_does_not_stop_the_computation() -> None:
    async def run() -> None:
        cache: SingleFlightCache[int] = SingleFlightCache()
        compute = Counter()
        leader = asyncio.create_task(cache.get_or_compute("a", compute))
        follower = asyncio.create_task(cache.get_or_compute("a", compute))
        await asyncio.sleep(0)
        follower.cancel()
        assert await leader == (1, "miss")
        with pytest.raises(asyncio.CancelledError):
            await follower

    asyncio.run(run())


@pytest.mark.parametrize(("capacity", "ttl"), [(0, 1.0), (1, 0.0)])
def test_settings_are_checked(capacity: int, ttl: float) -> None:
    with pytest.raises(InvalidRequestError, match="capacity"):
        SingleFlightCache(capacity, ttl)
