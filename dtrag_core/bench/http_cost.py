"""What HTTP itself costs: the same small measurement of an endpoint that finds nothing."""

import sys
from collections.abc import Sequence
from statistics import fmean
from typing import Any, Final

from dtrag_core.bench.capacity import closed_loop_rate
from dtrag_core.bench.clock import RealClock
from dtrag_core.bench.http_client import Address, HttpClient
from dtrag_core.bench.http_service import SearchService
from dtrag_core.bench.load import run_load
from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.bench.mixes import SEARCH
from dtrag_core.bench.service_process import ServiceProcess
from dtrag_core.bench.statistics import mean_interval

NOOP_COMMAND: Final = (sys.executable, "-m", "dtrag_core.bench.noop_service")
CONNECTIONS: Final = 32
_WARMUP: Final = 200
_TURNS: Final = 5


async def http_cost(
    service: SearchService,
    requests: Sequence[bytes],
    bodies: Sequence[bytes],
    rate: float,
    seconds: float,
    cores: Sequence[int],
) -> dict[str, Any]:
    """Measure a service and the endpoint that finds nothing, started on `cores`, in turns.

    Both are asked the same: `bodies` are those of `requests`. Of each, `closed_rate`: answered per
    s by a closed loop of 32 connections, over `seconds` in all, cut into turns, between which what
    else the machine does is shared: throughput, never a latency. `open`: a load of `rate` for
    `seconds`. `share`: which part of what HTTP alone allows the service reaches, the mean of the
    turns, with its interval.
    """
    clock = RealClock()
    with ServiceProcess(NOOP_COMMAND, cores) as process:
        async with HttpClient(Address.of(process.url)) as client:
            nothing = SearchService(client, {})
            sides = {
                "service": (service, requests),
                "noop": (nothing, nothing.prepared(SEARCH, bodies)),
            }
            rates: dict[str, list[float]] = {name: [] for name in sides}
            for side, asked in sides.values():
                for request in asked[:_WARMUP]:
                    await side(request)
            for _ in range(_TURNS):
                for name, (side, asked) in sides.items():
                    closed = await closed_loop_rate(
                        side, asked, clock, seconds=seconds / _TURNS, workers=CONNECTIONS
                    )
                    rates[name].append(closed)
            costs: dict[str, Any] = {
                name: {
                    "closed_rate": fmean(rates[name]),
                    "connections": CONNECTIONS,
                    "open": await _opened(side, asked, rate, seconds),
                }
                for name, (side, asked) in sides.items()
            }
    shares = [own / noop for own, noop in zip(rates["service"], rates["noop"], strict=True)]
    interval = mean_interval(shares)
    return {**costs, "share": interval.value, "share_interval": interval.to_json()}


async def _opened(
    service: SearchService, requests: Sequence[bytes], rate: float, seconds: float
) -> dict[str, Any]:
    """Return how an open load went, with histogram and percentiles."""
    opened = await run_load(service, requests, LoadPlan(rate, seconds, 2), RealClock())
    return {
        "rate": rate,
        "seconds": seconds,
        "sent": opened.sent,
        "failed": opened.failed,
        "histogram": opened.histogram.to_json(),
        "percentiles_ms": opened.histogram.percentiles_ms(opened.failed),
    }
