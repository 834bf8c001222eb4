"""Where the time of a search goes: embedding, either leg, fusing, fetching, and what is between."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dtrag_core.types import Span

STEPS: Final = ("embed", "bm25", "vector", "fuse", "fetch")
OTHER: Final = "other"


def describe_steps(
    searches: Sequence[Sequence[Span]], latencies_ns: NDArray[np.int64]
) -> dict[str, Any]:
    """Return the mean time of every step of a search, microseconds, and its share of their sum.

    `latencies_ns` int64[n] are of the same n searches. Jobs of one step add up, so that with more
    than one thread the sum is work, not time that passed; `other` is the time no step ran.
    """
    taken = dict.fromkeys(STEPS, 0)
    covered = 0
    for spans in searches:
        for span in spans:
            taken[span.name] = taken.get(span.name, 0) + span.end_ns - span.start_ns
        covered += _covered(spans)
    taken[OTHER] = max(int(latencies_ns.sum()) - covered, 0)
    total = sum(taken.values())
    return {
        "mean_us": {name: ns / 1e3 / len(searches) for name, ns in taken.items()},
        "share": {name: ns / total for name, ns in taken.items()},
    }


def _covered(spans: Sequence[Span]) -> int:
    """Return how many ns passed while at least one span ran."""
    covered, until = 0, 0
    for start, end in sorted((span.start_ns, span.end_ns) for span in spans):
        covered += max(end - max(start, until), 0)
        until = max(until, end)
    return covered
