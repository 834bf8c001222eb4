"""A complete result made of seeded numbers, through the real histograms and statistics."""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from dtrag_core.bench.clock import quiet_gc
from dtrag_core.bench.gates import gate_interval
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.bench.load_result import LoadResult, Segment
from dtrag_core.bench.quality import equal_quality
from dtrag_core.bench.statistics import Interval, mean_interval, ratio_interval
from dtrag_core.targets import PERFORMANCE_TARGETS

Result: TypeAlias = dict[str, Any]
ARMS = {"legacy": 1.3e6, "legacy_again": 1.3e6, "optimized_sequential": 1.1e6, "optimized": 1.0e6}


def _percentiles(histogram: Histogram) -> dict[str, float | None]:
    shown = {name: histogram.shown(q) for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
    return {name: None if ns is None else ns / 1e6 for name, ns in shown.items()}


def _load(rng: np.random.Generator, median_ns: float, failed: int) -> LoadResult:
    plan = LoadPlan(50.0, 120.0)
    segments = []
    for k in range(plan.segments):
        ns = median_ns * np.exp(rng.normal(rng.normal(0, 0.03), 0.5, 500))
        lost = failed if k == 0 else 0
        segments.append(
            Segment(Histogram.of(ns[lost:].astype(np.int64)), {"timeout": lost} if lost else {})
        )
    lag = Histogram.of(rng.integers(0, 100_000, 6_000))
    return LoadResult(plan, tuple(segments), lag, 0.0, 0.1, 120.0)


def _mode(histogram: Histogram) -> Result:
    spans = [{"name": "bm25", "start_us": 0.0, "end_us": 400.0, "thread": 0}]
    timeline = {"label": "typical", "total_ms": 1.0, "overlapped": False, "spans": spans}
    return {
        "switches": {"overlap": False, "int8": False},
        "loop": "closed, one at a time",
        "n": histogram.count,
        "mean_ms": (histogram.mean or 0) / 1e6,
        "percentiles_ms": _percentiles(histogram),
        "histogram": histogram.to_json(),
        "timeline": [timeline],
    }


def _speedup(arms: list[dict[str, NDArray[np.float64]]], kernels: list[list[float]]) -> Result:
    def ratio(numerator: str, denominator: str) -> Result:
        return ratio_interval([np.log(a[numerator] / a[denominator]) for a in arms]).to_json()

    one = Interval(1.0, 1.0, 1.0, 30).to_json()
    decision = {"overlap": False, "reason": "too cheap", "bm25_us": 9.0, "vector_us": 8.0}
    return {
        "end_to_end": ratio("legacy", "optimized"),
        "scheduling": ratio("optimized_sequential", "optimized"),
        "ladder": [{"rung": "legacy", "cumulative": one, "step": one}],
        "leave_one_out": [{"switch": "int8", "ratio": one}],
        "overlap": {
            "bound": 1.8,
            "measured": one,
            "legs_us": {"bm25": 400.0, "vector": 500.0},
            "decision": {**decision, "hop_us": 80.0},
        },
        "rounds": [
            {
                "process": number,
                "reference_ns": kernel,
                "arms": {name: means.tolist() for name, means in process.items()},
            }
            for number, (process, kernel) in enumerate(zip(arms, kernels, strict=True))
        ],
    }


def _memory() -> Result:
    leg = {"legacy_bytes": 1000, "optimized_bytes": 260, "efficiency": 0.74}
    outside = {"uss": 5_000, "pss": None, "rss": 9_000, "file_resident": {"vectors.f32": None}}
    return {
        "inside": {
            "legacy": {"vectors": 1000},
            "optimized": {"codes": 250, "scales": 10},
            "vector_leg": leg,
            "whole_index": {"legacy_bytes": 2000, "optimized_bytes": 1260, "efficiency": 0.37},
        },
        "outside": {"legacy": dict(outside), "optimized": dict(outside)},
        "quality_cost": "/quality/optimized_vs_legacy",
    }


def _cache(histogram: Histogram) -> Result:
    rates = np.random.default_rng(5).normal(0.74, 0.002, 20)
    answers = {"n": histogram.count, "percentiles_ms": _percentiles(histogram)}
    return {
        "settings": {
            "zipf_s": 1.0,
            "distinct": 5_000,
            "requests": 20_000,
            "capacity": 1_000,
            "streams": 20,
        },
        "service_hit_rate": 0.7,
        "hit_rate": mean_interval(rates).to_json(),
        "streams": rates.tolist(),
        "ceiling": 0.8,
        "hit": answers,
        "miss": answers,
        "curve": [{"s": 1.0, "hit_rate": 0.74, "ceiling": 0.8}],
    }


def build_result(
    seed: int = 0,
    *,
    slower: float = 1.0,
    host: float = 1.0,
    processes: int = 5,
    failed: int = 0,
) -> Result:
    """Return a result whose optimised path is `slower`, on a host that takes `host` times as long.

    Between fresh processes every arm differs by 1 %; `failed` requests of the load time out.
    """
    rng = np.random.default_rng(seed)
    arms, kernels = [], []
    for _ in range(processes):
        kernels.append((5e6 * host * np.exp(rng.normal(0, 0.01, 6))).tolist())
        arms.append(
            {
                arm: ns
                * host
                * (slower if arm.startswith("optimized") else 1.0)
                * np.exp(rng.normal(rng.normal(0, 0.01), 0.02, 6))
                for arm, ns in ARMS.items()
            }
        )
    load = _load(rng, 1e6 * host * slower, failed)
    histograms = {
        arm: Histogram.of(np.concatenate([a[arm] for a in arms]).astype(np.int64)) for arm in ARMS
    }
    sha = "0123456789abcdef"
    self_test = {"rate": 100.0, "lag_p50_ns": 1, "lag_p90_ns": 2, "failed": 0, "cpu_share": 0.1}
    interval = Interval(1.0, 0.9, 1.1, 30)
    own_load = {
        **load.to_json(),
        "percentiles_ms": _percentiles(load.histogram),
        "self_test": {**self_test, "ok": True},
        "stalls_ns": [],
    }
    own_capacity = {
        "low": 900.0 / host / slower,
        "high": 990.0 / host / slower,
        "n": 6000,
        "reason": "",
        "guess": 1000.0,
        "steps": [],
        "self_tests": [],
    }
    side = {
        "closed_rate": 1000.0,
        "connections": 32,
        "open": {
            "rate": 50.0,
            "seconds": 5.0,
            "sent": load.sent,
            "failed": load.failed,
            "histogram": load.histogram.to_json(),
            "percentiles_ms": _percentiles(load.histogram),
        },
    }
    return {
        "schema_version": 2,
        "run_id": f"run-{seed}",
        "created": "2026-01-02T03:04:05Z",
        "environment": {
            "cpu_model": "Example CPU",
            "architecture": "x86_64",
            "cores": 2,
            "memory_bytes": 8 << 30,
            "os": "Example OS",
            "kernel": "1.0",
            "python": "CPython 3.11.0",
            "packages": {"numpy": "2.2.0"},
            "thread_pools": [],
            "thread_env": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": None},
            "git": None,
            "load_average": [0.1, 0.2, 0.3],
            "container": {"cpu_limit": None, "memory_limit_bytes": None},
        },
        "dataset": {
            "spec": "synthetic:1000",
            "fingerprint": sha,
            "caveat": "made up",
            "chunks": 1000,
            "queries": {"train": 10, "test": 10},
        },
        "engine": {
            "name": "embedded",
            "content_hash": sha,
            "embedder": {"spec": "static", "fingerprint": sha, "dimension": 256},
            "bm25": {"k1": 1.2, "b": 0.75},
            "analyzer": "english",
            "fusion": {"method": "weighted", "bm25_weight": 0.4, "rrf_k": 60},
            "cosine_min": -0.1,
        },
        "workload": {
            "queries_hash": sha,
            "topk": 5,
            "bm25_topk": 12,
            "vector_topk": 12,
            "rerank_candidates": 50,
            "rate": 50.0,
            "load_seconds": 120.0,
            "segments": 12,
            "capacity_seconds": 60.0,
            "rounds": 30,
            "queries_per_round": 100,
            "processes": processes,
            "seed": 0,
            "warmup": 100,
        },
        "targets": [
            gate_interval(target, interval).to_json() for target in PERFORMANCE_TARGETS.values()
        ],
        "modes": {arm: _mode(histogram) for arm, histogram in histograms.items()},
        "load": own_load,
        "capacity": own_capacity,
        "service": {
            "workers": 1,
            "cores": {"service": [0], "generator": [1], "apart": True},
            "http_cost": {"service": side, "noop": side, "share": 1.0},
            "capacity_beside_writer": None,
        },
        "in_process": {
            "targets": [],
            "load": own_load,
            "capacity": own_capacity,
            "cache": {name: _cache(histograms["optimized"])[name] for name in ("hit", "miss")},
        },
        "speedup": _speedup(arms, kernels),
        "memory": _memory(),
        "cache": _cache(histograms["optimized"]),
        "quality": {
            "judged": None,
            "optimized_vs_legacy": equal_quality([1.0, 1.0, 0.99]).to_json(),
        },
        "noise_floor": {"a_a": interval.to_json(), "floor": 0.03},
    }


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """The factory of example results."""
    return build_result


@pytest.fixture(scope="module")
def few_to_collect() -> Iterator[None]:
    """For modules of many loads: each collects garbage first, a second for all that is imported."""
    with quiet_gc():
        yield
