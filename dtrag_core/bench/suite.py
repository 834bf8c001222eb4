"""The whole measurement of one index: every task in a fresh process, put together into a result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from dtrag_core.bench.arms import (
    AGAIN_ARM,
    ARMS,
    LADDER,
    LEGACY_ARM,
    OPTIMIZED_ARM,
    SEQUENTIAL_ARM,
    WITHOUT,
)
from dtrag_core.bench.environment import HostWatch, capture_environment
from dtrag_core.bench.gates import TargetResult, Verdict, gate_interval
from dtrag_core.bench.quality_task import MAX_JUDGED
from dtrag_core.bench.results import SCHEMA_VERSION
from dtrag_core.bench.rounds import RoundsResult, ratio
from dtrag_core.bench.settings import MeasureSettings
from dtrag_core.bench.statistics import Interval
from dtrag_core.bench.tasks import percentiles_ms
from dtrag_core.bench.worker import run_task
from dtrag_core.bench.workload import distinct_queries, workload_hash
from dtrag_core.datasets.base import Dataset
from dtrag_core.embedding.registry import embedder_info
from dtrag_core.index.manifest import Manifest, read_manifest
from dtrag_core.targets import PERFORMANCE_TARGETS
from dtrag_core.types import Progress, no_progress

NOT_EQUAL: Final = "the optimised path does not answer as well as legacy"


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
        environment = capture_environment()
        settings = self.settings
        progress("drawing queries", 0, None)
        queries = self._queries(manifest)
        with HostWatch() as host:
            quality = self._task("quality", queries, progress, self.dataset.info.spec)
            memory = {
                arm: self._task("memory", queries, progress, arm)
                for arm in (LEGACY_ARM, OPTIMIZED_ARM)
            }
            rounds = [
                self._task("rounds", queries, progress, str(number))
                for number in range(settings.processes)
            ]
            load = self._task("load", queries, progress)
            capacity = self._task("capacity", queries, progress)
            cache = self._task("cache", queries, progress)
        measured = [RoundsResult.from_json(part["rounds"]) for part in rounds]
        memory_block = _memory(memory)
        speedup = _speedup(measured, rounds)
        targets = [
            *load["targets"],
            *capacity["targets"],
            *cache["targets"],
            _memory_target(memory_block, manifest.chunks).to_json(),
            _speedup_target(measured, quality["optimized_vs_legacy"]["equal"]).to_json(),
        ]
        order = list(PERFORMANCE_TARGETS)
        return {
            "schema_version": SCHEMA_VERSION,
            "run_id": f"{created:%Y%m%dT%H%M%SZ}-{manifest.content_hash[:8]}",
            "created": created.isoformat(),
            "environment": {**environment, "host": host.report.to_json()},
            "dataset": self._dataset(manifest),
            "engine": _engine(self.engine, manifest),
            "workload": self._workload(queries),
            "targets": sorted(targets, key=lambda target: order.index(target["metric"])),
            "modes": _modes(measured, rounds[0]["arms"]),
            "load": load["load"],
            "capacity": capacity["capacity"],
            "speedup": speedup,
            "memory": memory_block,
            "cache": cache["cache"],
            "quality": quality,
            "noise_floor": _noise_floor(measured),
        }

    def measure_quality(self, progress: Progress = no_progress) -> dict[str, Any]:
        """Measure quality alone: the block `quality` of a result."""
        queries = self._queries(read_manifest(self.directory))
        return self._task("quality", queries, progress, self.dataset.info.spec)

    def _queries(self, manifest: Manifest) -> list[str]:
        """Return as many distinct queries as any task takes, or all that can be embedded."""
        if not embedder_info(manifest.embedder).any_text:
            return list(dict.fromkeys(self.dataset.query_texts()))
        settings = self.settings
        share = -(-settings.rounds // settings.processes)
        most = max(settings.warmup + share * settings.queries_per_round, settings.cache.distinct)
        return distinct_queries(self.dataset, most, settings.seed)

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
            "rounds": settings.rounds,
            "queries_per_round": settings.queries_per_round,
            "processes": settings.processes,
            "seed": settings.seed,
            "warmup": settings.warmup,
        }


def _engine(name: str, manifest: Manifest) -> dict[str, Any]:
    return {
        "name": name,
        "content_hash": manifest.content_hash,
        "embedder": {
            "spec": manifest.embedder,
            "fingerprint": manifest.embedder_fingerprint,
            "dimension": manifest.dimension,
        },
        "bm25": {"k1": manifest.bm25.k1, "b": manifest.bm25.b},
        "analyzer": manifest.analyzer.profile,
        "fusion": {
            "method": manifest.fusion.method,
            "bm25_weight": manifest.fusion.bm25_weight,
            "rrf_k": manifest.fusion.rrf_k,
        },
        "cosine_min": manifest.cosine_min,
    }


def _modes(
    measured: Sequence[RoundsResult], described: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    modes = {}
    for arm, description in described.items():
        histogram = type(measured[0].histogram(arm)).merge(one.histogram(arm) for one in measured)
        modes[arm] = {
            **description,
            "loop": "closed, one at a time",
            "n": histogram.count,
            "mean_ms": (histogram.mean or 0.0) / 1e6,
            "percentiles_ms": percentiles_ms(histogram),
            "histogram": histogram.to_json(),
        }
    return modes


def _speedup(
    measured: Sequence[RoundsResult], parts: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    def interval(numerator: str, denominator: str) -> dict[str, Any]:
        return ratio(measured, numerator, denominator).to_json()

    rungs = [arm for arm, _ in LADDER]
    scheduling = interval(SEQUENTIAL_ARM, OPTIMIZED_ARM)
    steps = {
        name: float(np.mean([part["steps_us"][name] for part in parts]))
        for name in parts[0]["steps_us"]
    }
    return {
        "end_to_end": interval(LEGACY_ARM, OPTIMIZED_ARM),
        "scheduling": scheduling,
        "ladder": [
            {
                "rung": switch,
                "cumulative": _one() if arm == LEGACY_ARM else interval(LEGACY_ARM, arm),
                "step": _one() if arm == LEGACY_ARM else interval(rungs[place - 1], arm),
            }
            for place, (arm, switch) in enumerate(LADDER)
        ],
        "leave_one_out": [
            {"switch": switch, "ratio": interval(arm, OPTIMIZED_ARM)}
            for switch, arm in WITHOUT.items()
        ],
        "overlap": {
            "bound": overlap_bound(steps),
            "measured": scheduling,
            "legs_us": steps,
            "decision": parts[0]["decision"],
        },
        "rounds": [
            {
                "process": number,
                "reference_ns": one.kernel_ns.tolist(),
                "arms": {arm: one.round_means(arm).tolist() for arm in ARMS},
            }
            for number, one in enumerate(measured)
        ],
    }


def overlap_bound(steps_us: Mapping[str, float]) -> float:
    """Return the most that overlapping can give: (b + v + f) / (max(b, v) + f).

    b is BM25, v the embedding and the vector leg after it, f everything that follows both.
    """
    bm25 = steps_us["bm25"]
    vector = steps_us["embed"] + steps_us["vector"]
    after = sum(steps_us.values()) - bm25 - vector
    return (bm25 + vector + after) / (max(bm25, vector) + after)


def _one() -> dict[str, Any]:
    return Interval(1.0, 1.0, 1.0, 0).to_json()


def _noise_floor(measured: Sequence[RoundsResult]) -> dict[str, Any]:
    again = ratio(measured, AGAIN_ARM, OPTIMIZED_ARM)
    floor = max(again.high, 1 / again.low) - 1
    return {"a_a": again.to_json(), "floor": max(floor, 0.0)}


def _memory(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    legacy, optimized = (parts[arm]["inside"] for arm in (LEGACY_ARM, OPTIMIZED_ARM))
    return {
        "inside": {
            "legacy": legacy,
            "optimized": optimized,
            "vector_leg": _saved(legacy["vectors"], optimized["vectors"]),
            "whole_index": _saved(sum(legacy.values()), sum(optimized.values())),
        },
        "outside": {
            "legacy": parts[LEGACY_ARM]["outside"],
            "optimized": parts[OPTIMIZED_ARM]["outside"],
        },
        "quality_cost": "/quality/optimized_vs_legacy",
        "streaming": parts[OPTIMIZED_ARM]["streaming"],
    }


def _saved(legacy: int, optimized: int) -> dict[str, Any]:
    return {
        "legacy_bytes": legacy,
        "optimized_bytes": optimized,
        "efficiency": 1 - optimized / legacy,
    }


def _memory_target(memory: Mapping[str, Any], chunks: int) -> TargetResult:
    value = memory["inside"]["vector_leg"]["efficiency"]
    judged = gate_interval(
        PERFORMANCE_TARGETS["memory_efficiency"], Interval(value, value, value, chunks)
    )
    return replace(judged, reason=f"bytes are counted, not sampled: {judged.reason}")


def _speedup_target(measured: Sequence[RoundsResult], equal: bool) -> TargetResult:
    """Judge the speed-up at equal quality; the reason names the step that crossed the target."""
    target = PERFORMANCE_TARGETS["parallel_speedup"]
    judged = gate_interval(
        target, ratio(measured, LEGACY_ARM, OPTIMIZED_ARM), () if equal else (NOT_EQUAL,)
    )
    if judged.verdict is Verdict.INCONCLUSIVE:
        return judged
    reached = {switch: ratio(measured, LEGACY_ARM, arm).value for arm, switch in LADDER[1:]}
    crossed = next((switch for switch, value in reached.items() if value >= target.bound), None)
    steps = ", ".join(f"{switch} {value:.2f}x" for switch, value in reached.items())
    who = f"the step {crossed} crosses it" if crossed else "no step crosses it"
    return replace(judged, reason=f"{judged.reason}; {who} (cumulative: {steps})")
