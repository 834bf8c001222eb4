"""The roofline of BM25: how long reading every posting of a query would take from memory."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dtrag_core.errors import MeasuringError
from dtrag_core.index.bm25_segments import BM25Index

BYTES_A_POSTING: Final = 5
"""A row number of four bytes and a weight of one."""

BUFFER_BYTES: Final = 512 << 20
"""Far beyond a last-level cache."""

_REPEATS: Final = 7
_SHARES: Final = (5, 25, 50, 75, 95)


def memory_bandwidth(
    nbytes: int = BUFFER_BYTES, clock: Callable[[], int] = time.perf_counter_ns
) -> float:
    """Return bytes/s at which one thread reads a buffer: the best of some repeats.

    It is a product of a vector with itself, which every element passes once; native thread pools
    must be held at one thread.
    """
    buffer = np.ones(nbytes // 4, np.float32)
    best = None
    for _ in range(_REPEATS):
        start = clock()
        np.dot(buffer, buffer)
        taken = clock() - start
        best = taken if best is None else min(best, taken)
    return nbytes / (max(best or 0, 1) / 1e9)


def postings_read(bm25: BM25Index, tokens: Sequence[str], chunks: int) -> int:
    """Return how many postings the terms of an analysed query have: the sum of their frequencies.

    A term's frequency df follows from its idf = ln((N + 1) / (df + 0.5)), N being `chunks`.
    """
    idf = [
        float(weight)
        for token in dict.fromkeys(tokens)
        for weight in bm25.query_terms([token]).weights
    ]
    return sum(round((chunks + 1) / float(np.exp(one)) - 0.5) for one in idf)


def roofline(
    latencies_ns: NDArray[np.float64], postings: NDArray[np.int64], bandwidth: float
) -> dict[str, Any]:
    """Return the block `roofline` of a size.

    `latencies_ns` float64[n], what each query typically took the BM25 leg, and `postings` int64[n]
    are of the same n queries, `bandwidth` is in bytes/s. Ratios are measured time over roofline
    time, above 1 where reading everything at full speed would be quicker; queries without a posting
    have none.
    """
    if latencies_ns.shape != postings.shape or not postings.any():
        raise MeasuringError(
            f"a roofline needs postings for each latency, got {latencies_ns.shape} latencies and "
            f"{postings.shape} queries with {int(postings.sum()):,} postings"
        )
    floor_ns = postings * (BYTES_A_POSTING * 1e9 / bandwidth)
    some = postings > 0
    ratios = latencies_ns[some] / floor_ns[some]
    p50, p95 = _percentiles(floor_ns)
    measured_p50, measured_p95 = _percentiles(latencies_ns)
    return {
        "bytes_a_posting": BYTES_A_POSTING,
        "threads": 1,
        "bandwidth_bytes_s": bandwidth,
        "buffer_bytes": BUFFER_BYTES,
        "postings_a_query": {"mean": float(postings.mean()), "p95": int(_percentiles(postings)[1])},
        "measured_p50_ms": measured_p50 / 1e6,
        "measured_p95_ms": measured_p95 / 1e6,
        "p50_ms": p50 / 1e6,
        "p95_ms": p95 / 1e6,
        "p50_ratio": measured_p50 / p50 if p50 else None,
        "p95_ratio": measured_p95 / p95,
        "ratios": {
            f"p{share}": float(np.percentile(ratios, share, method="inverted_cdf"))
            for share in _SHARES
        },
        "n": len(ratios),
    }


def _percentiles(values: NDArray[Any]) -> tuple[float, float]:
    """Return P50 and P95 as order statistics."""
    p50, p95 = np.percentile(values, (50, 95), method="inverted_cdf")
    return float(p50), float(p95)
