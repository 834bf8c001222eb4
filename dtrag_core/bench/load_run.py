"""A load on the service, from starting it to a verdict (`load.schema.json`)."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

from dtrag_core.bench.capacity import SLO_NS
from dtrag_core.bench.clock import RealClock, StallWatch, precise_loop
from dtrag_core.bench.environment import HostWatch, capture_environment
from dtrag_core.bench.generator import self_test
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.http_client import Address, HttpClient
from dtrag_core.bench.http_cost import http_cost
from dtrag_core.bench.http_service import (
    SearchService,
    fetch_queries,
    learn_filters,
    service_for,
)
from dtrag_core.bench.load import Limit, run_load
from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.bench.load_result import LoadResult
from dtrag_core.bench.load_results import KIND, SCHEMA_VERSION, stream_json
from dtrag_core.bench.load_settings import LoadSettings
from dtrag_core.bench.load_verdicts import (
    CACHED,
    generator_obstacles,
    host_stalls,
    judge_load,
    levels,
    of_scenario,
    side_by_side,
    steps_json,
)
from dtrag_core.bench.mixes import SEARCH, Stream, make_mix
from dtrag_core.bench.result_file import header
from dtrag_core.bench.scenarios import STEPS
from dtrag_core.bench.service_process import Cores, ServiceProcess, kept_to
from dtrag_core.bench.service_session import tick, warm
from dtrag_core.bench.usage_watch import UsageWatch
from dtrag_core.bench.workload import distinct_queries, workload_hash
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.types import Progress

_WARM_CONNECTIONS: Final = 16
_LOST: Final = 0.05


@dataclass(frozen=True, slots=True)
class Target:
    """What is loaded: a service that `command` starts, or one that runs at `url`.

    The command prints its address once it is ready and serves with `workers` processes. `headers`
    go with every request (an API key).
    """

    command: Sequence[str] = ()
    url: str | None = None
    workers: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)


def run_service_load(settings: LoadSettings, target: Target, progress: Progress) -> dict[str, Any]:
    """Load a service and return the result.

    Started here, it has its own cores and the generator another. Raises MeasuringError if it
    does not start, ends meanwhile, or is not there.
    """
    queries = _queries(settings)
    cores = Cores.split(target.workers) if target.url is None else None
    with HostWatch() as watch, kept_to(cores.generator if cores else ()):
        progress("starting the service", 0, None)
        started = ServiceProcess(target.command, cores.service) if cores else nullcontext()
        with started as process, asyncio.Runner(loop_factory=precise_loop) as runner:
            url = process.url if process else target.url or ""
            run = _Run(settings, target, url, cores, process, progress)
            measured = runner.run(run.measure(queries))
        environment = capture_environment()
    return {
        **header(KIND, SCHEMA_VERSION, environment, watch.report.to_json()),
        **measured,
    }


def _queries(settings: LoadSettings) -> list[str]:
    """Return the dataset's queries, none if the service is to be asked for them."""
    if settings.dataset is None:
        return []
    dataset = open_dataset(settings.dataset)
    return distinct_queries(dataset, settings.queries, settings.seed, at_least=1)


class _Run:
    """One load on a running service."""

    def __init__(
        self,
        settings: LoadSettings,
        target: Target,
        url: str,
        cores: Cores | None,
        process: ServiceProcess | None,
        progress: Progress,
    ) -> None:
        self.settings = settings
        self.target = target
        self.url = url
        self.cores = cores
        self.process = process
        self.progress = progress
        self.clock = RealClock()
        self.shape = settings.shape

    async def measure(self, queries: list[str]) -> dict[str, Any]:
        settings, headers = self.settings, self.target.headers
        async with HttpClient(Address.of(self.url), settings.timeout_s) as client:
            await client.warm(_WARM_CONNECTIONS)
            queries = queries or await fetch_queries(client, headers, settings.queries)
            filters = (
                await learn_filters(client, headers, queries)
                if settings.mix in ("filtered", "mixed")
                else []
            )
            streams = make_mix(
                settings.mix, queries, filters, options=settings.options, seed=settings.seed
            )
            plain = make_mix("unique", queries, options=settings.options, seed=settings.seed)[0]
            service = SearchService(client, headers)
            self.progress("warming up", 0, None)
            await warm(service, service.prepared(SEARCH, plain.bodies), settings.warmup)
            cost = await self._cost(service, plain)
            loaded = await self._load(client, streams)
        return {
            "workload": {**settings.to_json(), "queries_hash": workload_hash(queries)},
            "http_cost": cost,
            **loaded,
        }

    async def _cost(self, service: SearchService, plain: Stream) -> dict[str, Any] | None:
        """Measure the endpoint that finds nothing, and the service in the same way."""
        seconds = self.settings.cost_seconds
        if not seconds or self.cores is None:
            return None
        rate = self.settings.rate
        self.progress("the cost of HTTP", 0, None)
        requests = service.prepared(SEARCH, plain.bodies)
        return await http_cost(service, requests, plain.bodies, rate, seconds, self.cores.service)

    def _plan(self, stream: Stream, place: int) -> LoadPlan:
        return LoadPlan.shaped(
            self.shape.scaled(stream.share),
            segments=self.settings.segments,
            seed=self.settings.seed + place,
            timeout_s=self.settings.timeout_s,
            max_in_flight=self.settings.max_in_flight,
        )

    def _limit(self, plan: LoadPlan) -> Limit | None:
        """Return when to stop: steps go on until they break, other scenarios to their end."""
        if self.settings.scenario != "steps":
            return None
        return Limit(SLO_NS, max(int(_LOST * plan.rate * plan.seconds * 2 / STEPS), 20))

    async def _load(self, client: HttpClient, streams: Sequence[Stream]) -> dict[str, Any]:
        """Send all streams side by side."""
        audit = await self_test(self.shape.peak, self.clock, 1.0, self.settings.seed)
        prepared = [service_for(s, client, self.target.headers, self.clock) for s in streams]
        plans = [self._plan(stream, place) for place, stream in enumerate(streams)]
        stage = f"{self.settings.scenario} load"
        ticking = asyncio.create_task(tick(self.progress, stage, round(self.shape.seconds)))
        usage = UsageWatch(self.process.usage, self.clock) if self.process else None
        try:
            with StallWatch() as stalls:
                async with usage or nullcontext():
                    results = await asyncio.gather(
                        *(
                            run_load(service, requests, plan, self.clock, limit=self._limit(plan))
                            for (service, requests), plan in zip(prepared, plans, strict=True)
                        )
                    )
        finally:
            ticking.cancel()
        if self.process:
            self.process.check_alive()
        stalls_ns = list(stalls.stalls_ns)
        lag = Histogram.merge(result.lag for result in results)
        busiest = max(result.cpu_share for result in results)
        obstacles = list(
            dict.fromkeys(
                (
                    *(each for result in results for each in result.obstacles()),
                    *audit.obstacles(),
                    *generator_obstacles(lag, busiest),
                )
            )
        )
        cached = [service.cached for service, _ in prepared]
        return {
            "generator": {
                "name": "dtrag",
                "open_loop": True,
                "processes": 1,
                "lag": lag.to_json(),
                "cpu_share": busiest,
                "self_test": audit.to_json(),
                "stalls_ns": stalls_ns,
                "obstacles": obstacles,
            },
            "service": {
                "started": self.process is not None,
                "arguments": list(self.target.command[1:]),
                "cores": self.cores and self.cores.to_json(),
                "usage": usage and usage.to_json(),
            },
            "streams": [
                stream_json(stream, result.segments, plan=plan, result=result, cached=hits)
                for stream, result, plan, hits in zip(streams, results, plans, cached, strict=True)
            ],
            **self._judged(streams, results, obstacles, stalls_ns, sum(cached)),
        }

    def _judged(
        self,
        streams: Sequence[Stream],
        results: Sequence[LoadResult],
        obstacles: Sequence[str],
        stalls_ns: Sequence[int],
        cached: int,
    ) -> dict[str, Any]:
        searching = [r.segments for s, r in zip(streams, results, strict=True) if not s.batches]
        everything = side_by_side([result.segments for result in results])
        if self.settings.scenario == "steps":
            searches = side_by_side(searching) if searching else everything
            return {"steps": steps_json(levels(searches, self.shape)), "targets": []}
        targets = judge_load(
            side_by_side(searching) if searching else [],
            everything,
            self.shape.mean,
            obstacles,
            (*host_stalls(stalls_ns, self.shape.seconds), *((CACHED,) if cached else ())),
        )
        return {"steps": None, "targets": of_scenario(targets)}
