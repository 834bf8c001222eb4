"""Runs the two legs of a hybrid search at the same time, where measured costs say it pays."""

import asyncio
import os
import statistics
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Final, ParamSpec, TypeVar

from dtrag_core.errors import InvalidRequestError, MemoryBudgetError
from dtrag_core.optimization.legs import (
    LegParams,
    LegSession,
    LegsOutcome,
    QueryEmbedding,
    awaited,
    embedded,
    run_bm25,
    run_in_turn,
    run_vector,
)
from dtrag_core.optimization.memory_optimizer import MemoryMonitor
from dtrag_core.optimization.overlap_planner import OverlapDecision, OverlapPlanner
from dtrag_core.types import Candidates, FloatArray, Span

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_BYTE_BUDGET: Final = 256 << 20


class AsyncExecutionOptimizer:
    """Overlaps legs on a thread pool, bounds concurrency and streams under a byte budget.

    Whether legs are overlapped is decided by an `OverlapPlanner` from what searches have cost.
    """

    def __init__(
        self,
        workers: int | None = None,
        max_concurrency: int = 64,
        byte_budget: int = DEFAULT_BYTE_BUDGET,
        monitor: MemoryMonitor | None = None,
    ) -> None:
        for name, value in (("max_concurrency", max_concurrency), ("byte_budget", byte_budget)):
            if value < 1:
                raise InvalidRequestError(f"{name} must be at least 1, got {value}")
        self._pool = _full_pool(workers or max(2, os.cpu_count() or 2))
        self._places = asyncio.Semaphore(max_concurrency)
        self._measuring = asyncio.Lock()
        self.byte_budget = byte_budget
        self.monitor = monitor or MemoryMonitor()
        self._planner = OverlapPlanner()
        self._runs = {"in_turn": 0, "overlapped": 0, "failed": 0, "streamed_parts": 0}

    async def execute_parallel_search(
        self,
        session: LegSession,
        query: str,
        query_embedding: QueryEmbedding,
        search_params: LegParams,
    ) -> LegsOutcome:
        """Run both legs, at the same time where that is cheaper.

        `query_embedding` is float32[d], an awaitable of one, or a function that computes it (then
        it runs on the vector leg's thread and overlaps BM25). Raises LegFailedError naming the leg.
        """
        async with self._places:
            overlap = await self._choose()
            run = self._overlapped if overlap else run_in_turn
            started = time.perf_counter_ns()
            try:
                outcome = await run(session, query, query_embedding, search_params)
            except BaseException:
                self._runs["failed"] += 1
                raise
            taken = time.perf_counter_ns() - started
            self._planner.learn(outcome.overlapped, taken, outcome.spans)
            self._runs["overlapped" if outcome.overlapped else "in_turn"] += 1
            return outcome

    async def execute_with_memory_optimization(
        self, search_function: Callable[P, Iterable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncIterator[T]:
        """Stream the parts that `search_function(*args, **kwargs)` yields, one in memory at a time.

        Each part is computed on the pool when it is asked for. A part with a `nbytes` larger than
        the byte budget raises MemoryBudgetError. Memory is given back between parts if needed.
        """
        loop = asyncio.get_running_loop()

        def begin() -> Iterator[T]:
            return iter(search_function(*args, **kwargs))

        parts = await loop.run_in_executor(self._pool, begin)
        nothing: Any = object()
        while True:
            part = await loop.run_in_executor(self._pool, next, parts, nothing)
            if part is nothing:
                return
            size = int(getattr(part, "nbytes", 0))
            if size > self.byte_budget:
                raise MemoryBudgetError(size, self.byte_budget, "yield smaller parts")
            self._runs["streamed_parts"] += 1
            yield part
            del part
            await self.monitor.optimize_if_needed()

    def get_performance_metrics(self) -> dict[str, Any]:
        """Return live counts, mean costs in microseconds, the decision in force, and memory."""
        usage = self.monitor.history[-1] if self.monitor.history else None
        return {
            **self._runs,
            "decision": asdict(self.decision()),
            "rss_bytes": usage.rss if usage else None,
            "memory_releases": self.monitor.releases,
        }

    def decision(self) -> OverlapDecision:
        """Return the plan in force and why."""
        return self._planner.decision()

    def close(self) -> None:
        """Stop the threads once their work is done."""
        self._pool.shutdown()

    async def _choose(self) -> bool:
        if self._planner.hop_ns is None:
            async with self._measuring:
                if self._planner.hop_ns is None:
                    self._planner.hop_ns = await self._measure_hop()
        return self._planner.choose()

    async def _measure_hop(self) -> float:
        loop = asyncio.get_running_loop()
        costs = []
        for _ in range(32):
            started = time.perf_counter_ns()
            await asyncio.gather(*(loop.run_in_executor(self._pool, int) for _ in range(2)))
            costs.append(time.perf_counter_ns() - started)
        return statistics.median(costs)

    async def _overlapped(
        self, session: LegSession, query: str, query_embedding: QueryEmbedding, params: LegParams
    ) -> LegsOutcome:
        loop = asyncio.get_running_loop()
        bm25_job = loop.run_in_executor(self._pool, run_bm25, session, query, params)
        vector_job = self._vector_chain(session, query_embedding, params)
        bm25, chain = await asyncio.gather(bm25_job, vector_job, return_exceptions=True)
        if isinstance(bm25, BaseException):
            raise bm25
        if isinstance(chain, BaseException):
            raise chain
        (found, bm25_span), (embedding, embed_spans, near, vector_span) = bm25, chain
        return LegsOutcome(found, near, embedding, (bm25_span, *embed_spans, vector_span), True)

    async def _vector_chain(
        self, session: LegSession, query_embedding: QueryEmbedding, params: LegParams
    ) -> tuple[FloatArray, tuple[Span, ...], Candidates, Span]:
        loop = asyncio.get_running_loop()

        def chain(
            source: FloatArray | Callable[[], FloatArray],
        ) -> tuple[FloatArray, tuple[Span, ...], Candidates, Span]:
            embedding, spans = embedded(source)
            near, span = run_vector(session, embedding, params)
            return embedding, spans, near, span

        if isinstance(query_embedding, Awaitable):
            known, spans = await awaited(query_embedding)
            embedding, _, near, span = await loop.run_in_executor(self._pool, chain, known)
            return embedding, spans, near, span
        return await loop.run_in_executor(self._pool, chain, query_embedding)


def _full_pool(workers: int) -> ThreadPoolExecutor:
    """Return a pool whose threads all run already.

    A pool that starts them as jobs come takes a thread that has just ended its job for idle twice,
    and then never starts the second: two legs would run one after the other on the first.
    """
    pool = ThreadPoolExecutor(workers, "leg")
    everyone = threading.Barrier(workers)
    for _ in range(workers):
        pool.submit(everyone.wait)
    return pool
