"""The load at the target rate and the search for the capacity, whatever answers: arm or service."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from dtrag_core.bench.capacity import CapacityResult, Step, find_capacity, judged_step
from dtrag_core.bench.clock import RealClock, Service, StallWatch, T
from dtrag_core.bench.gates import gate_bracket
from dtrag_core.bench.generator import self_test
from dtrag_core.bench.load import run_load
from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.bench.load_verdicts import host_stalls, judge_load
from dtrag_core.bench.service_session import tick
from dtrag_core.bench.settings import MeasureSettings
from dtrag_core.targets import PERFORMANCE_TARGETS
from dtrag_core.types import Progress

_EXTRA_RATE_SECONDS: Final = 10.0


async def measure_load(
    service: Service[T], requests: Sequence[T], settings: MeasureSettings, progress: Progress
) -> dict[str, Any]:
    """Load at the target rate, open loop; return `targets` (P95 and errors) and `load`."""
    plan = LoadPlan(settings.rate, settings.load_seconds, settings.segments, seed=settings.seed)
    audit = await self_test(settings.rate, RealClock(), seed=settings.seed)
    stage = f"load at {settings.rate:g}/s"
    ticking = asyncio.create_task(tick(progress, stage, int(settings.load_seconds)))
    with StallWatch() as stalls:
        result = await run_load(service, requests, plan, RealClock())
    ticking.cancel()
    targets = judge_load(
        result.segments,
        result.segments,
        settings.rate,
        (*result.obstacles(), *audit.obstacles()),
        host_stalls(stalls.stalls_ns, result.seconds),
    )
    return {
        "targets": [target.to_json() for target in targets],
        "load": {
            **result.to_json(),
            "percentiles_ms": result.histogram.percentiles_ms(result.failed),
            "self_test": audit.to_json(),
            "stalls_ns": list(stalls.stalls_ns),
        },
    }


async def measure_capacity(
    service: Service[T], requests: Sequence[T], settings: MeasureSettings, progress: Progress
) -> dict[str, Any]:
    """Search the highest rate that holds the service level; return `targets` and `capacity`.

    The other rates of the settings are tried after it, for a short while each.
    """
    found = await search_capacity(service, requests, settings, progress)
    target = gate_bracket(
        PERFORMANCE_TARGETS["throughput_qps"],
        found.low,
        found.high,
        found.n,
        found.reason,
        found.obstacles(),
    )
    seconds = min(_EXTRA_RATE_SECONDS, settings.load_seconds)
    extra = [
        await run_load(
            service,
            requests,
            LoadPlan(rate, seconds, 2, seed=settings.seed),
            RealClock(),
        )
        for rate in settings.rates[1:]
    ]
    steps = [judged_step(result).to_json() for result in extra]
    block = found.to_json()
    return {
        "targets": [target.to_json()],
        "capacity": {**block, "steps": [*block["steps"], *steps]},
    }


async def search_capacity(
    service: Service[T], requests: Sequence[T], settings: MeasureSettings, progress: Progress
) -> CapacityResult:
    """Search the highest rate that holds the service level."""
    spent = 0.0

    def on_step(step: Step) -> None:
        nonlocal spent
        spent += step.seconds
        total = max(settings.capacity_seconds, spent)
        progress(f"capacity, {step.rate:,.0f}/s", round(spent), round(total))

    return await find_capacity(
        service,
        requests,
        RealClock(),
        anchor=settings.rate,
        seed=settings.seed,
        budget_s=settings.capacity_seconds,
        on_step=on_step,
    )
