"""Result blocks from what the tasks measured: ratios, ladder, memory, and the targets decided."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from dtrag_core.bench.gates import TargetResult, Verdict, gate_interval
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.rounds import RoundsResult, ratio
from dtrag_core.bench.statistics import Interval, mean_interval
from dtrag_core.index.manifest import Manifest
from dtrag_core.targets import PERFORMANCE_TARGETS

NOT_EQUAL: Final = "the optimised path does not answer as well as legacy"


def engine_block(name: str, manifest: Manifest) -> dict[str, Any]:
    """Return the block `engine` of a result."""
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
        "vectors": {
            "structure": manifest.vectors.structure,
            "probes": manifest.vectors.probes,
            "recall_at_10": manifest.vectors.recall,
            "floor": manifest.vectors.floor,
            "queries": manifest.vectors.queries,
        },
        "segments": len(manifest.segments),
    }


def modes_block(
    measured: Sequence[RoundsResult], described: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the block `modes`: every arm's latencies over all processes, and how it ran."""
    modes = {}
    for arm, description in described.items():
        histogram = Histogram.merge(one.histogram(arm) for one in measured)
        modes[arm] = {
            **description,
            "loop": "closed, one at a time",
            "n": histogram.count,
            "mean_ms": (histogram.mean or 0.0) / 1e6,
            "percentiles_ms": histogram.percentiles_ms(),
            "cold_first_ms": [
                float(one.cold[arm][0]) / 1e6 for one in measured if one.cold[arm].size
            ],
            "histogram": histogram.to_json(),
        }
    return modes


def speedup_block(
    measured: Sequence[RoundsResult], parts: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the block `speedup`: ratios, ladder, leave-one-out, overlap, and the raw rounds."""

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


def noise_floor_block(measured: Sequence[RoundsResult]) -> dict[str, Any]:
    """Return the block `noise_floor`: an arm against itself, as far as it can seem to differ."""
    again = ratio(measured, AGAIN_ARM, OPTIMIZED_ARM)
    floor = max(again.high, 1 / again.low) - 1
    return {"a_a": again.to_json(), "floor": max(floor, 0.0)}


def cache_block(cache: Mapping[str, Any], service: Mapping[str, Any]) -> dict[str, Any]:
    """Return the block `cache`: hit rates over streams, hits and misses as the service gave them.

    The first stream is the one that was sent to the service, where it could be.
    """
    answered = {name: service[name] for name in ("hit", "miss")}
    return {**cache, **answered, "service_hit_rate": service["hit_rate"]}


def cache_target(cache: Mapping[str, Any], service: Mapping[str, Any]) -> TargetResult:
    """Judge the hit rate over all streams, the service's own among them if it was sent the mix."""
    rates = list(cache["streams"])
    if service["whole_mix"]:
        rates[0] = service["hit_rate"]
    return gate_interval(PERFORMANCE_TARGETS["cache_hit_rate"], mean_interval(rates))


def in_process_block(
    inside: Mapping[str, Mapping[str, Any]], cache: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the block `in_process`: what the same searches do without a service round them."""
    targets = [target for part in (*inside.values(), cache) for target in part["targets"]]
    return {
        "targets": targets,
        "load": inside["load"]["load"],
        "capacity": inside["capacity"]["capacity"],
        "cache": {name: cache["cache"][name] for name in ("hit", "miss")},
    }


def memory_block(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the block `memory` from what the memory task measured of each arm."""
    legacy, optimized = (parts[arm]["inside"] for arm in (LEGACY_ARM, OPTIMIZED_ARM))
    return {
        "inside": {
            "legacy": legacy,
            "optimized": optimized,
            "vector_leg": _saved(legacy["vectors"], optimized["vectors"]),
            "whole_index": _saved(sum(legacy.values()), sum(optimized.values())),
            "postings": parts[OPTIMIZED_ARM]["postings"],
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


def memory_target(memory: Mapping[str, Any], chunks: int) -> TargetResult:
    """Judge the memory saved on the vector leg."""
    value = memory["inside"]["vector_leg"]["efficiency"]
    judged = gate_interval(
        PERFORMANCE_TARGETS["memory_efficiency"], Interval(value, value, value, chunks)
    )
    return replace(judged, reason=f"bytes are counted, not sampled: {judged.reason}")


def speedup_target(measured: Sequence[RoundsResult], equal: bool) -> TargetResult:
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
