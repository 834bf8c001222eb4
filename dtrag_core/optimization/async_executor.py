"""Runs the two legs of a hybrid search at the same time, where measured costs say it pays."""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
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
from dtrag_core.types import Candidates, FloatArray, Span

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_BYTE_BUDGET: Final = 256 << 20
_LEARNING: Final = 8  # searches run in turn before the first decision
_REFRESH: Final = 256  # every so many searches the plan not chosen is run, to keep its cost known
_SMOOTHING: Final = 0.1


@dataclass(frozen=True, slots=True)
class OverlapDecision:
    """Whether legs are overlapped and the costs in microseconds behind it."""

    overlap: bool
    reason: str
    bm25_us: float
    embed_us: float
    vector_us: float
    hop_us: float
    in_turn_us: float
    overlapped_us: float


class AsyncExecutionOptimizer:
    """Overlaps legs on a thread pool, bounds concurrency and streams under a byte budget.

    Leg costs are averaged over the searches that ran them in turn; the overlapped total over those
    that overlapped (before the first one it is predicted: the longer chain plus the measured cost
    of handing two jobs to threads). The cheaper plan is chosen; the other is run again now and
    then, so that a change shows.
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
        self._pool = ThreadPoolExecutor(workers or max(2, os.cpu_count() or 2), "leg")
        self._places = asyncio.Semaphore(max_concurrency)
        self._measuring = asyncio.Lock()
        self.byte_budget = byte_budget
        self.monitor = monitor or MemoryMonitor()
        self._costs: dict[str, float] = {}
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
            run = self._overlapped if overlap else self._in_turn
            started = time.perf_counter_ns()
            try:
                outcome = await run(session, query, query_embedding, search_params)
            except BaseException:
                self._runs["failed"] += 1
                raise
            self._learn(outcome, time.perf_counter_ns() - started)
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
            "costs_us": {name: cost / 1e3 for name, cost in self._costs.items()},
            "decision": asdict(self.decision()),
            "rss_bytes": usage.rss if usage else None,
            "memory_releases": self.monitor.releases,
        }

    def decision(self) -> OverlapDecision:
        """Return the plan in force and why."""
        bm25, embed, vector, hop, in_turn = (
            self._costs.get(name, 0.0) / 1e3
            for name in ("bm25", "embed", "vector", "hop", "in_turn")
        )
        overlapped, overlap = self._overlapped_ns() / 1e3, self._overlap_pays()
        if self._runs["in_turn"] < _LEARNING:
            reason = f"costs are known after {_LEARNING} searches in turn"
        else:
            source = "measured" if "overlapped" in self._costs else "predicted"
            reason = (
                f"overlapped {source} {overlapped:.0f} us "
                f"{'<' if overlap else '>='} in turn {in_turn:.0f} us"
            )
        return OverlapDecision(overlap, reason, bm25, embed, vector, hop, in_turn, overlapped)

    def close(self) -> None:
        """Stop the threads once their work is done."""
        self._pool.shutdown()

    def _overlapped_ns(self) -> float:
        """Return what overlapping costs: measured, or predicted before the first time."""
        cost = self._costs.get
        predicted = max(cost("bm25", 0.0), cost("embed", 0.0) + cost("vector", 0.0))
        return cost("overlapped") or predicted + cost("hop", 0.0)

    def _overlap_pays(self) -> bool:
        learnt = self._runs["in_turn"] >= _LEARNING
        return learnt and self._overlapped_ns() < self._costs["in_turn"]

    async def _choose(self) -> bool:
        if "hop" not in self._costs:
            async with self._measuring:
                if "hop" not in self._costs:
                    self._costs["hop"] = await self._measure_hop()
        chosen = self._overlap_pays()
        runs = self._runs["in_turn"] + self._runs["overlapped"]
        if runs % _REFRESH == _REFRESH - 1 and self._could_pay():
            return not chosen
        return chosen

    def _could_pay(self) -> bool:
        """Whether overlapping would win if handing over cost nothing."""
        cost = self._costs.get
        longer = max(cost("bm25", 0.0), cost("embed", 0.0) + cost("vector", 0.0))
        return self._runs["in_turn"] >= _LEARNING and longer < self._costs["in_turn"]

    async def _measure_hop(self) -> float:
        loop = asyncio.get_running_loop()
        costs = []
        for _ in range(32):
            started = time.perf_counter_ns()
            await asyncio.gather(*(loop.run_in_executor(self._pool, int) for _ in range(2)))
            costs.append(time.perf_counter_ns() - started)
        return statistics.median(costs)

    async def _in_turn(
        self, session: LegSession, query: str, query_embedding: QueryEmbedding, params: LegParams
    ) -> LegsOutcome:
        return await run_in_turn(session, query, query_embedding, params)

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

    def _learn(self, outcome: LegsOutcome, total_ns: int) -> None:
        plan = "overlapped" if outcome.overlapped else "in_turn"
        self._runs[plan] += 1
        self._average(plan, total_ns)
        if not outcome.overlapped:
            for span in outcome.spans:
                self._average(span.name, span.end_ns - span.start_ns)

    def _average(self, name: str, cost: float) -> None:
        known = self._costs.get(name)
        self._costs[name] = cost if known is None else known + _SMOOTHING * (cost - known)
