"""Tells the metrics what the parts of the service say of themselves."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from dtrag_core.api.metrics import ServiceMetrics
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.optimization.circuit_breaker import BreakerStatistics

if TYPE_CHECKING:
    from dtrag_core.api.service import Service


def observe(service: "Service") -> None:
    """Bring gauges and totals up to date."""
    metrics = service.metrics
    for name, resource in service.controller.statistics().resources.items():
        pool, limiter, breaker = resource.pool, resource.limiter, resource.breaker
        metrics.level(name, "in_use", pool.in_use)
        metrics.level(name, "waiting", pool.waiting)
        for event in ("entered", "refused", "timed_out", "expired"):
            metrics.total(name, f"pool_{event}", getattr(pool, event))
        if limiter is not None:
            metrics.level(name, "limit", limiter.limit)
            metrics.level(name, "in_flight", limiter.in_flight)
            metrics.total(name, "limiter_admitted", limiter.admitted)
            metrics.total(name, "limiter_refused", limiter.refused)
        if breaker is not None:
            _observe_breaker(metrics, breaker)
    for leg_breaker in service.dao.breakers.values():
        _observe_breaker(metrics, leg_breaker.statistics())
    batches = asdict(service.processor.statistics())
    for level in ("waiting", "running_batches"):
        metrics.level("batches", level, batches[level])
    for event in (
        "shared",
        "answered",
        "failed",
        "expired",
        "left",
        "refused",
        "dropped",
        "computed",
    ):
        metrics.total("batches", event, batches[event])
    metrics.level("cache", "entries", len(service.cache))
    for what, value in asdict(service.jobs.store.statistics()).items():
        metrics.jobs(what, value)
    engine = service.dao.engine
    generation = engine.manifest.generation if isinstance(engine, EmbeddedEngine) else 0
    metrics.index(generation, engine.info.chunks)


def _observe_breaker(metrics: ServiceMetrics, breaker: BreakerStatistics) -> None:
    metrics.breaker(breaker.name, breaker.state)
    for event in ("failed", "refused", "opened"):
        metrics.total(breaker.name, f"breaker_{event}", getattr(breaker, event))
