"""An experiment on a service started for it: own cores, warm, and stopped afterwards."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from dtrag_core.bench.clock import precise_loop
from dtrag_core.bench.http_client import Address, HttpClient
from dtrag_core.bench.http_service import SearchService
from dtrag_core.bench.mixes import SEARCH, make_mix
from dtrag_core.bench.service_process import Cores, ServiceProcess, kept_to
from dtrag_core.types import Progress

R = TypeVar("R")
Experiment = Callable[[ServiceProcess, SearchService, Sequence[bytes]], Awaitable[R]]
"""Is given the process, the service to send to, and searches to send, each query once."""


async def warm(service: SearchService, requests: Sequence[bytes], count: int) -> None:
    """Send the last `count` of some requests, one after the other."""
    for request in requests[len(requests) - min(count, len(requests)) :]:
        await service(request)


async def tick(progress: Progress, stage: str, seconds: int) -> None:
    """Tell once a second how far a stage of so many seconds is."""
    for second in range(seconds):
        progress(stage, second, seconds)
        await asyncio.sleep(1)


def run_on_service(
    command: Sequence[str],
    queries: Sequence[str],
    experiment: Experiment[R],
    *,
    workers: int = 1,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 5.0,
    warmup: int = 200,
) -> R:
    """Start a service, run an experiment on it from another core, and return what it returns."""
    cores = Cores.split(workers)
    requests = make_mix("unique", queries)[0].bodies

    async def main(process: ServiceProcess) -> R:
        async with HttpClient(Address.of(process.url), timeout_s) as client:
            service = SearchService(client, headers or {})
            prepared = service.prepared(SEARCH, requests)
            await warm(service, prepared, warmup)
            return await experiment(process, service, prepared)

    with (
        kept_to(cores.generator),
        ServiceProcess(command, cores.service) as process,
        asyncio.Runner(loop_factory=precise_loop) as runner,
    ):
        return runner.run(main(process))
