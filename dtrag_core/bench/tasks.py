"""The parts of a run, each done in a fresh process over an index directory.

A task takes its `TaskInput` and returns plain JSON, with the targets it decides under `targets`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
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
from dtrag_core.bench.clock import RealClock, precise_loop
from dtrag_core.bench.environment import capture_environment
from dtrag_core.bench.gates import IN_PROCESS
from dtrag_core.bench.load_tasks import measure_capacity, measure_load
from dtrag_core.bench.rounds import reference_kernel, run_rounds
from dtrag_core.bench.settings import MeasureSettings
from dtrag_core.bench.workload import round_queries
from dtrag_core.engines.base import Engine
from dtrag_core.engines.registry import open_engine
from dtrag_core.types import Progress

T = TypeVar("T")
_LEAST_LOAD_S: Final = 1.0


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
    """Load the optimised path in this process at the target rate: P95 and errors."""
    return _on_optimized(task, progress, measure_load)


def capacity(task: TaskInput, progress: Progress) -> dict[str, Any]:
    """Search the highest rate that the optimised path holds in this process."""
    return _on_optimized(task, progress, measure_capacity)


Measure = Callable[[Arm, Sequence[str], MeasureSettings, Progress], Awaitable[dict[str, Any]]]


def _on_optimized(task: TaskInput, progress: Progress, measure: Measure) -> dict[str, Any]:
    """Measure in process, for a shorter time than the service, which the targets are judged by."""
    settings = replace(
        task.settings,
        load_seconds=max(_LEAST_LOAD_S, task.settings.load_seconds / 3),
        capacity_seconds=task.settings.capacity_seconds / 2,
    )
    arm = open_arm(task.open(), OPTIMIZED_ARM, settings.depths)

    async def measured() -> dict[str, Any]:
        await _warm(arm, task)
        return await measure(arm, task.queries, settings, progress)

    try:
        found = run(measured())
    finally:
        arm.close()
    targets = [{**each, "definition": IN_PROCESS[each["metric"]]} for each in found["targets"]]
    return {**found, "targets": targets}


async def _warm(arm: Arm, task: TaskInput) -> None:
    for query in task.queries[len(task.queries) - task.settings.warmup :]:
        await arm(query)


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
