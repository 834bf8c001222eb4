"""The parts of a run, each done in a fresh process over an index directory.

A task takes its `TaskInput` and returns plain JSON, with the targets it decides under `targets`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from dtrag_core.bench.arms import (
    AGAIN_ARM,
    ARMS,
    OPTIMIZED_ARM,
    SEQUENTIAL_ARM,
    Arm,
    describe_arm,
    mean_steps_us,
    open_arm,
)
from dtrag_core.bench.capacity import Step, find_capacity, judged_step
from dtrag_core.bench.clock import NS_PER_MS, NS_PER_S, RealClock, StallWatch, precise_loop
from dtrag_core.bench.environment import capture_environment
from dtrag_core.bench.gates import HOST_STALLS, gate_bracket, gate_errors, gate_percentile
from dtrag_core.bench.generator import self_test
from dtrag_core.bench.load import run_load
from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.bench.rounds import reference_kernel, run_rounds
from dtrag_core.bench.settings import MeasureSettings
from dtrag_core.bench.workload import round_queries
from dtrag_core.engines.base import Engine
from dtrag_core.engines.registry import open_engine
from dtrag_core.targets import PERFORMANCE_TARGETS
from dtrag_core.types import Progress

T = TypeVar("T")
_EXTRA_RATE_SECONDS: Final = 10.0
_STALLS_EXCUSE: Final = 0.01  # of the run's time: less cannot move a P95 past its target


@dataclass(frozen=True, slots=True)
class TaskInput:
    """What a task works on: an engine's location, the settings, and distinct queries.

    `part` is the process's number for `rounds`, the arm for `memory`.
    """

    engine: str
    location: Path
    settings: MeasureSettings
    queries: tuple[str, ...]
    part: str = ""

    def open(self) -> Engine:
        """Open the engine."""
        return open_engine(self.engine, self.location)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run on a loop with fine timers."""
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        return runner.run(main)


def rounds(task: TaskInput, progress: Progress) -> dict[str, Any]:
    """Time every arm against the others in this process's share of the rounds."""
    settings, process = task.settings, int(task.part)
    share = len(range(process, settings.rounds, settings.processes))
    queries = round_queries(
        task.queries,
        share,
        settings.queries_per_round,
        settings.warmup,
        settings.seed + process,
    )
    engine = task.open()
    arms = {name: open_arm(engine, name, settings.depths) for name in ARMS}
    stage = f"rounds, process {process + 1} of {settings.processes}"
    measured = run(
        run_rounds(
            arms,
            queries.batches,
            RealClock(),
            warmup=queries.warmup,
            kernel=reference_kernel(),
            on_round=lambda number: progress(stage, number + 1, share),
        )
    )
    described = {
        name: describe_arm(arm, measured.latencies[name], settings.warmup)
        for name, arm in arms.items()
        if name != AGAIN_ARM
    }
    decision = arms[OPTIMIZED_ARM].dao.executor.decision()
    for arm in arms.values():
        arm.close()
    return {
        "rounds": measured.to_json(),
        "arms": described,
        "steps_us": mean_steps_us(arms[SEQUENTIAL_ARM], settings.warmup),
        "decision": {
            "plan": decision.plan,
            "overlap": decision.overlap,
            "reason": decision.reason,
            "bm25_us": decision.bm25_us,
            "vector_us": decision.embed_us + decision.vector_us,
            "hop_us": decision.hop_us,
            "costs_us": dict(decision.costs_us),
        },
    }


def load(task: TaskInput, progress: Progress) -> dict[str, Any]:
    """Load the optimised path at the target rate, open loop, and decide P95 and errors."""
    settings = task.settings
    plan = LoadPlan(settings.rate, settings.load_seconds, settings.segments, seed=settings.seed)
    arm = open_arm(task.open(), OPTIMIZED_ARM, settings.depths)
    stage = f"load at {settings.rate:g}/s"

    async def measure() -> dict[str, Any]:
        await _warm(arm, task)
        audit = await self_test(settings.rate, RealClock(), seed=settings.seed)
        ticking = asyncio.create_task(_tick(progress, stage, int(settings.load_seconds)))
        with StallWatch() as stalls:
            result = await run_load(arm, task.queries, plan, RealClock())
        ticking.cancel()
        promised = PERFORMANCE_TARGETS["throughput_qps"].bound
        slow = (f"loaded at {settings.rate:g}/s, the promise is for {promised:g}/s",)
        obstacles = (
            *result.obstacles(),
            *audit.obstacles(),
            *(slow if settings.rate < promised else ()),
        )
        lost = sum(stalls.stalls_ns) / NS_PER_S
        stalled = (HOST_STALLS,) if lost > _STALLS_EXCUSE * result.seconds else ()
        p95 = gate_percentile(
            PERFORMANCE_TARGETS["p95_latency_ms"],
            0.95,
            result.exceedances(),
            NS_PER_MS,
            (*obstacles, *stalled),
        )
        errors = gate_errors(
            PERFORMANCE_TARGETS["error_rate"], result.failed, result.sent, obstacles
        )
        return {
            "targets": [p95.to_json(), errors.to_json()],
            "load": {
                **result.to_json(),
                "percentiles_ms": result.histogram.percentiles_ms(result.failed),
                "self_test": audit.to_json(),
                "stalls_ns": list(stalls.stalls_ns),
            },
        }

    try:
        return run(measure())
    finally:
        arm.close()


def capacity(task: TaskInput, progress: Progress) -> dict[str, Any]:
    """Search the highest rate that holds the service level, and decide throughput."""
    settings = task.settings
    arm = open_arm(task.open(), OPTIMIZED_ARM, settings.depths)
    clock = RealClock()
    spent = 0.0

    def on_step(step: Step) -> None:
        nonlocal spent
        spent += step.seconds
        total = max(settings.capacity_seconds, spent)
        progress(f"capacity, {step.rate:,.0f}/s", round(spent), round(total))

    async def measure() -> dict[str, Any]:
        await _warm(arm, task)
        found = await find_capacity(
            arm,
            task.queries,
            clock,
            anchor=settings.rate,
            seed=settings.seed,
            budget_s=settings.capacity_seconds,
            on_step=on_step,
        )
        target = gate_bracket(
            PERFORMANCE_TARGETS["throughput_qps"],
            found.low,
            found.high,
            found.n,
            found.reason,
            found.obstacles(),
        )
        extra = [
            await run_load(
                arm, task.queries, LoadPlan(rate, _EXTRA_RATE_SECONDS, 2, seed=settings.seed), clock
            )
            for rate in settings.rates[1:]
        ]
        steps = [judged_step(result).to_json() for result in extra]
        block = found.to_json()
        return {
            "targets": [target.to_json()],
            "capacity": {**block, "steps": [*block["steps"], *steps]},
        }

    try:
        return run(measure())
    finally:
        arm.close()


async def _warm(arm: Arm, task: TaskInput) -> None:
    for query in task.queries[len(task.queries) - task.settings.warmup :]:
        await arm(query)


async def _tick(progress: Progress, stage: str, seconds: int) -> None:
    for second in range(1, seconds + 1):
        await asyncio.sleep(1)
        progress(stage, second, seconds)


def environment(task: TaskInput, progress: Progress) -> dict[str, Any]:
    """Capture the environment as the measuring processes have it."""
    return capture_environment()


Task = Callable[[TaskInput, Progress], dict[str, Any]]
MEASURING_TASKS: Final[Mapping[str, Task]] = {
    "environment": environment,
    "rounds": rounds,
    "load": load,
    "capacity": capacity,
}
