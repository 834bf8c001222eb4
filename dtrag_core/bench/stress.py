"""What the service does beyond its sustainable rate, and what computing in batches brings it."""

import asyncio
import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

from dtrag_core.bench.capacity import closed_loop_rate
from dtrag_core.bench.clock import RealClock, precise_loop
from dtrag_core.bench.http_client import Address, HttpClient
from dtrag_core.bench.http_cost import CONNECTIONS
from dtrag_core.bench.http_service import SearchService
from dtrag_core.bench.mixes import SEARCH
from dtrag_core.bench.overload import OverloadPlan, overload
from dtrag_core.bench.service_process import Cores, ServiceProcess, kept_to, serve_command
from dtrag_core.bench.service_session import run_on_service, tick, warm
from dtrag_core.bench.service_task import bodies_of, jobs_apart
from dtrag_core.bench.statistics import ratio_interval
from dtrag_core.bench.tasks import TaskInput
from dtrag_core.types import Progress

FACTORS: Final = (1.5, 2.0)
_ROUNDS: Final = 12
_ROUND_SECONDS: Final = 2.0
_WARMUP: Final = 200


def stress(task: TaskInput, progress: Progress) -> dict[str, Any]:
    """Measure overload at 1.5 and 2 times the rate that `part` says, and what batching brings.

    Returns the block `stress` of a result.
    """
    bodies = bodies_of(task.queries, task.settings)
    with jobs_apart() as jobs:
        beyond = [_overload(task, bodies, factor, jobs, progress) for factor in FACTORS]
        return {"stress": {"overload": beyond, "batching": _batching(task, bodies, jobs, progress)}}


def _overload(
    task: TaskInput,
    bodies: Sequence[bytes],
    factor: float,
    jobs: Sequence[str],
    progress: Progress,
) -> dict[str, Any]:
    settings = task.settings
    plan = OverloadPlan(
        float(task.part), factor, seconds=settings.stress_seconds, seed=settings.seed
    )

    async def overloaded(
        process: ServiceProcess, sends: SearchService, requests: Sequence[bytes]
    ) -> dict[str, Any]:
        seconds = round(plan.seconds + plan.calm_seconds)
        ticking = asyncio.create_task(tick(progress, f"{factor:g} times what it sustains", seconds))
        try:
            found = await overload(sends, requests, plan, RealClock(), process.usage)
        finally:
            ticking.cancel()
        return found.to_json()

    return run_on_service(
        serve_command(str(task.location), "--no-cache", *jobs), bodies, overloaded
    )


def _batching(
    task: TaskInput, bodies: Sequence[bytes], jobs: Sequence[str], progress: Progress
) -> dict[str, Any]:
    """Saturate the service and the same one without batches, in turns, on the same core.

    `ratio`: of the throughputs, over the rounds. Throughput of a closed loop, never a latency.
    """
    cores = Cores.split()
    plain = serve_command(str(task.location), "--no-cache", *jobs)

    async def main(urls: Sequence[str]) -> list[tuple[float, float]]:
        async with HttpClient(Address.of(urls[0])) as first, HttpClient(Address.of(urls[1])) as two:
            arms = [SearchService(client, {}) for client in (first, two)]
            sent = [arm.prepared(SEARCH, bodies) for arm in arms]
            for arm, requests in zip(arms, sent, strict=True):
                await warm(arm, requests, _WARMUP)
            rounds = []
            for number in range(_ROUNDS):
                progress("with and without batches", number, _ROUNDS)
                rates = [0.0, 0.0]
                for which in (0, 1) if number % 2 else (1, 0):
                    rates[which] = await closed_loop_rate(
                        arms[which],
                        sent[which],
                        RealClock(),
                        seconds=_ROUND_SECONDS,
                        workers=CONNECTIONS,
                    )
                rounds.append((rates[0], rates[1]))
            return rounds

    with ExitStack() as stack:
        stack.enter_context(kept_to(cores.generator))
        commands = (plain, [*plain, "--no-batching"])
        services = [
            stack.enter_context(ServiceProcess(command, cores.service)) for command in commands
        ]
        runner = stack.enter_context(asyncio.Runner(loop_factory=precise_loop))
        rounds = runner.run(main([service.url for service in services]))
    return {
        "rounds": [list(pair) for pair in rounds],
        "connections": CONNECTIONS,
        "ratio": ratio_interval([[math.log(a / b) for a, b in rounds]]).to_json(),
    }
