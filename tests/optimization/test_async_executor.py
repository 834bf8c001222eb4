"""Overlapping legs: same answers, errors that name the leg, streaming by budget."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from dtrag_core.errors import InvalidRequestError, LegFailedError, MemoryBudgetError
from dtrag_core.optimization.async_executor import AsyncExecutionOptimizer
from dtrag_core.optimization.legs import LegParams, QueryEmbedding, run_in_turn
from dtrag_core.types import Candidates, FloatArray, Mask


def found(*ids: int) -> Candidates:
    return Candidates(np.array(ids, np.int32), np.ones(len(ids), np.float32))


@dataclass
class MeetingLegs:
    """Legs that wait for each other when they are to meet: only an overlap lets them end."""

    meeting: threading.Barrier | None = None
    fails: str = ""
    threads: dict[str, int] = field(default_factory=dict)

    def bm25_leg(self, query: str, depth: int, mask: Mask | None) -> Candidates:
        return self._leg("bm25", found(*range(depth)))

    def vector_leg(self, vector: FloatArray, depth: int, mask: Mask | None) -> Candidates:
        assert vector.tolist() == [1.0]
        return self._leg("vector", found(*range(100, 100 + depth)))

    def _leg(self, name: str, result: Candidates) -> Candidates:
        self.threads[name] = threading.get_ident()
        if self.meeting:
            self.meeting.wait(30)
        if self.fails == name:
            raise ZeroDivisionError(name)
        return result


class Overlapping(AsyncExecutionOptimizer):
    """Overlaps always, so that the overlapped path is what is tested."""

    async def _choose(self) -> bool:
        return True


EMBEDDING = np.ones(1, np.float32)
PARAMS = LegParams(3, 2)


async def awaited() -> FloatArray:
    return EMBEDDING


@pytest.mark.parametrize("source", ["array", "awaitable", "function"])
def test_legs_really_run_at_the_same_time(source: str) -> None:
    async def run() -> None:
        executor = Overlapping(workers=2)
        embeddings: dict[str, QueryEmbedding] = {
            "array": EMBEDDING,
            "awaitable": awaited(),
            "function": lambda: EMBEDDING,
        }
        chosen = embeddings[source]
        legs = MeetingLegs(threading.Barrier(2))
        outcome = await executor.execute_parallel_search(legs, "q", chosen, PARAMS)
        unused = embeddings["awaitable"]
        if source != "awaitable":
            await unused  # type: ignore[misc]
        assert outcome.overlapped
        assert outcome.bm25.ids.tolist() == [0, 1, 2]
        assert outcome.vector.ids.tolist() == [100, 101]
        assert legs.threads["bm25"] != legs.threads["vector"]
        names = {span.name for span in outcome.spans}
        assert names == ({"bm25", "vector"} if source == "array" else {"bm25", "embed", "vector"})
        assert all(span.end_ns >= span.start_ns for span in outcome.spans)
        assert executor.get_performance_metrics()["overlapped"] == 1
        executor.close()

    asyncio.run(run())


def test_short_jobs_before_do_not_leave_a_thread_unstarted() -> None:
    async def run() -> None:
        executor = Overlapping(workers=2)
        for _ in range(50):
            await executor.execute_parallel_search(MeetingLegs(), "q", EMBEDDING, PARAMS)
        legs = MeetingLegs(threading.Barrier(2))
        outcome = await executor.execute_parallel_search(legs, "q", EMBEDDING, PARAMS)
        assert outcome.overlapped
        executor.close()

    asyncio.run(run())


@pytest.mark.parametrize("leg", ["bm25", "vector"])
@pytest.mark.parametrize("overlap", [True, False])
def test_a_failing_leg_is_named_and_nothing_is_invented(leg: str, overlap: bool) -> None:
    async def run() -> None:
        executor = Overlapping() if overlap else AsyncExecutionOptimizer()
        legs = MeetingLegs(fails=leg)
        with pytest.raises(LegFailedError, match=f"the {leg} leg failed") as caught:
            await executor.execute_parallel_search(legs, "q", EMBEDDING, PARAMS)
        assert caught.value.leg == leg
        assert executor.get_performance_metrics()["failed"] == 1
        executor.close()

    asyncio.run(run())


def test_a_failing_embedding_is_named() -> None:
    async def fails() -> FloatArray:
        raise ZeroDivisionError("model")

    with pytest.raises(LegFailedError, match="embed"):
        asyncio.run(run_in_turn(MeetingLegs(), "q", fails(), PARAMS))


def test_an_overlap_of_cheap_legs_is_not_made_and_the_decision_says_why() -> None:
    async def run() -> None:
        executor = AsyncExecutionOptimizer()
        for _ in range(40):
            outcome = await executor.execute_parallel_search(MeetingLegs(), "q", EMBEDDING, PARAMS)
            assert not outcome.overlapped
        decision = executor.decision()
        assert not decision.overlap
        assert ">=" in decision.reason
        assert decision.hop_us > 0
        assert executor.get_performance_metrics()["in_turn"] == 40
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
                executor.execute_parallel_search(MeetingLegs(), "q", embedding(), PARAMS)
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
