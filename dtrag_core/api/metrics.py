"""What Prometheus reads; with several workers, from files that they share.

prometheus-client decides when it is imported: with PROMETHEUS_MULTIPROC_DIR set, every value lives
in a mapped file of its process, and whichever worker is asked adds all of them up.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from dtrag_core.types import Span

MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BREAKER_STATES: Final[Mapping[str, int]] = {"closed": 0, "half_open": 1, "open": 2}
_SECONDS: Final = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
_LEG_SECONDS: Final = (
    0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0,
)  # fmt: skip


class ServiceMetrics:
    """The metrics of one process, and their sum over all processes."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Histogram(
            "dtrag_request_seconds",
            "From a request's headers to the end of its answer; refusals too.",
            ("route", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._legs = Histogram(
            "dtrag_leg_seconds",
            "Each step of a computed search.",
            ("leg",),
            buckets=_LEG_SECONDS,
            registry=registry,
        )
        self._batches = Histogram(
            "dtrag_batch_size",
            "Searches that were computed together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self._cache = Counter(
            "dtrag_cache_lookups",
            "Searches by whether their answer was kept: hit or miss.",
            ("source",),
            registry=registry,
        )
        self._events = Counter(
            "dtrag_events",
            "Totals of breakers, limiters, pools, batches and jobs.",
            ("part", "event"),
            registry=registry,
        )
        self._levels = Gauge(
            "dtrag_level",
            "What waits, runs or is allowed now, over all workers.",
            ("part", "level"),
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._jobs = Gauge(
            "dtrag_jobs",
            "What the store of batch jobs holds.",
            ("what",),
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self._breakers = Gauge(
            "dtrag_breaker_state",
            "0 closed, 1 half-open, 2 open; the worst of all workers.",
            ("breaker",),
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._generation = Gauge(
            "dtrag_index_generation",
            "Generation of the index that is searched; of the worker furthest behind.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._chunks = Gauge(
            "dtrag_index_chunks",
            "Chunks that are searched.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._by_request: dict[tuple[str, int], Histogram] = {}
        self._by_leg: dict[str, Histogram] = {}
        self._by_source = {name: self._cache.labels(name) for name in ("hit", "miss")}
        self._totals: dict[tuple[str, str], float] = {}

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        known = self._by_request.get((route, status))
        if known is None:
            known = self._by_request[route, status] = self._requests.labels(route, str(status))
        known.observe(seconds)

    def spans(self, spans: Iterable[Span]) -> None:
        """Count the steps of a search."""
        for span in spans:
            known = self._by_leg.get(span.name)
            if known is None:
                known = self._by_leg[span.name] = self._legs.labels(span.name)
            known.observe((span.end_ns - span.start_ns) / 1e9)

    def batch(self, size: int) -> None:
        """Count a batch."""
        self._batches.observe(size)

    def lookup(self, source: str) -> None:
        """Count a look-up in the cache."""
        self._by_source[source].inc()

    def total(self, part: str, event: str, total: float) -> None:
        """Take note of a total that is counted elsewhere."""
        grown = total - self._totals.get((part, event), 0)
        if grown > 0:
            self._totals[part, event] = total
            self._events.labels(part, event).inc(grown)

    def level(self, part: str, level: str, value: float) -> None:
        """Take note of what there is now."""
        self._levels.labels(part, level).set(value)

    def jobs(self, what: str, value: float) -> None:
        """Take note of what the store of jobs holds: it is the same for all workers."""
        self._jobs.labels(what).set(value)

    def breaker(self, name: str, state: str) -> None:
        """Take note of a breaker's state."""
        self._breakers.labels(name).set(BREAKER_STATES[state])

    def index(self, generation: int, chunks: int) -> None:
        """Take note of what is searched."""
        self._generation.set(generation)
        self._chunks.set(chunks)

    def render(self) -> bytes:
        """Return all metrics as text, of every process that shares them."""
        if MULTIPROCESS not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
