"""The cache under the frozen mix: hit rate from cold, its ceiling, the cost of hits and misses."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from dtrag_core.bench.arms import OPTIMIZED_ARM, open_arm
from dtrag_core.bench.clock import RealClock, quiet_gc
from dtrag_core.bench.gates import IN_PROCESS, gate_interval
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.statistics import mean_interval
from dtrag_core.bench.tasks import TaskInput, run
from dtrag_core.bench.workload import CacheMix, ceiling, zipf_stream
from dtrag_core.search.cache import SingleFlightCache
from dtrag_core.search.dao import SearchCaches
from dtrag_core.targets import PERFORMANCE_TARGETS
from dtrag_core.types import Progress

CURVE: Final = (0.6, 0.8, 1.0, 1.2, 1.4)
_CURVE_STREAMS: Final = 4


def cache(task: TaskInput, progress: Progress) -> dict[str, Any]:
    """Measure the result cache: the first stream by real searches, the others by the cache alone.

    A hit rate depends on the stream and the cache only, not on what is stored, so that streams
    after the first store nothing. Where the dataset has fewer queries than the mix asks for,
    stand-ins that are never searched fill it up: then every stream is run by the cache alone, and
    the searches give latencies only.
    """
    mix, seed = task.settings.cache, task.settings.seed
    known = task.queries[: mix.distinct]
    distinct = [*known, *(f"stand-in {number}" for number in range(len(known), mix.distinct))]
    streams = [
        zipf_stream(distinct, mix.requests, mix.zipf_s, seed + number)
        for number in range(mix.streams)
    ]
    asked = zipf_stream(known, mix.requests, mix.zipf_s, seed)
    searched, hit, miss = run(_searched(task, asked, progress))
    rates = [searched] if asked == streams[0] else []
    for stream in streams[len(rates) :]:
        rates.append(run(hit_rate(stream, mix)))
        progress("cache, streams", len(rates), mix.streams)
    interval = mean_interval(rates)
    target = gate_interval(PERFORMANCE_TARGETS["cache_hit_rate"], interval).to_json()
    return {
        "targets": [{**target, "definition": IN_PROCESS["cache_hit_rate"]}],
        "cache": {
            "settings": {
                "zipf_s": mix.zipf_s,
                "distinct": mix.distinct,
                "requests": mix.requests,
                "capacity": mix.capacity,
                "streams": mix.streams,
            },
            "hit_rate": interval.to_json(),
            "streams": rates,
            "ceiling": float(np.mean([ceiling(stream) for stream in streams])),
            "hit": answers_json(hit),
            "miss": answers_json(miss),
            "curve": [_point(distinct, s, mix, seed) for s in CURVE],
        },
    }


async def hit_rate(stream: Sequence[str], mix: CacheMix) -> float:
    """Return the hit rate of a cold cache over a stream, without searching."""
    stored: SingleFlightCache[str] = SingleFlightCache(mix.capacity)

    async def found() -> str:
        return ""

    for query in stream:
        await stored.get_or_compute(query, found)
    return stored.statistics().hit_rate


async def _searched(
    task: TaskInput, stream: Sequence[str], progress: Progress
) -> tuple[float, list[int], list[int]]:
    """Return the hit rate of real searches through a cold cache; latencies of hits and misses."""
    capacity = task.settings.cache.capacity
    caches = SearchCaches(SingleFlightCache(capacity), SingleFlightCache(capacity))
    arm = open_arm(task.open(), OPTIMIZED_ARM, task.settings.depths, caches)
    now = RealClock().now_ns
    taken: dict[bool, list[int]] = {True: [], False: []}
    with quiet_gc():
        for number, query in enumerate(stream, 1):
            start = now()
            result = await arm.search(query)
            taken[result.from_cache].append(now() - start)
            if number % 1_000 == 0:
                progress("cache, searching", number, len(stream))
    arm.close()
    return caches.results.statistics().hit_rate, taken[True], taken[False]


def answers_json(latencies: Sequence[int]) -> dict[str, Any]:
    """Return latencies, ns, as a result keeps them: `n`, `percentiles_ms` and `histogram`."""
    histogram = Histogram.of(latencies)
    return {
        "n": histogram.count,
        "percentiles_ms": histogram.percentiles_ms(),
        "histogram": histogram.to_json(),
    }


def _point(distinct: Sequence[str], s: float, mix: CacheMix, seed: int) -> dict[str, float]:
    streams = [zipf_stream(distinct, mix.requests, s, seed + n) for n in range(_CURVE_STREAMS)]
    return {
        "s": s,
        "hit_rate": float(np.mean([run(hit_rate(stream, mix)) for stream in streams])),
        "ceiling": float(np.mean([ceiling(stream) for stream in streams])),
    }
