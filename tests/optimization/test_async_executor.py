"""Legs over several cores: same answers, errors that name the leg, nothing left running."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest

from dtrag_core.errors import InvalidRequestError, LegFailedError, MemoryBudgetError
from dtrag_core.optimization.async_executor import AsyncExecutionOptimizer
from dtrag_core.optimization.legs import LegParams, LegSession, QueryEmbedding, run_in_turn
from dtrag_core.optimization.plans import Plan, plans_for
from dtrag_core.optimization.search_planner import SearchPlanner
from dtrag_core.types import Candidates, FloatArray, Mask

PARALLEL = [plan for plan in Plan if plan is not Plan.IN_TURN]


def found(ids: Sequence[int]) -> Candidates:
    return Candidates(np.array(ids, np.int32), -np.array(ids, np.float32))


@dataclass
class Legs:
    """Legs over ids 0 to 9 and 100 to 109, whole or in parts.

    With a `meeting`, jobs wait for each other: only if they run at the same time do they end.
    """

    meeting: threading.Barrier | None = None
    fails: str = ""
    threads: dict[str, int] = field(default_factory=dict)
    running: int = 0

    def bm25_leg(self, query: str, depth: int, mask: Mask | None) -> Candidates:
        return self._leg("bm25", range(10)[:depth])

    def vector_leg(self, vector: FloatArray, depth: int, mask: Mask | None) -> Candidates:
        assert vector.tolist() == [1.0]
        return self._leg("vector", range(100, 110)[:depth])

    def _leg(self, name: str, ids: Sequence[int]) -> Candidates:
        self.running += 1
        self.threads[name] = threading.get_ident()
        if self.meeting:
            self.meeting.wait(30)
        self.running -= 1
        if self.fails == name:
            raise ZeroDivisionError(name)
        return found(ids)


class SplitLegs(Legs):
    def bm25_shards(
        self, query: str, depth: int, mask: Mask | None, shards: int
    ) -> list[Callable[[], Candidates]]:
        ids = [range(10)[shard::shards][:depth] for shard in range(shards)]
        return [partial(self._leg, "bm25", part) for part in ids]

    def vector_shards(
        self, vector: FloatArray, depth: int, mask: Mask | None, shards: int
    ) -> list[Callable[[], Candidates]]:
        assert vector.tolist() == [1.0]
        ids = [range(100, 110)[shard::shards][:depth] for shard in range(shards)]
        return [partial(self._leg, "vector", part) for part in ids]

    def merge(self, parts: Sequence[Candidates], depth: int) -> Candidates:
        return found(sorted(row for part in parts for row in part.ids.tolist())[:depth])


class Fixed(SearchPlanner):
    """Chooses one plan always, so that it is what is tested; searches cost a millisecond."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(list(Plan), 2, 0.0)
        self.always = plan

    in_turn_ns = 1e6

    def choose(self) -> Plan:
        return self.always


class Always(AsyncExecutionOptimizer):
    def __init__(self, plan: Plan, cores: int = 2, max_concurrency: int = 64) -> None:
        super().__init__(cores, max_concurrency)
        self.fixed = Fixed(plan)

    def _planner_for(self, session: LegSession) -> SearchPlanner:
        return self.fixed


EMBEDDING = np.ones(1, np.float32)
PARAMS = LegParams(3, 2)


async def awaited() -> FloatArray:
    await asyncio.sleep(0)
    return EMBEDDING


async def awaited_in_vain() -> FloatArray:
    raise ZeroDivisionError("embed")


def computed_in_vain() -> FloatArray:
    raise ZeroDivisionError("embed")


SOURCES: dict[str, Callable[[], QueryEmbedding]] = {
    "array": lambda: EMBEDDING,
    "awaitable": awaited,
    "function": lambda: lambda: EMBEDDING,
}


@pytest.mark.parametrize("source", list(SOURCES))
@pytest.mark.parametrize("plan", PARALLEL)
def test_jobs_really_run_at_the_same_time(plan: Plan, source: str) -> None:
    async def run() -> None:
        executor = Always(plan)
        legs = SplitLegs(threading.Barrier(2))
        embedding = SOURCES[source]()
        outcome = await executor.execute_parallel_search(legs, "q", embedding, PARAMS)
        assert outcome.plan == plan.value
        if not plan.shards or not plan.overlaps:  # else it depends on who takes which part
            assert outcome.overlapped == plan.overlaps
        assert outcome.bm25.ids.tolist() == [0, 1, 2]
        assert outcome.vector.ids.tolist() == [100, 101]
        names = {span.name for span in outcome.spans}
        assert names == ({"bm25", "vector"} if source == "array" else {"bm25", "embed", "vector"})
        assert all(span.end_ns >= span.start_ns for span in outcome.spans)
        assert len({span.thread for span in outcome.spans}) >= 2
        assert executor.get_performance_metrics()[plan.value] == 1
        executor.close()

    asyncio.run(run())


@pytest.mark.parametrize("cores", [1, 2, 5])
@pytest.mark.parametrize("plan", PARALLEL)
def test_any_number_of_cores_finds_the_same(plan: Plan, cores: int) -> None:
    async def run() -> None:
        executor = Always(plan, cores)
        for depth in (1, 4, 10, 20):
            params = LegParams(depth, depth)
            there = await run_in_turn(SplitLegs(), "q", EMBEDDING, params)
            for _ in range(20):
                here = await executor.execute_parallel_search(SplitLegs(), "q", EMBEDDING, params)
                assert here.bm25.ids.tolist() == there.bm25.ids.tolist()
                assert here.vector.ids.tolist() == there.vector.ids.tolist()
        executor.close()

    asyncio.run(run())


def test_an_overlapped_search_uses_one_thread_besides_the_callers() -> None:
    async def run() -> None:
        executor = Always(Plan.OVERLAPPED)
        legs = Legs(threading.Barrier(2))
        await executor.execute_parallel_search(legs, "q", EMBEDDING, PARAMS)
        assert legs.threads["vector"] == threading.get_ident()
        assert legs.threads["bm25"] != threading.get_ident()
        executor.close()

    asyncio.run(run())


@pytest.mark.parametrize("leg", ["bm25", "vector"])
@pytest.mark.parametrize("plan", list(Plan))
def test_a_failing_leg_is_named_and_nothing_is_invented(leg: str, plan: Plan) -> None:
    async def run() -> None:
        executor = Always(plan)
        legs = SplitLegs(fails=leg)
        for _ in range(20):
            with pytest.raises(LegFailedError, match=f"the {leg} leg failed: Zero") as caught:
                await executor.execute_parallel_search(legs, "q", EMBEDDING, PARAMS)
            assert caught.value.leg == leg
            assert legs.running == 0
        metrics = executor.get_performance_metrics()
        assert (metrics["failed"], metrics["searches"], metrics["active"]) == (20, 0, 0)
        executor.close()

    asyncio.run(run())


@pytest.mark.parametrize("plan", list(Plan))
def test_a_failing_embedding_is_named(plan: Plan) -> None:
    async def run() -> None:
        executor = Always(plan)
        for source in (awaited_in_vain(), computed_in_vain):
            with pytest.raises(LegFailedError, match="the embed leg failed"):
                await executor.execute_parallel_search(SplitLegs(), "q", source, PARAMS)
        executor.close()

    asyncio.run(run())


@pytest.mark.parametrize("plan", [Plan.OVERLAPPED, Plan.SHARDED_OVERLAPPED])
def test_a_cancelled_search_has_left_the_session(plan: Plan) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    class SlowLegs(SplitLegs):
        def _leg(self, name: str, ids: Sequence[int]) -> Candidates:
            self.running += 1
            begun.set()
            cancelled.wait(30)
            self.running -= 1
            return found(ids)

    async def embedding() -> FloatArray:
        try:
            await asyncio.sleep(3_600)
        finally:
            cancelled.set()
        return EMBEDDING

    async def run() -> None:
        executor = Always(plan)
        legs = SlowLegs()
        search = asyncio.ensure_future(
            executor.execute_parallel_search(legs, "q", embedding(), PARAMS)
        )
        await asyncio.to_thread(begun.wait, 30)
        assert legs.running == 1
        search.cancel()
        with pytest.raises(asyncio.CancelledError):
            await search
        assert legs.running == 0
        metrics = executor.get_performance_metrics()
        assert (metrics["failed"], metrics["active"]) == (1, 0)
        executor.close()

    asyncio.run(run())


def test_searches_that_wait_for_each_other_run_in_turn_beside_each_other() -> None:
    async def run() -> None:
        executor = Always(Plan.OVERLAPPED)
        legs = Legs(threading.Barrier(2))
        outcomes = await asyncio.gather(
            *(
                executor.execute_parallel_search(legs, "q", SOURCES[source](), PARAMS)
                for source in ("array", "function", "awaitable", "array")
            )
        )
        assert {outcome.plan for outcome in outcomes} == {"in_turn"}
        for outcome in outcomes:
            threads = {span.thread for span in outcome.spans if span.name != "embed"}
            assert len(threads) == 1
            assert threads != {threading.get_ident()}
        metrics = executor.get_performance_metrics()
        assert (metrics["in_turn"], metrics["busy"], metrics["active"]) == (4, 4, 0)
        alone = await executor.execute_parallel_search(legs, "q", EMBEDDING, PARAMS)
        assert alone.plan == "overlapped"
        executor.close()

    asyncio.run(run())


def test_a_search_cancelled_beside_others_has_left_the_session() -> None:
    begun, release = threading.Event(), threading.Event()

    class SlowLegs(Legs):
        def _leg(self, name: str, ids: Sequence[int]) -> Candidates:
            self.running += 1
            begun.set()
            release.wait(30)
            self.running -= 1
            return found(ids)

    async def run() -> None:
        executor = Always(Plan.OVERLAPPED)
        legs = [SlowLegs() for _ in range(4)]
        searches = [
            asyncio.ensure_future(executor.execute_parallel_search(one, "q", EMBEDDING, PARAMS))
            for one in legs
        ]
        await asyncio.to_thread(begun.wait, 30)
        for search in searches:
            search.cancel()
        release.set()
        ended = await asyncio.gather(*searches, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended)
        assert all(one.running == 0 for one in legs)
        assert executor.get_performance_metrics()["active"] == 0
        executor.close()

    asyncio.run(run())


def test_an_overlap_of_cheap_legs_is_not_made_and_the_decision_says_why() -> None:
    async def run() -> None:
        executor = AsyncExecutionOptimizer(cores=2)
        for _ in range(16):
            outcome = await executor.execute_parallel_search(Legs(), "q", EMBEDDING, PARAMS)
            assert not outcome.overlapped
        decision = executor.decision()
        assert decision.plan == "in_turn"
        assert decision.reason.startswith("in_turn measured")
        assert decision.hop_us > 0
        assert executor.get_performance_metrics()["in_turn"] == 16
        executor.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("legs", "plans"),
    [
        (Legs(), {"in_turn", "overlapped"}),
        (SplitLegs(), {"in_turn", "overlapped", "sharded_overlapped"}),
    ],
)
def test_only_sessions_that_can_be_split_are(legs: LegSession, plans: set[str]) -> None:
    async def run() -> None:
        plans_allowed = plans_for(overlap=True, shards=True)
        executor = AsyncExecutionOptimizer(cores=2, plans=plans_allowed)
        await executor.execute_parallel_search(legs, "q", EMBEDDING, PARAMS)
        assert set(executor.decision().costs_us) == plans
        executor.close()

    asyncio.run(run())


@dataclass(frozen=True)
class Part:
    nbytes: int


def parts(*sizes: int) -> Iterator[Part]:
    for size in sizes:
        yield Part(size)


def test_parts_are_streamed_in_order() -> None:
    async def run() -> list[int]:
        executor = AsyncExecutionOptimizer(byte_budget=100)
        stream = executor.execute_with_memory_optimization(parts, 100, 1, 50)
        sizes = [part.nbytes async for part in stream]
        assert executor.get_performance_metrics()["streamed_parts"] == 3
        executor.close()
        return sizes

    assert asyncio.run(run()) == [100, 1, 50]


def test_a_part_over_the_budget_is_refused_after_those_before_it() -> None:
    async def run() -> None:
        executor = AsyncExecutionOptimizer(byte_budget=100)
        stream = executor.execute_with_memory_optimization(parts, 7, 101)
        assert (await anext(stream)).nbytes == 7
        with pytest.raises(MemoryBudgetError, match="101"):
            await anext(stream)
        executor.close()

    asyncio.run(run())


def test_settings_are_checked() -> None:
    with pytest.raises(InvalidRequestError, match="byte_budget must be at least 1, got 0"):
        AsyncExecutionOptimizer(byte_budget=0)
    with pytest.raises(InvalidRequestError, match="cores must be at least 1, got 0"):
        AsyncExecutionOptimizer(cores=0)
    with pytest.raises(InvalidRequestError, match="plans must hold"):
        AsyncExecutionOptimizer(plans=[Plan.OVERLAPPED])


def test_concurrency_is_bounded() -> None:
    async def run() -> None:
        executor = AsyncExecutionOptimizer(max_concurrency=2)
        started = 0
        gate, two_started = asyncio.Event(), asyncio.Event()

        async def embedding() -> FloatArray:
            nonlocal started
            started += 1
            if started == 2:
                two_started.set()
            await gate.wait()
            return EMBEDDING

        searches = [
            asyncio.ensure_future(
                executor.execute_parallel_search(Legs(), "q", embedding(), PARAMS)
            )
            for _ in range(5)
        ]
        await two_started.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        assert started == 2
        gate.set()
        assert len(await asyncio.gather(*searches)) == 5
        assert started == 5
        executor.close()

    asyncio.run(run())
