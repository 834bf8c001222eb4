"""The service measured: what the targets on latency, throughput, cache and errors are judged by.

It is started three times over the run's index: without its cache for the load and the capacity,
with one of the mix's capacity for the hit rate, and on a copy of the index that is being written.
"""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import orjson

from dtrag_core.bench.cache_mix import answers_json
from dtrag_core.bench.clock import RealClock, quiet_gc
from dtrag_core.bench.http_cost import http_cost
from dtrag_core.bench.http_service import SearchService
from dtrag_core.bench.ingest import RATE, linked_copy
from dtrag_core.bench.ingest_feed import FeedOrder
from dtrag_core.bench.ingest_writer import WriterProcess
from dtrag_core.bench.load_tasks import measure_capacity, measure_load, search_capacity
from dtrag_core.bench.service_process import Cores, ServiceProcess, serve_command
from dtrag_core.bench.service_session import run_on_service
from dtrag_core.bench.settings import MeasureSettings
from dtrag_core.bench.tasks import TaskInput
from dtrag_core.bench.workload import zipf_stream
from dtrag_core.embedding.registry import embedder_info
from dtrag_core.index.manifest import read_manifest
from dtrag_core.types import Progress

_COST_SECONDS: Final = 5.0


def service(task: TaskInput, progress: Progress) -> dict[str, Any]:
    """Measure the service: load, capacity, what HTTP costs, hit rate, capacity beside a writer.

    Returns `targets` on P95, errors and throughput, the blocks `load` and `capacity`, the hit rate
    and latencies of one stream (`cache`), and the block `service`.
    """
    bodies = bodies_of(task.queries, task.settings)
    with jobs_apart() as jobs:
        plain = run_on_service(
            serve_command(str(task.location), "--no-cache", *jobs),
            bodies,
            lambda process, sends, requests: _plain(sends, requests, bodies, task, progress),
        )
        cached = _cached(task, jobs, progress)
        written = _beside_a_writer(task, bodies, jobs, progress)
    return {
        "targets": plain["targets"],
        "load": plain["load"],
        "capacity": plain["capacity"],
        "cache": cached,
        "service": {
            "workers": 1,
            "cores": Cores.split().to_json(),
            "http_cost": plain["http_cost"],
            "capacity_beside_writer": written,
        },
    }


@contextmanager
def jobs_apart() -> Iterator[tuple[str, str]]:
    """Give options that keep batch jobs away from the index that is measured."""
    with tempfile.TemporaryDirectory(prefix="dtrag-jobs-") as folder:
        yield "--jobs", str(Path(folder) / "jobs.sqlite")


def bodies_of(queries: Sequence[str], settings: MeasureSettings) -> list[bytes]:
    """Return searches for these queries, to the depths of the run, as JSON."""
    depths = asdict(settings.depths)
    return [orjson.dumps({"query": query, **depths}) for query in queries]


async def _plain(
    sends: SearchService,
    requests: Sequence[bytes],
    bodies: Sequence[bytes],
    task: TaskInput,
    progress: Progress,
) -> dict[str, Any]:
    settings = task.settings
    load = await measure_load(sends, requests, settings, progress)
    capacity = await measure_capacity(sends, requests, settings, progress)
    progress("what HTTP costs", 0, None)
    seconds = min(_COST_SECONDS, settings.capacity_seconds)
    cores = Cores.split().service
    cost = await http_cost(sends, requests, bodies, settings.rate, seconds, cores)
    return {
        **load,
        **capacity,
        "targets": [*load["targets"], *capacity["targets"]],
        "http_cost": cost,
    }


def _cached(task: TaskInput, jobs: Sequence[str], progress: Progress) -> dict[str, Any]:
    """Return the hit rate of one stream from a cold start, and the latencies of hits and misses.

    Requests go one after the other: which of them hit depends on the stream alone then.
    """
    mix, settings = task.settings.cache, task.settings
    known = task.queries[: mix.distinct]
    bodies = bodies_of(zipf_stream(known, mix.requests, mix.zipf_s, settings.seed), settings)

    async def stream(
        process: ServiceProcess, sends: SearchService, requests: Sequence[bytes]
    ) -> dict[str, Any]:
        now = RealClock().now_ns
        taken: tuple[list[int], list[int]] = [], []
        with quiet_gc():
            for number, request in enumerate(requests, 1):
                before, start = sends.cached, now()
                await sends(request)
                taken[sends.cached > before].append(now() - start)
                if number % 1_000 == 0:
                    progress("cache of the service", number, len(requests))
                    await asyncio.sleep(0)
        return {
            "hit_rate": len(taken[1]) / len(requests),
            "whole_mix": len(known) == mix.distinct,
            "hit": answers_json(taken[1]),
            "miss": answers_json(taken[0]),
        }

    command = serve_command(str(task.location), "--cache-size", str(mix.capacity), *jobs)
    return run_on_service(command, bodies, stream, warmup=0)


def _beside_a_writer(
    task: TaskInput, bodies: Sequence[bytes], jobs: Sequence[str], progress: Progress
) -> dict[str, Any] | None:
    """Return the capacity while another process adds chunks; None where that is not measured."""
    settings, manifest = task.settings, read_manifest(task.location)
    if not settings.ingest_seconds or not embedder_info(manifest.embedder).any_text:
        return None
    with ExitStack() as stack:
        parent = task.location.resolve().parent
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix=".ingest-", dir=parent))
        copy = linked_copy(task.location, Path(scratch) / "index")
        order = FeedOrder(str(copy), manifest.dataset, RATE)
        writer = stack.enter_context(WriterProcess(order))
        writer.settle()

        async def searched(
            process: ServiceProcess, sends: SearchService, requests: Sequence[bytes]
        ) -> dict[str, Any]:
            writer.write_for(settings.capacity_seconds)
            found = await search_capacity(sends, requests, settings, progress)
            return found.to_json()

        return run_on_service(serve_command(str(copy), "--no-cache", *jobs), bodies, searched)
