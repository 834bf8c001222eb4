"""The whole measurement of one index: every task in a fresh process, put together into a result."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dtrag_core.bench.arms import LEGACY_ARM, OPTIMIZED_ARM
from dtrag_core.bench.blocks import (
    cache_block,
    cache_target,
    engine_block,
    in_process_block,
    memory_block,
    memory_target,
    modes_block,
    noise_floor_block,
    speedup_block,
    speedup_target,
)
from dtrag_core.bench.environment import HostWatch
from dtrag_core.bench.quality_task import MAX_JUDGED
from dtrag_core.bench.results import SCHEMA_VERSION
from dtrag_core.bench.rounds import RoundsResult
from dtrag_core.bench.settings import MeasureSettings
from dtrag_core.bench.worker import run_task
from dtrag_core.bench.workload import distinct_queries, workload_hash
from dtrag_core.datasets.base import Dataset
from dtrag_core.embedding.registry import embedder_info
from dtrag_core.index.manifest import Manifest, read_manifest
from dtrag_core.targets import PERFORMANCE_TARGETS
from dtrag_core.types import Progress, no_progress


@dataclass(frozen=True, slots=True)
class Suite:
    """A run to be made: the dataset, its index directory, and the settings."""

    dataset: Dataset
    directory: Path
    settings: MeasureSettings
    engine: str = "embedded"

    def measure(self, progress: Progress = no_progress) -> dict[str, Any]:
        """Measure everything and return the result, as `results.write_result` takes it.

        Raises MeasuringError if a part fails: there is no result with a part missing.
        """
        created = datetime.now(UTC)
        manifest = read_manifest(self.directory)
        settings = self.settings
        progress("drawing queries", 0, None)
        queries = self._queries(manifest)
        with HostWatch() as host:
            environment = self._task("environment", (), progress)
            quality = self._task("quality", queries, progress, self.dataset.info.spec)
            memory = {
                arm: self._task("memory", queries, progress, arm)
                for arm in (LEGACY_ARM, OPTIMIZED_ARM)
            }
            rounds = [
                self._task("rounds", queries, progress, str(number))
                for number in range(settings.processes)
            ]
            service = self._task("service", queries, progress)
            inside = {name: self._task(name, queries, progress) for name in ("load", "capacity")}
            cache = self._task("cache", queries, progress)
            stress = self._stress(service["capacity"]["low"], queries, progress)
            ingest = self._task("ingest", queries, progress)
        measured = [RoundsResult.from_json(part["rounds"]) for part in rounds]
        memory_figures = memory_block(memory)
        speedup = speedup_block(measured, rounds)
        targets = [
            *service["targets"],
            cache_target(cache["cache"], service["cache"]).to_json(),
            memory_target(memory_figures, manifest.chunks).to_json(),
            speedup_target(measured, quality["optimized_vs_legacy"]["equal"]).to_json(),
        ]
        order = list(PERFORMANCE_TARGETS)
        return {
            "schema_version": SCHEMA_VERSION,
            "run_id": f"{created:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
            "created": created.isoformat(),
            "environment": {**environment, "host": host.report.to_json()},
            "dataset": self._dataset(manifest),
            "engine": engine_block(self.engine, manifest),
            "workload": self._workload(queries),
            "targets": sorted(targets, key=lambda target: order.index(target["metric"])),
            "modes": modes_block(measured, rounds[0]["arms"]),
            "load": service["load"],
            "capacity": service["capacity"],
            "service": service["service"],
            "in_process": in_process_block(inside, cache),
            "speedup": speedup,
            "memory": memory_figures,
            "cache": cache_block(cache["cache"], service["cache"]),
            "ingest": ingest["ingest"],
            "stress": stress["stress"],
            "quality": quality,
            "noise_floor": noise_floor_block(measured),
        }

    def measure_quality(self, progress: Progress = no_progress) -> dict[str, Any]:
        """Measure quality alone: the block `quality` of a result."""
        queries: list[str] = []
        if not self.dataset.queries("test"):
            queries = distinct_queries(self.dataset, 1_000, self.settings.seed, at_least=1)
        return self._task("quality", queries, progress, self.dataset.info.spec)

    def _queries(self, manifest: Manifest) -> list[str]:
        """Return as many distinct queries as any task takes, or all that can be embedded."""
        if not embedder_info(manifest.embedder).any_text:
            return list(dict.fromkeys(self.dataset.query_texts()))
        settings = self.settings
        share = -(-settings.rounds // settings.processes)
        needed = settings.warmup + share * settings.queries_per_round
        most = max(needed, settings.cache.distinct)
        return distinct_queries(self.dataset, most, settings.seed, needed)

    def _stress(
        self, sustainable: float | None, queries: Sequence[str], progress: Progress
    ) -> dict[str, Any]:
        """Measure overload and batching, if asked for and a sustainable rate is known."""
        if not self.settings.stress_seconds or sustainable is None:
            return {"stress": None}
        return self._task("stress", queries, progress, str(sustainable))

    def _task(
        self, name: str, queries: Sequence[str], progress: Progress, part: str = ""
    ) -> dict[str, Any]:
        order = {
            "engine": self.engine,
            "location": str(self.directory.absolute()),
            "settings": self.settings.to_json(),
            "queries": list(queries),
            "part": part,
        }
        progress(f"starting {name}", 0, None)
        return run_task(name, order, progress)

    def _dataset(self, manifest: Manifest) -> dict[str, Any]:
        judged = {split: len(self.dataset.queries(split)) for split in ("train", "test")}
        return {
            "spec": manifest.dataset,
            "fingerprint": manifest.dataset_fingerprint,
            "caveat": manifest.caveat,
            "chunks": manifest.chunks,
            "queries": {split: min(count, MAX_JUDGED) for split, count in judged.items()},
        }

    def _workload(self, queries: Sequence[str]) -> dict[str, Any]:
        settings = self.settings
        depths = settings.depths
        return {
            "queries_hash": workload_hash(queries),
            "topk": depths.topk,
            "bm25_topk": depths.bm25_topk,
            "vector_topk": depths.vector_topk,
            "rerank_candidates": depths.rerank_candidates,
            "rate": settings.rate,
            "load_seconds": settings.load_seconds,
            "segments": settings.segments,
            "capacity_seconds": settings.capacity_seconds,
            "ingest_seconds": settings.ingest_seconds,
            "stress_seconds": settings.stress_seconds,
            "rounds": settings.rounds,
            "queries_per_round": settings.queries_per_round,
            "processes": settings.processes,
            "seed": settings.seed,
            "warmup": settings.warmup,
        }
