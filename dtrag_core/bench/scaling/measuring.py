"""What is measured of one index, each in a fresh process: latency with memory, and opening."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from dtrag_core.bench.arms import LEGACY_ARM, OPTIMIZED_ARM, Arm, Depths, open_arm
from dtrag_core.bench.clock import RealClock, Service
from dtrag_core.bench.fresh import Order, serve
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.rounds import reference_kernel, run_rounds
from dtrag_core.bench.scaling.plan import BM25_ARM, EXACT_ARM, IVF_ARM, SCALING_ARMS, Workload
from dtrag_core.bench.scaling.roofline import memory_bandwidth, postings_read, roofline
from dtrag_core.bench.scaling.steps import describe_steps
from dtrag_core.bench.tasks import run
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.text.analyzer import Analyzer
from dtrag_core.types import LEGACY, OPTIMIZED, Mask, Progress, Switches

_EVERYTHING: Final[Mask] = np.zeros(0, np.bool_)


def latency(order: Order, progress: Progress) -> dict[str, Any]:
    """Time the legs and both paths in turns, in rounds; count memory, find the roofline.

    The BM25 leg begins with analysed tokens, the vector legs with the query's vector, and both end
    with ids and scores; the paths begin with the text and end with hits.
    """
    engine = EmbeddedEngine(Path(order["directory"]))
    workload, depths = Workload.from_json(order["workload"]), Depths(**order["depths"])
    passes = int(order["passes"])
    batches = workload.batches * passes
    timed = [query for batch in workload.batches for query in batch]
    analyzer = Analyzer(engine.manifest.analyzer)
    tokens = {query: analyzer.tokens(query) for query in (*workload.warmup, *timed)}
    paths = {name: open_arm(engine, name, depths) for name in (LEGACY_ARM, OPTIMIZED_ARM)}
    bandwidth = memory_bandwidth()
    measured = run(
        run_rounds(
            {**_legs(engine, tokens, depths), **paths},
            batches,
            RealClock(),
            warmup=workload.warmup,
            kernel=reference_kernel(),
            on_round=lambda number: progress("rounds", number + 1, len(batches)),
        )
    )
    bandwidth = max(bandwidth, memory_bandwidth())
    chunks = engine.info.chunks
    postings = np.array([postings_read(engine.bm25, tokens[query], chunks) for query in timed])
    return {
        "latency": {
            arm: _described(measured.histogram(arm))
            for arm in SCALING_ARMS  # in this order
        },
        "kernel_ms": float(np.median(measured.kernel_ns)) / 1e6,
        "roofline": roofline(
            np.median(measured.latencies[BM25_ARM].reshape(passes, -1), axis=0), postings, bandwidth
        ),
        "steps": {
            name: describe_steps(
                [answer.timings for answer in arm.answers[len(workload.warmup) :]],
                measured.latencies[name].ravel(),
            )
            for name, arm in paths.items()
        },
        "overlapped_share": _overlapped(paths[OPTIMIZED_ARM], len(workload.warmup)),
        "memory": _memory(engine, chunks),
        "vectors": {
            name: getattr(engine.manifest.vectors, name)
            for name in ("structure", "probes", "recall", "floor")
        },
        "segments": len(engine.manifest.segments),
        "dimension": engine.info.dimension,
    }


def _legs(
    engine: EmbeddedEngine, tokens: Mapping[str, Sequence[str]], depths: Depths
) -> dict[str, Service[str]]:
    vectors = {query: engine.embed_query(query) for query in tokens}
    exact, lists = engine.session(Switches(int8=True)), engine.session(OPTIMIZED)

    async def bm25(query: str) -> None:
        engine.bm25.search_words(tokens[query], depths.bm25_topk, _EVERYTHING)

    async def vector_int8(query: str) -> None:
        exact.vector_leg(vectors[query], depths.vector_topk, None)

    async def vector_ivf(query: str) -> None:
        lists.vector_leg(vectors[query], depths.vector_topk, None)

    return {BM25_ARM: bm25, EXACT_ARM: vector_int8, IVF_ARM: vector_ivf}


def _described(histogram: Histogram) -> dict[str, Any]:
    mean = histogram.mean
    return {
        "n": histogram.count,
        "mean_ms": None if mean is None else mean / 1e6,
        "percentiles_ms": histogram.percentiles_ms(),
        "histogram": histogram.to_json(),
    }


def _overlapped(arm: Arm, warmup: int) -> float:
    answers = arm.answers[warmup:]
    return sum(answer.overlapped for answer in answers) / len(answers)


def _memory(engine: EmbeddedEngine, chunks: int) -> dict[str, Any]:
    def counted(switches: Switches) -> dict[str, Any]:
        parts = dict(engine.resident_bytes(switches))
        total = sum(parts.values())
        return {"parts": parts, "bytes": total, "bytes_a_chunk": total / chunks}

    postings = engine.bm25.postings_count
    return {
        LEGACY_ARM: counted(LEGACY),
        OPTIMIZED_ARM: counted(OPTIMIZED),
        "postings": postings,
        "bytes_a_posting": engine.bm25.nbytes / postings,
    }


def opening(order: Order, progress: Progress) -> dict[str, Any]:
    """Time from nothing but the imports to a ready engine, and to its first answer."""
    progress("opening", 0, None)
    start = time.perf_counter()
    engine = EmbeddedEngine(Path(order["directory"]))
    ready = time.perf_counter()
    arm = open_arm(engine, OPTIMIZED_ARM, Depths(**order["depths"]))
    run(arm.search(order["query"]))
    answered = time.perf_counter()
    return {"ready_s": ready - start, "first_answer_s": answered - start}


if __name__ == "__main__":
    sys.exit(serve({"latency": latency, "opening": opening}))
