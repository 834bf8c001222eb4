"""Soak: hours or minutes of a steady load, and whether anything grows meanwhile."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from dtrag_core.bench.capacity import SLO_ERRORS
from dtrag_core.bench.clock import Clock, RealClock, Service, T
from dtrag_core.bench.http_service import SearchService
from dtrag_core.bench.load import run_load
from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.bench.load_result import LoadResult
from dtrag_core.bench.mixes import make_mix
from dtrag_core.bench.service_process import ServiceProcess
from dtrag_core.bench.service_session import run_on_service, tick
from dtrag_core.bench.slopes import slope_interval
from dtrag_core.bench.statistics import Interval
from dtrag_core.bench.usage_watch import Measure, UsageWatch
from dtrag_core.bench.workload import distinct_queries
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.errors import MeasuringError
from dtrag_core.types import Progress

PARTS: Final = 60
"""Segments whose median latency is followed."""

_READINGS: Final = 600
_QUERIES: Final = 5_000


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """`rate` requests per s for `seconds`; the first `settling` share is left out of the slopes."""

    rate: float
    seconds: float
    settling: float = 0.2
    seed: int = 0
    timeout_s: float = 5.0

    def load_plan(self) -> LoadPlan:
        """Return the load."""
        return LoadPlan(self.rate, self.seconds, PARTS, seed=self.seed, timeout_s=self.timeout_s)


@dataclass(frozen=True, slots=True)
class SoakResult:
    """What came of it.

    `slopes`, per s: `resident_bytes`, `anonymous_bytes` (where the system tells them apart),
    `descriptors` and `median_ns`, the median latency of a sixtieth of the time. The intervals hold
    all at once with 95 %, so that a service at rest is called moving in one soak of twenty.
    """

    plan: SoakPlan
    load: LoadResult
    slopes: Mapping[str, Interval]
    usage: Mapping[str, Any]

    @property
    def moving(self) -> dict[str, Interval]:
        """The slopes whose interval does not hold 0."""
        return {name: slope for name, slope in self.slopes.items() if 0.0 not in slope}

    @property
    def complaints(self) -> tuple[str, ...]:
        """What grew or fell, and that more than 1 % of the requests failed, if they did."""
        moved = [f"{name} {'grows' if s.low > 0 else 'falls'}" for name, s in self.moving.items()]
        failed, sent = self.load.failed, self.load.sent
        lost = [f"{failed:,} of {sent:,} requests failed"] if failed > SLO_ERRORS * sent else []
        return (*moved, *lost)

    @property
    def ok(self) -> bool:
        """Whether there is nothing to complain of."""
        return not self.complaints

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names, `ok` and `complaints`."""
        return {
            "plan": asdict(self.plan),
            "load": self.load.to_json(),
            "slopes": {name: slope.to_json() for name, slope in self.slopes.items()},
            "usage": dict(self.usage),
            "ok": self.ok,
            "complaints": list(self.complaints),
        }


async def soak(
    service: Service[T], requests: Sequence[T], plan: SoakPlan, clock: Clock, measure: Measure
) -> SoakResult:
    """Send a steady load and return the slopes of what the service holds and of its latency.

    Raises MeasuringError if the service ends meanwhile, or segments have nothing answered.
    """
    every = max(plan.seconds / _READINGS, 0.1)
    async with UsageWatch(measure, clock, every) as watch:
        result = await run_load(service, requests, plan.load_plan(), clock)
    begin = plan.settling * plan.seconds
    times, held = watch.between(begin, plan.seconds)
    series: dict[str, list[int]] = {
        "resident_bytes": [usage.resident for usage in held],
        "descriptors": [usage.descriptors for usage in held],
    }
    anonymous = [usage.anonymous for usage in held if usage.anonymous is not None]
    if len(anonymous) == len(held):
        series["anonymous_bytes"] = anonymous
    together = len(series) + 1
    slopes = {name: slope_interval(times, values, together) for name, values in series.items()}
    slopes["median_ns"] = _latency_slope(result, begin, together)
    return SoakResult(plan, result, slopes, watch.to_json())


def run_soak(
    command: Sequence[str], dataset: str, plan: SoakPlan, progress: Progress
) -> SoakResult:
    """Start a service and soak it with a dataset's queries. Raises MeasuringError if it ends."""
    queries = distinct_queries(open_dataset(dataset), _QUERIES, plan.seed, at_least=1)

    async def experiment(
        process: ServiceProcess, service: SearchService, requests: Sequence[bytes]
    ) -> SoakResult:
        ticking = asyncio.create_task(tick(progress, "soak", round(plan.seconds)))
        try:
            return await soak(service, requests, plan, RealClock(), process.usage)
        finally:
            ticking.cancel()

    progress("starting the service", 0, None)
    bodies = make_mix("unique", queries)[0].bodies
    return run_on_service(command, bodies, experiment, timeout_s=plan.timeout_s)


def _latency_slope(result: LoadResult, begin_s: float, together: int) -> Interval:
    length = result.plan.seconds / len(result.segments)
    places = [place for place in range(len(result.segments)) if place * length >= begin_s]
    medians = [result.segments[place].histogram.percentile(0.5) for place in places]
    known = [median for median in medians if median is not None]
    if len(known) < len(medians):
        raise MeasuringError(
            f"{len(medians) - len(known)} of {len(medians)} stretches of the soak have nothing "
            f"answered: {result.errors}"
        )
    return slope_interval([(place + 0.5) * length for place in places], known, together)
