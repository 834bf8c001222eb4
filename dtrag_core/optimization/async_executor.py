"""Runs the legs of a hybrid search on as many cores as measured costs say it pays."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Final, ParamSpec, TypeVar, cast

from dtrag_core.errors import InvalidRequestError, MemoryBudgetError
from dtrag_core.optimization.core_threads import CoreThreads
from dtrag_core.optimization.legs import (
    LegParams,
    LegSession,
    LegsOutcome,
    QueryEmbedding,
    ShardedSession,
    run_in_turn,
)
from dtrag_core.optimization.memory_optimizer import MemoryMonitor
from dtrag_core.optimization.parallel_legs import run_apart, run_overlapped, run_sharded
from dtrag_core.optimization.plans import Plan, plans_for
from dtrag_core.optimization.search_planner import PlanDecision, SearchPlanner

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_BYTE_BUDGET: Final = 256 << 20
_APART_NS: Final = 200_000  # a search that costs more is worth a thread of its own under load
DEFAULT_PLANS: Final = plans_for(overlap=True, shards=False)


class AsyncExecutionOptimizer:
    """Lays searches out over the cores, bounds concurrency and streams under a byte budget.

    `plans` are those a `SearchPlanner` may choose among from what searches have cost (`plans_for`
    names them by switches). `cores` is how many one search may use: by default those the process
    may run on, at most eight. While other searches wait or run, a search runs in turn: beside them
    on another core, unless it is too short to be worth it.
    """

    def __init__(
        self,
        cores: int | None = None,
        max_concurrency: int = 64,
        byte_budget: int = DEFAULT_BYTE_BUDGET,
        monitor: MemoryMonitor | None = None,
        *,
        plans: Sequence[Plan] = DEFAULT_PLANS,
    ) -> None:
        limits = {"cores": cores, "max_concurrency": max_concurrency, "byte_budget": byte_budget}
        for name, value in limits.items():
            if value is not None and value < 1:
                raise InvalidRequestError(f"{name} must be at least 1, got {value}")
        if Plan.IN_TURN not in plans:
            raise InvalidRequestError(f"plans must hold {Plan.IN_TURN}, got {list(plans)}")
        self._plans = tuple(plans)
        self._threads = CoreThreads(cores if len(self._plans) > 1 else 1)
        self._pool = ThreadPoolExecutor(max(2, self._threads.count), "search")
        self._places = asyncio.Semaphore(max_concurrency)
        self.byte_budget = byte_budget
        self.monitor = monitor or MemoryMonitor()
        self._planners: dict[type, SearchPlanner] = {}
        self._kind: type | None = None
        self._planner = SearchPlanner(self._plans, self._threads.count, 0.0)
        self._entered = 0
        self._busy = 0
        self._runs = {plan.value: 0 for plan in Plan}
        self._failed = 0
        self._pooled_parts = 0

    async def execute_parallel_search(
        self,
        session: LegSession,
        query: str,
        query_embedding: QueryEmbedding,
        search_params: LegParams,
    ) -> LegsOutcome:
        """Run both legs by the cheapest plan.

        `query_embedding` is float32[d], an awaitable of one, or a function that computes it; unless
        in turn, BM25 runs meanwhile. Raises LegFailedError naming the leg. Whatever is raised, and
        if cancelled, nothing uses the session any more.
        """
        self._entered += 1
        try:
            async with self._places:
                outcome = await self._run(session, query, query_embedding, search_params)
        except BaseException:
            self._failed += 1
            raise
        finally:
            self._entered -= 1
        self._runs[outcome.plan] += 1
        return outcome

    async def execute_with_memory_optimization(
        self, search_function: Callable[P, Iterable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncIterator[T]:
        """Stream the parts that `search_function(*args, **kwargs)` yields, one in memory at a time.

        Each part is computed on a thread when it is asked for. A part with a `nbytes` larger than
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
            self._pooled_parts += 1
            yield part
            del part
            await self.monitor.optimize_if_needed()

    def get_performance_metrics(self) -> dict[str, Any]:
        """Return counts of searches by plan and in all, the decision in force, and memory.

        `active` is how many wait or run now, `busy` how many ran in turn because others did.
        """
        usage = self.monitor.history[-1] if self.monitor.history else None
        return {
            **self._runs,
            "searches": sum(self._runs.values()),
            "failed": self._failed,
            "active": self._entered,
            "busy": self._busy,
            "streamed_parts": self._pooled_parts,
            "decision": asdict(self.decision()),
            "rss_bytes": usage.rss if usage else None,
            "memory_releases": self.monitor.releases,
        }

    def decision(self) -> PlanDecision:
        """Return the plan in force for the latest kind of session, and why."""
        return self._planner.decision()

    def close(self) -> None:
        """Stop the threads once their work is done."""
        self._threads.close()
        self._pool.shutdown()

    async def _run(
        self, session: LegSession, query: str, query_embedding: QueryEmbedding, params: LegParams
    ) -> LegsOutcome:
        planner = self._planner_for(session)
        plan = planner.choose()
        if planner.in_turn_ns > _APART_NS:
            await asyncio.sleep(0)  # searches scheduled but not begun enter, and count
        if self._entered > 1:
            self._busy += 1
            if planner.in_turn_ns > _APART_NS and self._threads.count > 1:
                return await run_apart(session, query, query_embedding, params, self._pool)
            return await run_in_turn(session, query, query_embedding, params)
        started = time.perf_counter_ns()
        try:
            if plan is Plan.IN_TURN:
                outcome = await run_in_turn(session, query, query_embedding, params)
            elif plan is Plan.OVERLAPPED:
                outcome = await run_overlapped(
                    session, query, query_embedding, params, self._threads
                )
            else:
                outcome = await run_sharded(
                    cast(ShardedSession, session),
                    query,
                    query_embedding,
                    params,
                    self._threads,
                    plan,
                    vector_first=planner.vector_first,
                )
        except BaseException:
            planner.skip()
            raise
        planner.learn(plan, time.perf_counter_ns() - started, outcome.spans)
        return outcome

    def _planner_for(self, session: LegSession) -> SearchPlanner:
        """Return the planner for sessions of this type: the costs of another say nothing."""
        kind = type(session)
        if kind is not self._kind:
            if kind not in self._planners:
                splits = issubclass(kind, ShardedSession)
                plans = [plan for plan in self._plans if splits or not plan.shards]
                hop_ns = self._threads.measure_hop_ns() if len(plans) > 1 else 0.0
                self._planners[kind] = SearchPlanner(plans, self._threads.count, hop_ns)
            self._kind, self._planner = kind, self._planners[kind]
        return self._planner
