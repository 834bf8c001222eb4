"""Quality of rankings: nDCG, recall, overlap, and whether two searches are equally good.

Outside the timed region, on ids. Conventions are those of trec_eval and BEIR: linear gains, log2
discount, the ideal ranking made from all judgments, recall over all relevant.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from dtrag_core.bench.statistics import Interval, paired_interval
from dtrag_core.errors import MeasuringError

MARGIN: Final = -0.005
"""A difference in nDCG@10 that stays above this is called equal quality."""

MIN_OVERLAP: Final = 0.995
"""Without judgments, this much of the top 10 must be that of the exact legacy path."""


def _top(ranking: Sequence[str], k: int) -> Sequence[str]:
    if k < 1:
        raise MeasuringError(f"a ranking is judged at a depth of 1 or more, not {k}")
    top = ranking[:k]
    if len(set(top)) < len(top):
        twice = next(each for each in top if top.count(each) > 1)
        raise MeasuringError(f"a ranking names each chunk once; {twice!r} is there twice")
    return top


def _gains(relevant: Mapping[str, int]) -> list[int]:
    """Return the gains above 0, descending. Raises `MeasuringError` if there are none."""
    gains = sorted((gain for gain in relevant.values() if gain > 0), reverse=True)
    if not gains:
        raise MeasuringError(f"no chunk is judged relevant ({dict(relevant)}); leave the query out")
    return gains


def ndcg_at(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """Return nDCG@k of a ranking of ids, best first; `relevant`: id -> gain.

    DCG sums gain / log2(rank + 1), as in trec_eval's ndcg_cut (Järvelin & Kekäläinen, 2002).
    """
    discounts = [1 / math.log2(rank + 1) for rank in range(1, k + 1)]
    found = [max(relevant.get(each, 0), 0) for each in _top(ranking, k)]
    ideal = sum(g * d for g, d in zip(_gains(relevant), discounts, strict=False))
    return sum(g * d for g, d in zip(found, discounts, strict=False)) / ideal


def recall_at(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """Return the share of the relevant that is among the first `k`."""
    return sum(relevant.get(each, 0) > 0 for each in _top(ranking, k)) / len(_gains(relevant))


def overlap_at(a: Sequence[str], b: Sequence[str], k: int) -> float:
    """Return the share of the first `k` that two rankings have in common; 1 if both are empty.

    Of rankings shorter than `k`, the longer one is the whole.
    """
    first, second = set(_top(a, k)), set(_top(b, k))
    longest = max(len(first), len(second))
    return len(first & second) / longest if longest else 1.0


def best_weight(curve: Mapping[float, float]) -> float:
    """Return the weight of the highest quality; among equals the one nearest an even mix."""
    if not curve:
        raise MeasuringError("no weight was tried; evaluate at least one on the train queries")
    return min(curve, key=lambda weight: (-curve[weight], abs(weight - 0.5), weight))


@dataclass(frozen=True, slots=True)
class EqualQuality:
    """Whether the optimised path answers as well as the legacy path.

    `overlap_at_10`: mean over `queries`. `ndcg_difference`: optimised - legacy, paired; its `low`
    is the one-sided 97.5 % limit that must stay above `MARGIN`. None without judgments: then the
    overlap must reach `MIN_OVERLAP`.
    """

    queries: int
    overlap_at_10: float
    ndcg_difference: Interval | None

    @property
    def equal(self) -> bool:
        """Whether the two are equally good."""
        if self.ndcg_difference is None:
            return self.overlap_at_10 >= MIN_OVERLAP
        return self.ndcg_difference.low > MARGIN

    def to_json(self) -> dict[str, Any]:
        """Return the block `quality.optimized_vs_legacy` of a result."""
        difference = self.ndcg_difference
        return {
            "queries": self.queries,
            "overlap_at_10": self.overlap_at_10,
            "ndcg_difference": difference.to_json() if difference else None,
            "margin": MARGIN,
            "equal": self.equal,
            "basis": "ndcg" if difference else "overlap",
        }


def equal_quality(
    overlap: ArrayLike, ndcg_optimized: ArrayLike = (), ndcg_legacy: ArrayLike = ()
) -> EqualQuality:
    """Compare the optimised path with exact legacy, query by query.

    `overlap`: overlap@10 of each query, float[q]. `ndcg_optimized`, `ndcg_legacy`: nDCG@10 of each
    judged query in the same order, float[j], empty without judgments. Raises `MeasuringError` if
    their lengths differ, for a single judged query, and without any query.
    """
    shares = np.asarray(overlap, dtype=np.float64)
    if not len(shares):
        raise MeasuringError("no query was compared; quality needs at least one")
    judged = max(np.size(ndcg_optimized), np.size(ndcg_legacy)) > 0
    difference = paired_interval(ndcg_optimized, ndcg_legacy) if judged else None
    return EqualQuality(len(shares), float(shares.mean()), difference)
