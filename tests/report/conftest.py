"""A whole result made from seeded numbers, through the real histograms."""

import copy
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dtrag_core.bench.arms import AGAIN_ARM, ARMS, LADDER, WITHOUT
from dtrag_core.bench.histogram import Histogram
from dtrag_core.targets import PERFORMANCE_TARGETS

SCALES = {
    "legacy": 1.30,
    "legacy_overlap": 1.24,
    "int8": 1.18,
    "ann": 1.09,
    "optimized_sequential": 1.12,
    "without_overlap": 1.10,
    "without_int8": 1.20,
    "without_ann": 1.15,
    "optimized": 1.06,
    "optimized_again": 1.06,
}
ROUNDS, PROCESSES = 50, 5


def percentiles(histogram: Histogram) -> dict[str, float | None]:
    shown = {
        "p50": histogram.shown(0.5),
        "p95": histogram.shown(0.95),
        "p99": histogram.shown(0.99),
    }
    return {name: None if ns is None else ns / 1e6 for name, ns in shown.items()}


def interval(value: float, half: float, n: int) -> dict[str, Any]:
    return {"value": value, "ci_low": value - half, "ci_high": value + half, "n": n}


def timeline(label: str, total_ms: float, *, overlapped: bool) -> dict[str, Any]:
    us = total_ms * 1000
    ends = {"embed": 0.11, "bm25": 0.55, "vector": 0.85, "fuse": 0.95, "fetch": 1.0}
    spans, start = [], 0.0
    for name, end in ends.items():
        thread = 1 if overlapped and name == "bm25" else 0
        begin = 0.02 if thread else (0.11 if overlapped and name == "vector" else start)
        spans.append({"name": name, "start_us": begin * us, "end_us": end * us, "thread": thread})
        start = end
    return {"label": label, "total_ms": total_ms, "overlapped": overlapped, "spans": spans}


def mode(rng: np.random.Generator, arm: str) -> dict[str, Any]:
    switches = asdict(ARMS[arm][1])
    overlap = switches["overlap"]
    values: NDArray[np.int64] = (rng.lognormal(np.log(SCALES[arm] * 1e6), 0.32, 5_000)).astype(
        np.int64
    )
    histogram = Histogram.of(values)
    shown = percentiles(histogram)
    assert shown["p50"] is not None
    assert shown["p95"] is not None
    return {
        "switches": switches,
        "loop": "closed, one at a time",
        "n": histogram.count,
        "mean_ms": float(values.mean()) / 1e6,
        "percentiles_ms": shown,
        "histogram": histogram.to_json(),
        "overlapped_share": 0.973 if overlap else 0.0,
        "plans": {"sharded_overlapped": 0.973, "in_turn": 0.027} if overlap else {"in_turn": 1.0},
        "timeline": [
            timeline("typical", shown["p50"], overlapped=overlap),
            timeline("p95", shown["p95"], overlapped=overlap),
        ],
    }


def load(rng: np.random.Generator) -> dict[str, Any]:
    segments, merged = [], []
    for number in range(12):
        values = rng.lognormal(np.log(1.5e6), 0.4, 498 + number % 3)
        values[: number % 4] += rng.uniform(80e6, 160e6, number % 4)
        histogram = Histogram.of(values.astype(np.int64))
        merged.append(histogram)
        errors = {"timeout": 1, "dropped": 1} if number == 7 else {}
        segments.append(
            {
                "sent": histogram.count + sum(errors.values()),
                "errors": errors,
                "histogram": histogram.to_json(),
            }
        )
    whole = Histogram.merge(merged)
    return {
        "plan": {
            "rate": 50.0,
            "seconds": 120.0,
            "segments": 12,
            "arrivals": "poisson",
            "seed": 20,
            "timeout_s": 5.0,
            "max_in_flight": 1000,
        },
        "segments": segments,
        "sent": sum(segment["sent"] for segment in segments),
        "errors": {"timeout": 1, "dropped": 1},
        "lag": Histogram.of(rng.lognormal(np.log(9e4), 0.5, 6_000).astype(np.int64)).to_json(),
        "growth": 0.0004,
        "cpu_share": 0.137,
        "seconds": 120.03,
        "achieved": 49.96,
        "abandoned": False,
        "percentiles_ms": percentiles(whole),
        "self_test": {
            "rate": 100.0,
            "lag_p50_ns": 81_000,
            "lag_p90_ns": 143_000,
            "failed": 0,
            "cpu_share": 0.021,
            "ok": True,
        },
        "stalls_ns": [12_400_000, 31_700_000],
    }


def capacity() -> dict[str, Any]:
    rows: list[tuple[float, int | None, str]] = [
        (412.0, 5_600_000, "holds"),
        (500.0, 12_900_000, "holds"),
        (737.0, None, "fails"),
        (606.0, 63_100_000, "holds"),
        (668.0, 188_000_000, "fails"),
        (636.0, 88_400_000, "holds"),
        (699.0, 241_000_000, "fails"),
        (812.0, 655_000_000, "saturated"),
    ]
    return {
        "low": 636.0,
        "high": 699.0,
        "n": 12_410,
        "reason": "",
        "guess": 571.0,
        "self_tests": [
            {
                "rate": 1474.0,
                "lag_p50_ns": 84_000,
                "lag_p90_ns": 190_000,
                "failed": 0,
                "cpu_share": 0.34,
                "ok": True,
            }
        ],
        "steps": [
            {
                "rate": rate,
                "achieved": rate * (1 if outcome == "holds" else 0.93),
                "p95_ns": p95,
                "sent": round(3 * rate),
                "failed": 0 if outcome == "holds" else 27,
                "growth": 0.001 if outcome == "holds" else 0.061,
                "seconds": 3.1,
                "abandoned": p95 is None,
                "holds": outcome == "holds",
                "saturated": outcome == "saturated",
            }
            for rate, p95, outcome in rows
        ],
    }


def speedup(rng: np.random.Generator) -> dict[str, Any]:
    rounds = []
    for process in range(PROCESSES):
        drift = rng.normal(1, 0.03)
        means = {
            arm: (scale * 1.05e6 * drift * rng.lognormal(0, 0.012, ROUNDS // PROCESSES)).tolist()
            for arm, scale in SCALES.items()
        }
        kernel = rng.normal(2.1e6, 3e4, ROUNDS // PROCESSES).tolist()
        rounds.append({"process": process, "reference_ns": kernel, "arms": means})
    return {
        "end_to_end": interval(1.226, 0.011, ROUNDS),
        "scheduling": interval(1.056, 0.008, ROUNDS),
        "ladder": [
            {
                "rung": rung,
                "cumulative": interval(SCALES["legacy"] / SCALES[arm], 0.011, ROUNDS),
                "step": interval(before / SCALES[arm], 0.010, ROUNDS),
            }
            for before, (arm, rung) in zip((1.3, 1.3, 1.24, 1.18, 1.09), LADDER, strict=True)
        ],
        "leave_one_out": [
            {"switch": switch, "ratio": interval(SCALES[arm] / SCALES["optimized"], 0.01, ROUNDS)}
            for switch, arm in WITHOUT.items()
        ],
        "overlap": {
            "bound": 1.43,
            "measured": interval(1.056, 0.008, ROUNDS),
            "legs_us": {"embed": 96.0, "bm25": 402.0, "vector": 431.0, "fuse": 61.0, "fetch": 44.0},
            "decision": {
                "overlap": True,
                "reason": "the shorter leg (402 us) costs more than handing it over (92 us)",
                "bm25_us": 402.0,
                "vector_us": 431.0,
                "hop_us": 92.0,
                "plan": "sharded_overlapped",
                "costs_us": {"in_turn": 833.0, "overlapped": 523.0, "sharded_overlapped": 467.0},
            },
        },
        "rounds": rounds,
    }


def memory() -> dict[str, Any]:
    legacy = {"vectors_float32": 9_481_216, "postings": 6_300_512, "texts": 7_920_000}
    optimized = {
        "codes_int8": 2_370_304,
        "scales": 37_036,
        "postings": 6_300_512,
        "texts": 7_920_000,
    }

    def outside(uss: int) -> dict[str, Any]:
        return {
            "uss": uss,
            "pss": uss + 11_000_000,
            "rss": uss + 40_000_000,
            "file_resident": {"vectors.npy": 9_481_216, "ids.npy": 5_002_000, "chunks.arrow": None},
        }

    return {
        "inside": {
            "legacy": legacy,
            "optimized": optimized,
            "vector_leg": {
                "legacy_bytes": 9_481_216,
                "optimized_bytes": 2_407_340,
                "efficiency": 0.7461,
            },
            "whole_index": {
                "legacy_bytes": 15_781_728,
                "optimized_bytes": 8_707_852,
                "efficiency": 0.4482,
            },
            "postings": 1_050_085,
        },
        "outside": {"legacy": outside(143_000_000), "optimized": outside(136_400_000)},
        "quality_cost": "/quality/optimized_vs_legacy",
        "streaming": {
            "budget_bytes": 8_388_608,
            "peak_streamed_bytes": 7_710_000,
            "peak_whole_bytes": 61_300_000,
        },
    }


def answers(rng: np.random.Generator, center_us: float, n: int) -> dict[str, Any]:
    histogram = Histogram.of(rng.lognormal(np.log(center_us * 1e3), 0.3, n).astype(np.int64))
    return {
        "n": n,
        "percentiles_ms": percentiles(histogram),
        "histogram": histogram.to_json(),
    }


def cache(rng: np.random.Generator) -> dict[str, Any]:
    exponents = (0.6, 0.8, 1.0, 1.2, 1.4)
    return {
        "settings": {
            "zipf_s": 1.0,
            "distinct": 5000,
            "requests": 20_000,
            "capacity": 1000,
            "streams": 20,
        },
        "hit_rate": interval(0.718, 0.0016, 20),
        "service_hit_rate": 0.717,
        "streams": rng.normal(0.718, 0.003, 20).tolist(),
        "ceiling": 0.829,
        "hit": answers(rng, 11.0, 14_000),
        "miss": answers(rng, 1100.0, 900),
        "curve": [
            {"s": s, "hit_rate": 0.2 + 0.518 * s**0.9, "ceiling": 0.6 + 0.229 * s}
            for s in exponents
        ],
    }


def http_side(rng: np.random.Generator, rate: float, center_us: float) -> dict[str, Any]:
    answered = answers(rng, center_us, 1_200)
    return {
        "closed_rate": rate,
        "connections": 32,
        "open": {
            "rate": 50.0,
            "seconds": 24.0,
            "sent": 1_200,
            "failed": 0,
            "histogram": answered["histogram"],
            "percentiles_ms": answered["percentiles_ms"],
        },
    }


def service(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "workers": 1,
        "cores": {"service": [0], "generator": [1], "apart": True},
        "http_cost": {
            "service": http_side(rng, 1_431.0, 1_900.0),
            "noop": http_side(rng, 2_610.0, 610.0),
            "share": 0.548,
            "share_interval": {"value": 0.548, "ci_low": 0.512, "ci_high": 0.584, "n": 5},
        },
        "capacity_beside_writer": {**capacity(), "low": 402.0},
    }


def overload(factor: float, share: float) -> dict[str, Any]:
    return {
        "plan": {"sustainable": 900.0, "factor": factor, "seconds": 60.0},
        "load": {},
        "goodput": 900.0 * share,
        "goodput_share": share,
        "admitted": 50_000,
        "refused": 30_000,
        "failed": {"timeout": 3},
        "admitted_p95_ns": 91_400_000,
        "refused_p95_ns": 38_200_000,
        "recovered_s": 0.5,
        "memory_slope": interval(2_048.0, 4_096.0, 20),
        "anonymous_slope": None,
    }


def stress() -> dict[str, Any]:
    return {
        "overload": [overload(1.5, 1.012), overload(2.0, 0.823)],
        "batching": {
            "rounds": [[1_300.0, 700.0]] * 12,
            "connections": 16,
            "ratio": interval(1.857, 0.04, 12),
        },
    }


def in_process(rng: np.random.Generator) -> dict[str, Any]:
    shown = ("p95_latency_ms", "throughput_qps", "cache_hit_rate", "error_rate")
    return {
        "targets": [target(metric) for metric in shown],
        "load": load(rng),
        "capacity": capacity(),
        "cache": {"hit": answers(rng, 11.0, 14_000), "miss": answers(rng, 1100.0, 900)},
    }


def target(metric: str) -> dict[str, Any]:
    value, low, high, n, verdict, reason = TARGETS[metric]
    return {
        "metric": metric,
        "target": PERFORMANCE_TARGETS[metric].bound,
        "value": value,
        "ci_low": low,
        "ci_high": high,
        "n": n,
        "verdict": verdict,
        "reason": reason,
        "definition": f"definition of {metric}, as MEASURING says",
        "before": PERFORMANCE_TARGETS[metric].before,
    }


def ingest(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "plan": {"rate": 500.0, "search_rate": 50.0, "pairs": 6, "period_s": 5.0, "seed": 20},
        "idle": answers(rng, 2100.0, 1_500),
        "during": answers(rng, 2900.0, 1_500),
        "p95_ms": [[3.2, 4.4 + 0.1 * pair] for pair in range(6)],
        "p95_ratio": interval(1.46, 0.07, 6),
        "rate_reached": 487.0,
        "deleted": 1_450,
        "lag_s": {"median": 0.041, "max": 0.183},
        "visible_after_s": {"median": 0.0223, "max": 0.0871},
        "generations_written": 66,
        "generations_served": 63,
        "segments": {"start": 1, "most": 7, "end": 3},
    }


def quality() -> dict[str, Any]:
    weights = [round(0.1 * step, 1) for step in range(11)]
    return {
        "judged": {
            "queries": 400,
            "methods": {
                "bm25": {"ndcg_at_10": 0.590, "recall_at_100": 0.861},
                "vector": {"ndcg_at_10": 0.429, "recall_at_100": 0.781},
                "weighted": {"ndcg_at_10": 0.614, "recall_at_100": 0.893},
                "rrf": {"ndcg_at_10": 0.571, "recall_at_100": 0.889},
            },
            "weight": {
                "chosen": 0.7,
                "curve": [
                    {"weight": w, "ndcg_at_10": 0.43 + 0.185 * (1 - (w - 0.7) ** 2 / 0.49)}
                    for w in weights
                ],
            },
            "hybrid_minus_bm25": interval(0.024, 0.013, 400),
            "hybrid_minus_vector": interval(0.185, 0.029, 400),
        },
        "optimized_vs_legacy": {
            "queries": 400,
            "overlap_at_10": 0.9968,
            "ndcg_difference": {"value": -0.0003, "ci_low": -0.0011, "ci_high": None, "n": 400},
            "margin": -0.005,
            "equal": True,
            "basis": "ndcg",
        },
    }


TARGETS: dict[str, tuple[float | None, float | None, float | None, int, str, str]] = {
    "p95_latency_ms": (2.91, 2.85, 2.99, 6000, "PASS", "0.3 % of requests took over 100 ms"),
    "throughput_qps": (636.0, 636.0, 699.0, 6100, "PASS", "636/s held twice, 699/s failed twice"),
    "cache_hit_rate": (0.718, 0.7164, 0.7196, 20, "PASS", "wholly above 0.70"),
    "memory_efficiency": (0.7461, 0.7461, 0.7461, 9481216, "PASS", "counted, not sampled"),
    "parallel_speedup": (1.226, 1.215, 1.237, 50, "FAIL", "no step crossed 2; int8 brought most"),
    "error_rate": (0.00033, 0.00004, 0.0012, 6000, "INCONCLUSIVE", "host stalls"),
}


def make_result(seed: int = 20) -> dict[str, Any]:
    """Return a result that fits the schema. Some strings are hostile to HTML on purpose."""
    rng = np.random.default_rng(seed)
    return {
        "schema_version": 2,
        "run_id": "20260102-030405-pydocs-a1b2c3",
        "created": "2026-01-02T03:04:05Z",
        "environment": {
            "cpu_model": "Example CPU <b>@</b> 2.8 GHz",
            "architecture": "x86_64",
            "cores": 2,
            "memory_bytes": 8_321_499_136,
            "os": "Debian GNU/Linux 12",
            "kernel": "6.1.0",
            "python": "3.11.7",
            "packages": {"numpy": "2.4.6", "numba": "0.62.1", "scipy": "1.16.3"},
            "thread_pools": [
                {
                    "library": "openblas",
                    "version": "0.3.30",
                    "architecture": "Haswell",
                    "threads": 1,
                }
            ],
            "thread_env": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": None},
            "git": {"commit": "1468de5a0b", "dirty": True},
            "load_average": [0.37, 0.61, 0.47],
            "container": {"cpu_limit": 2.0, "memory_limit_bytes": None},
            "host": {
                "seconds": 251.4,
                "steal_share": 0.0123,
                "busy_share": 0.61,
                "load_start": 0.4,
                "load_end": 1.7,
            },
        },
        "dataset": {
            "spec": "pydocs",
            "fingerprint": "0f3a9c7712de45b0",
            "caveat": "known-item, lexical-leaning: for latency & plumbing, <i>weak</i> on quality",
            "chunks": 9259,
            "queries": {"train": 400, "test": 400},
        },
        "engine": {
            "name": "embedded",
            "content_hash": "77aa01bc9d3e4f55",
            "embedder": {"spec": "static", "fingerprint": "beef0123cafe4567", "dimension": 256},
            "bm25": {"k1": 1.2, "b": 0.75},
            "analyzer": "code",
            "fusion": {"method": "weighted", "bm25_weight": 0.7, "rrf_k": 60},
            "cosine_min": -0.12,
            "segments": 1,
            "vectors": {
                "structure": "ivf",
                "probes": 24,
                "recall_at_10": 0.9911,
                "floor": 0.98,
                "queries": 1_000,
            },
        },
        "workload": {
            "queries_hash": "1234abcd5678ef90",
            "topk": 10,
            "bm25_topk": 50,
            "vector_topk": 50,
            "rerank_candidates": 100,
            "rate": 50.0,
            "load_seconds": 120.0,
            "segments": 12,
            "capacity_seconds": 60.0,
            "ingest_seconds": 60.0,
            "rounds": ROUNDS,
            "queries_per_round": 100,
            "processes": PROCESSES,
            "seed": 20,
            "warmup": 200,
        },
        "targets": [target(metric) for metric in TARGETS],
        "modes": {arm: mode(rng, arm) for arm in ARMS if arm != AGAIN_ARM},
        "load": load(rng),
        "capacity": capacity(),
        "service": service(rng),
        "in_process": in_process(rng),
        "stress": stress(),
        "speedup": speedup(rng),
        "memory": memory(),
        "cache": cache(rng),
        "ingest": ingest(rng),
        "quality": quality(),
        "noise_floor": {"a_a": interval(1.003, 0.009, ROUNDS), "floor": 0.012},
    }


@pytest.fixture(scope="session")
def _made() -> dict[str, Any]:
    return make_result()


@pytest.fixture
def example(_made: dict[str, Any]) -> dict[str, Any]:
    """A result of one's own to alter."""
    return copy.deepcopy(_made)
