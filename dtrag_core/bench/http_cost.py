"""What HTTP itself costs: the same small measurement of an endpoint that finds nothing."""

import sys
from collections.abc import Sequence
from typing import Any, Final

from dtrag_core.bench.capacity import closed_loop_rate
from dtrag_core.bench.clock import RealClock
from dtrag_core.bench.http_client import Address, HttpClient
from dtrag_core.bench.http_service import SearchService
from dtrag_core.bench.load import run_load
from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.bench.mixes import SEARCH
from dtrag_core.bench.service_process import ServiceProcess

NOOP_COMMAND: Final = (sys.executable, "-m", "dtrag_core.bench.noop_service")
CONNECTIONS: Final = 32
_WARMUP: Final = 200


async def saturated_and_open(
    service: SearchService, requests: Sequence[bytes], rate: float, seconds: float
) -> dict[str, Any]:
    """Return the throughput of a closed loop of 32 connections, and latencies of an open one.

    `closed_rate`: answered per s, saturated, over `seconds`: throughput, never a latency. `open`:
    a load of `rate` for `seconds`, histogram and percentiles.
    """
    clock = RealClock()
    for request in requests[:_WARMUP]:
        await service(request)
    closed = await closed_loop_rate(service, requests, clock, seconds=seconds, workers=CONNECTIONS)
    opened = await run_load(service, requests, LoadPlan(rate, seconds, 2), clock)
    return {
        "closed_rate": closed,
        "connections": CONNECTIONS,
        "open": {
            "rate": rate,
            "seconds": seconds,
            "sent": opened.sent,
            "failed": opened.failed,
            "histogram": opened.histogram.to_json(),
            "percentiles_ms": opened.histogram.percentiles_ms(opened.failed),
        },
    }


async def http_cost(
    service: SearchService,
    requests: Sequence[bytes],
    bodies: Sequence[bytes],
    rate: float,
    seconds: float,
    cores: Sequence[int],
) -> dict[str, Any]:
    """Measure a service, then the endpoint that finds nothing, started on `cores`, likewise.

    Both are asked the same: `bodies` are those of `requests`. `share`: which part of what HTTP
    alone allows the service reaches.
    """
    own = await saturated_and_open(service, requests, rate, seconds)
    with ServiceProcess(NOOP_COMMAND, cores) as process:
        async with HttpClient(Address.of(process.url)) as client:
            nothing = SearchService(client, {})
            same = nothing.prepared(SEARCH, bodies)
            noop = await saturated_and_open(nothing, same, rate, seconds)
    return {"noop": noop, "service": own, "share": own["closed_rate"] / noop["closed_rate"]}
